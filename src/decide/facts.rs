//! What the shell knows and the rules can't.

use crate::domain::{Millis, Timestamp};

/// Everything that could be different on another day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The wall clock.
    pub now: Timestamp,
    /// A random number; spreads retries.
    pub jitter: u64,
    pub policy: Policy,
    /// How many runners there are, the asking one included.
    pub runners: usize,
}

/// Numbers that an operator may set. Changing them changes what is decided from then on, never
/// what was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Retries of a job whose queue says nothing else.
    pub retries_max_default: u32,
    /// Wait before the first retry; each further one doubles it.
    pub backoff_first_ms: u64,
    /// Longest wait before a retry.
    pub backoff_max_ms: u64,
    /// Idle time after which a queue that says nothing else expires. None: never.
    pub queue_expire_after: Option<Millis>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries_max_default: 3,
            backoff_first_ms: 200,
            backoff_max_ms: 60_000,
            queue_expire_after: Some(Millis(900_000)),
        }
    }
}

impl Policy {
    /// How long to wait before a try after `retries` others: doubling from the first, at most the
    /// longest, and of that between half and all, so that what failed together comes back apart.
    pub(super) fn backoff(&self, retries: u32, jitter: u64) -> Millis {
        let doubled = self.backoff_first_ms.saturating_mul(1_u64 << retries.min(63));
        let nominal = doubled.min(self.backoff_max_ms);
        let certain = nominal / 2;
        let spread = nominal - certain;
        Millis(certain + jitter % spread.saturating_add(1))
    }
}
