//! Queues: groups of jobs that a client session owns, their states and their access tokens.

use std::fmt;
use std::str::FromStr;

use super::ids::ObjectId;

/// Where a queue is in its life. `docs/architecture.md` has the table of transitions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QueueState {
    /// Takes jobs.
    Active,
    /// Takes no new job and finishes those it has.
    Draining,
    /// Was drained, and its last job has ended.
    Complete,
    /// Was cancelled, and every job with it that had not ended.
    Cancelled,
    /// Was idle for too long.
    Expired,
}

impl QueueState {
    /// Every state, in the order above.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Draining, Self::Complete, Self::Cancelled, Self::Expired];

    /// Whether nothing can happen in it any more but that results are retired.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Cancelled | Self::Expired)
    }

    /// The word used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What gives access to one queue from anywhere: 96 random bits, spelled as 24 hex digits. Whoever
/// knows it owns the queue, so it is never printed, logged or stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueToken(pub ObjectId);

impl QueueToken {
    /// The spelling, for the one answer that gives the token away.
    pub fn reveal(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for QueueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a queue token")
    }
}

impl FromStr for QueueToken {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
