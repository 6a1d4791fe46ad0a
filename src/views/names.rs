//! Small numbers for texts that many entries share, and a compact set of positions.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::Lsn;

/// Index of an interned text. Given out in the order of first use, so replay gives the same.
pub(super) type NameIx = u32;

/// Texts by number and numbers by text. A text is never forgotten.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Arc<str>>", into = "Vec<Arc<str>>")]
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    index: BTreeMap<Arc<str>, NameIx>,
}

/// The order of the texts says everything.
impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts.hash(state);
    }
}

impl From<Vec<Arc<str>>> for Names {
    fn from(texts: Vec<Arc<str>>) -> Self {
        let index = texts.iter().zip(0..).map(|(text, ix)| (Arc::clone(text), ix)).collect();
        Self { texts, index }
    }
}

impl From<Names> for Vec<Arc<str>> {
    fn from(names: Names) -> Self {
        names.texts
    }
}

impl Names {
    /// The number of `text`, a new one when it is unknown.
    pub(super) fn intern(&mut self, text: &str) -> NameIx {
        if let Some(ix) = self.index.get(text) {
            return *ix;
        }
        // Texts come from records, whose count stays below 2^32 long after memory is gone.
        let ix = NameIx::try_from(self.texts.len()).unwrap_or(NameIx::MAX);
        let shared: Arc<str> = text.into();
        self.texts.push(Arc::clone(&shared));
        self.index.insert(shared, ix);
        ix
    }

    /// The number of `text`, if it has one.
    pub(super) fn find(&self, text: &str) -> Option<NameIx> {
        self.index.get(text).copied()
    }

    /// The text of a number that was given out.
    pub(super) fn text(&self, ix: NameIx) -> Arc<str> {
        self.get(ix).cloned().unwrap_or_default()
    }

    /// Same, borrowed.
    pub(super) fn get(&self, ix: NameIx) -> Option<&Arc<str>> {
        self.texts.get(usize::try_from(ix).unwrap_or(usize::MAX))
    }

    /// All texts, by number.
    pub(super) fn all(&self) -> &[Arc<str>] {
        &self.texts
    }
}

/// A set of LSNs as bits, some bytes for each neighbourhood of 64.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct LsnSet(BTreeMap<u64, u64>);

impl LsnSet {
    pub(super) fn insert(&mut self, lsn: Lsn) {
        *self.0.entry(lsn.0 / 64).or_default() |= 1 << (lsn.0 % 64);
    }

    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        self.0.get(&(lsn.0 / 64)).is_some_and(|bits| bits & (1 << (lsn.0 % 64)) != 0)
    }

    /// Members, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Lsn> + '_ {
        self.0.iter().flat_map(|(block, bits)| {
            (0..64).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| Lsn(block * 64 + bit))
        })
    }
}
