//! The language of the service: every noun and verb, without I/O, clocks or randomness.

mod bytes;
pub mod command;
pub mod event;
pub mod hash;
pub mod ids;
pub mod job;
pub mod object;
pub mod queue;
pub mod record;
pub mod recording;
pub mod rejection;
pub mod time;
pub mod worker;

pub use command::{
    Answer, Command, NewImport, NewJob, NewQueue, NewReplay, NewWorker, Replayed, Target,
};
pub use event::{AttemptRef, Event, Failure, FailureKind, Outcome, Run, Tail, Usage};
pub use hash::ContentHash;
pub use ids::{ActionId, AttemptNo, ChunkId, Guid, Lsn, ObjectId, QueueId, TokenHash, WorkerId};
pub use job::JobState;
pub use object::{Blob, ObjectRef};
pub use queue::{QueueState, QueueToken};
pub use record::{Cause, Record};
pub use recording::{Imported, Mismatch, Recorded, ReplayFailure, Verdicts};
pub use rejection::{Rejection, sentence};
pub use time::{Millis, Timestamp};
pub use worker::{Function, FunctionKey, Host, RunnerName};
