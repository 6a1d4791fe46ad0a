//! Oodle blocks: the library behind a structural check and a panic guard.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oozextract::Extractor;

use super::oodle_arrays::Budget;
use super::{BlockError, oodle_scan};

/// Unpacks the Oodle blocks of one buffer. Keeps the library's working memory (768 KiB) between
/// them, and an account of their cost.
#[derive(Default)]
pub(super) struct Oodle {
    budget: Budget,
    extractor: Option<Box<Extractor>>,
}

impl Oodle {
    /// Unpacks `packed` into `raw` bytes.
    pub(super) fn unpack(
        &mut self,
        packed: &[u8],
        raw: usize,
        unpacked: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        self.budget.earn(raw);
        oodle_scan::check(packed, raw, &mut self.budget)?;
        unpacked.clear();
        unpacked.resize(raw, 0);
        // Dropped on every way out but the good one: after an error or a panic its state means nothing.
        let mut extractor = self.extractor.take().unwrap_or_else(|| Box::new(Extractor::new()));
        // The library indexes and asserts its way through damaged data, so a panic is one of its answers.
        let result = catch_unwind(AssertUnwindSafe(|| extractor.read_from_slice(packed, unpacked)));
        let found = match result {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(BlockError::Oodle(error.to_string())),
            Err(_) => return Err(BlockError::OodlePanic),
        };
        if found != raw {
            return Err(BlockError::Size { found, expected: raw });
        }
        self.extractor = Some(extractor);
        Ok(())
    }
}
