//! The states of a job, in the words of the public API.

use std::fmt;

/// Where a job is. `docs/architecture.md` has the table of transitions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JobState {
    /// Waits for a runner, or for the time of its next try.
    Pending,
    /// Handed to a runner, process not started.
    Submitting,
    /// Its process runs.
    Running,
    /// Pulled back, waits to be handed out again.
    Retracted,
    /// Ended with a result.
    Completed,
    /// Ended without one, retries used up.
    Failed,
    /// Ended without one because its runner was lost, retries used up.
    Abandoned,
    /// Ended on request.
    Cancelled,
}

impl JobState {
    /// Every state, in the order above.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Submitting,
        Self::Running,
        Self::Retracted,
        Self::Completed,
        Self::Failed,
        Self::Abandoned,
        Self::Cancelled,
    ];

    /// Whether the job has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Abandoned | Self::Cancelled)
    }

    /// The word used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Retracted => "retracted",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
