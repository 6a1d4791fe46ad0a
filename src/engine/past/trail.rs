//! The newest states, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::Lsn;
use crate::views::Published;

/// How many are kept. Each holds what has changed since, so they cost memory for every job.
const LEN_MAX: usize = 2;

/// Clones of the published state, oldest first. They share with it, and with each other, what has
/// not changed between them.
#[derive(Default)]
pub(super) struct Trail {
    states: VecDeque<Arc<Published>>,
}

impl Trail {
    /// Adds the newest; the oldest goes when there are enough.
    pub(super) fn push(&mut self, state: Arc<Published>) {
        if self.states.len() >= LEN_MAX {
            self.states.pop_front();
        }
        self.states.push_back(state);
    }

    /// Lets go of those that the log can't lead on from any more.
    pub(super) fn forget_before(&mut self, first: Lsn) {
        self.states.retain(|state| state.lsn().next() >= first);
    }

    /// The newest up to `lsn`.
    pub(super) fn nearest(&self, lsn: Lsn) -> Option<Arc<Published>> {
        self.states.iter().rev().find(|state| state.lsn() <= lsn).cloned()
    }
}
