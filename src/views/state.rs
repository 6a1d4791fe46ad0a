//! What a job and an execution are inside the views, and as queries show them.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::NameIx;
use super::order::Party;
use super::workers::WorkerIx;
use crate::domain::{
    ActionId, AttemptNo, AttemptRef, JobState, Lsn, QueueId, RunnerName, Timestamp, WorkerId,
};

/// One submission. What it asks for is a property of its execution.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) execution: Lsn,
    pub(super) submitted_at: Timestamp,
    /// The newest record about it.
    pub(super) tail: Lsn,
    /// The record that ended it, zero while it is open.
    pub(super) ended: Lsn,
    pub(super) queue: Option<QueueId>,
    pub(super) function: NameIx,
    pub(super) priority: i32,
    pub(super) retry_count: u32,
    pub(super) retries_max: u32,
    pub(super) end: Option<End>,
    /// Completed by its own submission.
    pub(super) cached: bool,
}

// A million finished jobs must fit: see the memory figures in docs/architecture.md.
const _: () = assert!(size_of::<Job>() <= 56 && size_of::<Execution>() <= 72);

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub(super) enum End {
    // One letter each: a checkpoint has it for every job.
    #[serde(rename = "c")]
    Completed,
    #[serde(rename = "f")]
    Failed,
    #[serde(rename = "a")]
    Abandoned,
    #[serde(rename = "x")]
    Cancelled,
}

impl End {
    pub(super) const fn state(self) -> JobState {
        match self {
            Self::Completed => JobState::Completed,
            Self::Failed => JobState::Failed,
            Self::Abandoned => JobState::Abandoned,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// What runs for the jobs that want it.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub(super) struct Execution {
    /// The record of a submission whose object is the action.
    pub(super) action_at: Lsn,
    /// The newest record about it.
    pub(super) tail: Lsn,
    pub(super) phase: Phase,
    pub(super) action: ActionId,
    pub(super) worker: WorkerIx,
    /// Jobs that refer to it and are not retired; at zero it is forgotten.
    pub(super) refs: u32,
    /// Highest of those who want it.
    pub(super) priority: i32,
    /// The newest attempt, zero before the first.
    pub(super) attempt: AttemptNo,
    /// On whose account the newest attempt was made.
    pub(super) party: Party,
}

/// Where an execution is. Runners are interned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub(super) enum Phase {
    Ready,
    BackingOff {
        until: Timestamp,
    },
    Retracted {
        avoid: Option<NameIx>,
    },
    Submitting {
        runner: NameIx,
    },
    Running {
        runner: NameIx,
    },
    /// The size of its result is in units of [`RESULT_UNIT_BYTES`].
    #[serde(rename = "c")]
    Completed {
        at: Lsn,
        cacheable: bool,
        units: u32,
    },
    #[serde(rename = "e")]
    Ended,
}

/// Results are counted in units of so many bytes, rounded up: what rides beside them in the store
/// is of that order.
pub(super) const RESULT_UNIT_BYTES: u64 = 256;

impl Phase {
    /// Whether it is in the ready order.
    pub(super) const fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Retracted { .. })
    }

    /// Whether an attempt is under way.
    pub(super) const fn is_under_way(self) -> bool {
        matches!(self, Self::Submitting { .. } | Self::Running { .. })
    }

    /// Whether jobs may still join it.
    pub(super) const fn is_live(self) -> bool {
        !matches!(self, Self::Completed { .. } | Self::Ended)
    }

    /// The state of a job that wants it.
    pub(super) const fn job_state(self) -> JobState {
        match self {
            Self::Ready | Self::BackingOff { .. } => JobState::Pending,
            Self::Retracted { .. } => JobState::Retracted,
            Self::Submitting { .. } => JobState::Submitting,
            Self::Running { .. } => JobState::Running,
            Self::Completed { .. } => JobState::Completed,
            Self::Ended => JobState::Failed,
        }
    }
}

/// A job that wants an execution: the execution, then by queue, then the most wanting first.
pub(super) type Want = (Lsn, Party, Reverse<i32>, Lsn);

/// A worker and an action, cut to 64 bits; whoever looks up compares the whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct PairKey(u64);

impl PairKey {
    pub(super) fn of(worker: WorkerIx, action: ActionId) -> Self {
        let head = action.0.as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        // An odd constant spreads small worker numbers over all bits.
        Self(head ^ u64::from(worker).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The number that its first `count` bits are.
    pub(super) fn first_bits(self, count: u32) -> usize {
        let first = self.0.checked_shr(u64::BITS - count).unwrap_or(0);
        usize::try_from(first).unwrap_or(usize::MAX)
    }

    #[cfg(test)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A job as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRow {
    /// Its name. That record also has its action object.
    pub job: Lsn,
    pub state: JobState,
    /// What runs, or ran last, for it.
    pub execution: Lsn,
    pub worker: WorkerId,
    pub action: ActionId,
    pub function: Arc<str>,
    pub queue: Option<QueueId>,
    /// Its own; its execution's may be higher.
    pub priority: i32,
    pub retry_count: u32,
    pub retries_max: u32,
    pub submitted_at: Timestamp,
    /// The record that ended it.
    pub ended: Option<Lsn>,
    /// Completed by its own submission.
    pub cached: bool,
    /// The `AttemptFinished` record that has the output object, when completed.
    pub output_at: Option<Lsn>,
    /// The newest record about the job itself.
    pub tail: Lsn,
    /// The newest record about its execution.
    pub execution_tail: Lsn,
}

/// How often a job was tried again, and how often it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retries {
    pub count: u32,
    pub max: u32,
}

/// An execution as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecutionRow {
    pub execution: Lsn,
    pub worker: WorkerId,
    pub action: ActionId,
    pub state: ExecutionState,
    /// Highest of those who want it.
    pub priority: i32,
    /// The newest attempt, zero before the first.
    pub attempt: AttemptNo,
    /// The newest record about it.
    pub tail: Lsn,
}

/// Where an execution is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExecutionState {
    /// In the ready order.
    Ready,
    /// Waits for its next try.
    BackingOff { until: Timestamp },
    /// In the ready order, for another runner than `avoid` where there is one.
    Retracted { avoid: Option<RunnerName> },
    /// Handed out, process not started.
    Submitting { attempt: AttemptNo, runner: RunnerName },
    /// Its process runs.
    Running { attempt: AttemptNo, runner: RunnerName },
    /// Has a result, in the record `at`.
    Completed { at: Lsn, cacheable: bool },
    /// Ended without one.
    Ended,
}

/// What it takes to launch an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaunchRow {
    pub attempt: AttemptRef,
    pub worker: WorkerId,
    pub action: ActionId,
    /// The `JobSubmitted` record whose object is the action.
    pub action_at: Lsn,
    /// The `WorkerRegistered` record that has the descriptor.
    pub descriptor_at: Lsn,
}
