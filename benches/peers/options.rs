//! The command line.

use std::path::PathBuf;

#[derive(Default)]
pub(crate) struct Options {
    /// One round, and short measurements.
    pub(crate) quick: bool,
    /// Parts of names, in lower case; all when empty.
    only: Vec<String>,
    parts: Vec<String>,
    /// Where everything is kept while it is measured.
    pub(crate) dir: PathBuf,
    /// The page that takes the tables.
    pub(crate) write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Self {
        let mut options = Self { dir: "/var/tmp".into(), ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--only" => options.only.push(value().to_lowercase()),
                "--part" => options.parts.push(value().clone()),
                "--dir" => options.dir = value().into(),
                "--write" => options.write = Some(value().into()),
                // What cargo says to every bench.
                "--bench" => {}
                _ => panic!("unknown option {word}"),
            }
        }
        options
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }

    pub(crate) fn wants_part(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// Whether the figures are of everybody and everything, as the page must have them.
    pub(crate) fn complete(&self) -> bool {
        !self.quick && self.only.is_empty() && self.parts.is_empty()
    }
}
