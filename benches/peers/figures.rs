//! What was measured, by what it is a figure of and who it is a figure of.

use std::collections::BTreeMap;

/// The figures of all rounds.
#[derive(Default)]
pub(crate) struct Figures {
    values: BTreeMap<(String, String), Vec<f64>>,
    /// Why somebody has none.
    failures: BTreeMap<String, String>,
}

impl Figures {
    pub(crate) fn add(&mut self, figure: &str, of: &str, value: f64) {
        println!("{of:<36} {figure:<28} {value:.4}");
        self.values.entry((figure.into(), of.into())).or_default().push(value);
    }

    pub(crate) fn fail(&mut self, of: &str, why: &str) {
        println!("{of:<36} {why}");
        // The page needs a sentence, not a server's log.
        let line = why.lines().next().unwrap_or_default();
        let short: String = line.chars().take(160).collect();
        self.failures.entry(of.into()).or_insert(short);
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failures.iter().map(|(of, why)| (of.as_str(), why.as_str()))
    }

    /// The median of the rounds.
    pub(crate) fn median(&self, figure: &str, of: &str) -> Option<f64> {
        let mut values = self.values.get(&(figure.to_owned(), of.to_owned()))?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}
