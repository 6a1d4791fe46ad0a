//! Why a command was refused by a rule. Status codes are the HTTP edge's business.

use super::ids::{Lsn, QueueId, WorkerId};
use super::job::JobState;
use super::queue::QueueState;
use super::worker::FunctionKey;

/// An error with its causes, in one line.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A refusal. The text is for a person and names what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    #[error("worker {0} is not registered")]
    UnknownWorker(WorkerId),
    #[error("no job {0}: it was never submitted, or it was retired")]
    UnknownJob(Lsn),
    #[error(
        "no registered worker offers function {} version {} for build system {}",
        .0.function.name, .0.function.version, .0.build_system
    )]
    NoWorker(FunctionKey),
    #[error("worker {worker} has {open} open jobs; cancel them or let them finish first")]
    WorkerBusy { worker: WorkerId, open: u64 },
    #[error("no queue {0}: it was never made, or it was forgotten after its end")]
    UnknownQueue(QueueId),
    /// The queue's state forbids it; `what` is the verb and its object, as in "take a new job".
    #[error("queue {queue} cannot {what}: it is {state}")]
    QueueState { queue: QueueId, state: QueueState, what: &'static str },
    #[error("queue {queue} still holds {held} results; retire them first")]
    QueueHolds { queue: QueueId, held: u64 },
    #[error("queue {queue} belongs to replay {replay} and takes no other job")]
    QueueOfReplay { queue: QueueId, replay: Lsn },
    #[error("recording {recording} is under way; stop it first")]
    RecordingActive { recording: Lsn },
    #[error("recording {recording} waits for {open} of its jobs to end")]
    RecordingOpen { recording: Lsn, open: u64 },
    #[error("nothing is being recorded")]
    NotRecording,
    #[error("no recording {0}: it was never made, or it was deleted")]
    UnknownRecording(Lsn),
    #[error("replay {replay} of recording {recording} is running; let it end or cancel it first")]
    RecordingInUse { recording: Lsn, replay: Lsn },
    #[error("no replay {0}")]
    UnknownReplay(Lsn),
    #[error("replay {0} is over")]
    ReplayOver(Lsn),
    #[error("replay {replay} goes on at position {next}, not at {found}")]
    ReplayPosition { replay: Lsn, next: u64, found: u64 },
    #[error("no queue can be made any more: all numbers below 2^32 are used up")]
    TooManyQueues,
    /// The job's state forbids it; `what` is the verb, as in "cannot cancel".
    #[error("cannot {what} job {job}: it is {state}")]
    WrongState { job: Lsn, state: JobState, what: &'static str },
    #[error("cannot reschedule job {job}: its limit of {limit} retries is reached")]
    RetryLimit { job: Lsn, limit: u32 },
    /// It would not fit into a record.
    #[error("{what} is {size} long, at most {limit} are taken")]
    TooLong { what: &'static str, size: usize, limit: usize },
}
