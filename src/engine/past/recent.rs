//! States that somebody asked for, and those they were made from: whoever looks back asks again, for
//! the next page or a moment later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::Lsn;
use crate::views::Published;

/// How long one is kept that nobody asks for.
const UNUSED_MAX: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(super) struct Recent {
    /// The one used longest ago first.
    states: Vec<(Instant, Arc<Published>)>,
}

impl Recent {
    /// The state of exactly this LSN.
    pub(super) fn get(&mut self, lsn: Lsn, now: Instant) -> Option<Arc<Published>> {
        let at = self.states.iter().position(|(_, state)| state.lsn() == lsn)?;
        let (_, state) = self.states.remove(at);
        self.states.push((now, Arc::clone(&state)));
        Some(state)
    }

    /// The newest up to `lsn`.
    pub(super) fn nearest(&self, lsn: Lsn) -> Option<Arc<Published>> {
        let before = self.states.iter().map(|(_, state)| state).filter(|state| state.lsn() <= lsn);
        before.max_by_key(|state| state.lsn()).cloned()
    }

    /// Adds one. Those used longest ago go when there are too many, or when all together are too
    /// large.
    pub(super) fn keep(
        &mut self,
        state: &Arc<Published>,
        len_max: usize,
        rows_max: usize,
        now: Instant,
    ) {
        self.states.retain(|(_, known)| known.lsn() != state.lsn());
        self.states.push((now, Arc::clone(state)));
        let mut rows: usize = self.states.iter().map(|(_, state)| state.rows()).sum();
        while self.states.len() > 1 && (self.states.len() > len_max || rows > rows_max) {
            let (_, gone) = self.states.remove(0);
            rows = rows.saturating_sub(gone.rows());
        }
    }

    /// Lets go of those that the log can't lead on from any more.
    pub(super) fn forget_before(&mut self, first: Lsn) {
        self.states.retain(|(_, state)| state.lsn().next() >= first);
    }

    /// Lets go of those that nobody has used for a while. Whether any are left.
    pub(super) fn tidy(&mut self, now: Instant) -> bool {
        self.states.retain(|(used, _)| now.saturating_duration_since(*used) < UNUSED_MAX);
        !self.states.is_empty()
    }
}
