//! The only writer: takes commands one at a time, makes their events durable, publishes them, and
//! only then answers and acts.
//!
//! - [`Handle`] is what everybody else holds: it queues commands and reads what is durable.
//! - `writer` decides: one thread with synchronous code, whose invariants hold between awaits because
//!   there are none.
//! - `committer` is its second half, a thread that makes the last round durable, publishes it and
//!   answers while the next one is decided.
//! - `past` gives the state as it was at any LSN that the log still reaches.
//! - `compactor` folds the oldest records of the log, so that it can be bounded.
//! - `dispatch` carries out effects, which are at-least-once and never waited for.

mod ahead;
mod attendance;
mod base;
mod boot;
mod committer;
mod compactor;
mod dispatch;
mod expiry;
mod handle;
pub(crate) mod keeper;
mod past;
mod rounds;
#[cfg(test)]
mod tests;
mod writer;

pub use attendance::Attendance;
pub use base::{BaseStateError, base_state, beginning};
pub use boot::{Boot, Parts, Running, Stopped};
pub use committer::Failed;
pub use compactor::{
    CompactError, CompactListener, CompactOrder, CompactPhase, CompactProgress, CompactReport,
    Compacting, Holder,
};
pub use handle::{Handle, Status};
pub use keeper::Keeping;
pub use past::{Error as PastError, Opening, Past, PastOptions};
pub use past::{
    Found as FoundCheckpoint, FoundState as CheckpointState, inspect as inspect_checkpoints,
};

use crate::decide::Policy;
use crate::domain::{Answer, Lsn, Rejection};

/// Most commands that may wait for the writer. Beyond it callers are told to come back.
pub const COMMAND_QUEUE_LEN_MAX: usize = 8_192;

/// Most events one group commit gathers from single commands.
pub const COMMIT_EVENTS_MAX: usize = 256;

/// Most events of one atomic append: a batch submit may fill it.
pub const BATCH_EVENTS_MAX: usize = 8_192;

/// Most bytes of objects inside the records of one group commit of single commands.
pub const COMMIT_BYTES_MAX: usize = 128 << 10;

/// Most bytes of objects inside the records of one atomic append.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// How the engine behaves; every value has a default in [`crate::config`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The rules' numbers: retry limit and backoff.
    pub policy: Policy,
    /// What is kept, and for how long.
    pub keeping: Keeping,
    /// How much of the log stays.
    pub compacting: Compacting,
}

/// A command that was accepted, with the records it led to. All of them are durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its first record; equal to `last` when it led to none.
    pub first: Lsn,
    /// Its last record, or the newest durable one when it led to none.
    pub last: Lsn,
    pub answer: Answer,
}

/// Why a command has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A rule refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// [`COMMAND_QUEUE_LEN_MAX`] commands are waiting.
    #[error("the service is over capacity; try again in a moment")]
    Busy,
    /// The log is not replayed yet.
    #[error("the service is starting")]
    Starting,
    /// It is shutting down.
    #[error("the service is stopping")]
    Stopping,
    /// The log could not be written. Whether the command's records exist is unknown until restart.
    #[error("the log could not be written, so the outcome is unknown; restart the service")]
    Poisoned,
}
