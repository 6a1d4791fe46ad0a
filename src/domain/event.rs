//! What happened: the vocabulary of the log, and with it the format on disk.
//!
//! Names of variants and fields are stored with every record. Renaming one is a format change and
//! belongs in `migrations/`; a new field needs `#[serde(default)]`.

use serde::{Deserialize, Serialize};

use super::ids::{ActionId, AttemptNo, Guid, Lsn, QueueId, TokenHash, WorkerId};
use super::object::{Blob, ObjectRef};
use super::recording::{Imported, Recorded, Verdicts};
use super::time::{Millis, Timestamp};
use super::worker::{Function, Host, RunnerName};

/// A fact. Past tense; already decided, so applying it never judges.
///
/// An *execution* is what runs for the jobs that want it. Its id is the LSN of the record that
/// opened it: a submission, or a reschedule of a job that had ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A worker's descriptor and all its chunks are held. The descriptor's summary is what the
    /// views need; functions that don't fit follow in [`Event::WorkerFunctionsDeclared`].
    WorkerRegistered {
        worker: WorkerId,
        descriptor: ObjectRef,
        name: String,
        host: Host,
        build_system: Guid,
        functions: Vec<Function>,
    },
    /// More functions of a worker registered just before.
    WorkerFunctionsDeclared { worker: WorkerId, functions: Vec<Function> },
    /// The worker takes no new job.
    WorkerRetired { worker: WorkerId },

    /// A job was accepted. The LSN of this record is its name.
    JobSubmitted {
        worker: WorkerId,
        action: ActionId,
        /// The action's function name, kept for lists and display.
        function: String,
        object: ObjectRef,
        priority: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueId>,
        /// How many retries the job may have.
        retries_max: u32,
        run: Run,
        /// Set for the jobs of a replay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recorded: Option<Recorded>,
    },
    /// The job wants nothing any more. `stop` is set when nobody else wanted its execution either
    /// and an attempt was under way.
    JobCancelled {
        job: Lsn,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<AttemptRef>,
    },
    /// The job's own priority changed.
    JobReprioritised { job: Lsn, priority: i32 },
    /// A failed or abandoned job is wanted again. `retry_count` includes this try.
    JobRescheduled {
        job: Lsn,
        retry_count: u32,
        run: Run,
        /// Last record of the execution the job leaves behind, so that its history stays linked.
        former: Lsn,
    },
    /// The job's result is no longer held.
    JobRetired { job: Lsn },

    /// These jobs' results are no longer held. At most [`RETIRED_LEN_MAX`].
    JobsRetired { jobs: Vec<Lsn> },

    /// A queue was made. Ids count from 1.
    QueueCreated {
        queue: QueueId,
        /// What a request must know to reach it by token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenHash>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What the client wants to be kept with it: a compact binary object.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Blob>,
        /// How many retries its jobs may have. None: what the service's setting says when a job
        /// is submitted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retries_max: Option<u32>,
        /// Idle time after which it expires. None: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire_after: Option<Millis>,
        /// How many attempts may be under way for it at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_running: Option<u32>,
    },
    /// It takes no new job.
    QueueDrained { queue: QueueId },
    /// It and all its jobs that had not ended are cancelled. An attempt under way that no job of
    /// another queue wants is to be stopped.
    QueueCancelled { queue: QueueId },
    /// It was idle for too long.
    QueueExpired { queue: QueueId },
    /// It is over, none of its results is held, and now it is forgotten.
    QueueRetired { queue: QueueId },

    /// A recording begins with this record, whose LSN is its name.
    RecordingStarted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// It ends with this record. Its jobs that have not ended yet belong to it until they do.
    RecordingStopped { recording: Lsn },
    /// An archive was imported: a recording of another time or place. All its chunks are held. The
    /// LSN of this record is its name here.
    RecordingImported {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        archive: Imported,
    },
    /// It is forgotten, and keeps no chunk any more.
    RecordingDeleted { recording: Lsn },
    /// The jobs of a recording are to run again, in a queue of their own that was made just before.
    /// The LSN of this record is the replay's name.
    ReplayStarted {
        recording: Lsn,
        queue: QueueId,
        /// What was asked for, as a JSON object.
        plan: ObjectRef,
        /// How many jobs that are.
        total: u64,
    },
    /// Some of its jobs were compared with what was recorded.
    ReplayJudged {
        replay: Lsn,
        /// Every job of it that ended up to this record has been compared.
        judged_to: Lsn,
        /// Position of the next job to submit.
        next: u64,
        verdicts: Verdicts,
    },
    /// It is over.
    ReplayEnded {
        replay: Lsn,
        /// Why it ended before all its jobs had run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },

    /// An execution was handed to a runner. The process has not started yet.
    AttemptAssigned {
        execution: Lsn,
        attempt: AttemptNo,
        runner: RunnerName,
        /// Whose turn it was; none when it was that of the jobs outside of queues.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueId>,
    },
    /// Its process started.
    AttemptStarted {
        execution: Lsn,
        attempt: AttemptNo,
        /// Which layers of isolation were in force, as shown with the attempt.
        sandbox: String,
    },
    /// It ended. Without `retry_at` every job that still wants the execution ends with it; with
    /// `retry_at` each of them has one retry more and the execution waits until then.
    AttemptFinished {
        execution: Lsn,
        attempt: AttemptNo,
        outcome: Outcome,
        usage: Usage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// These jobs have no retry left and end with the attempt whose [`Event::AttemptFinished`]
    /// follows in the same append, while others share the next try.
    JobsGaveUp { execution: Lsn, abandoned: bool, jobs: Vec<Lsn> },
    /// The service stopped under the attempt. It counts for nothing; the execution is ready again.
    AttemptLost { execution: Lsn, attempt: AttemptNo },
    /// The execution was pulled back, for another runner than `avoid` where there is one.
    ExecutionRetracted {
        execution: Lsn,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<AttemptNo>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        avoid: Option<RunnerName>,
    },
}

/// How a submission gets its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// By an execution of its own, named by the LSN of this very record.
    Opens,
    /// By one that is already in flight.
    Joins(Lsn),
    /// By one that has completed: the job completes with its submission.
    Cached(Lsn),
}

/// One try at an execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AttemptRef {
    pub execution: Lsn,
    pub attempt: AttemptNo,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The process exited 0 and every value of its output object was verified and is held.
    Completed {
        output: ObjectRef,
        /// False when the worker said `Meta.Cacheable: false`.
        cacheable: bool,
        /// Size of the output object and all its values.
        #[serde(default, skip_serializing_if = "is_zero")]
        bytes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr: Option<Tail>,
    },
    /// The attempt did not give a result.
    Failed(Failure),
}

impl Outcome {
    /// Whether the runner went away, or could not keep what the attempt made.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Failed(failure) if matches!(failure.kind, FailureKind::RunnerLost))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why an attempt gave no result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// For a person, at most [`REASON_BYTES_MAX`].
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Tail>,
}

/// Longest [`Failure::reason`], in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// Sorts failures by what may be done about them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process could not be started.
    Launch,
    /// It exited with another code than 0, or by a signal.
    Exit,
    /// It ran longer than its worker's time-out.
    TimedOut,
    /// It exited 0 but its output is missing, malformed or doesn't hash to what it says.
    BadOutput,
    /// A chunk it needs is missing or damaged; trying again can't help until it is uploaded again.
    InputLost,
    /// Its runner went away. The only kind that ends a job as *abandoned*.
    RunnerLost,
}

impl FailureKind {
    /// Whether another try could end differently.
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::InputLost)
    }

    /// Whether a job that ends by it is abandoned rather than failed.
    pub const fn abandons(self) -> bool {
        matches!(self, Self::RunnerLost)
    }
}

/// The last part of what a worker wrote to stderr.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// At most [`TAIL_INLINE_BYTES_MAX`], invalid UTF-8 replaced.
    Inline(String),
    /// A longer tail, in the chunk store.
    Chunk { chunk: super::ids::ChunkId, bytes: u64 },
}

/// Longest stderr tail that rides in its record, in bytes.
pub const TAIL_INLINE_BYTES_MAX: usize = 1_024;

/// Longest description of a sandbox in [`Event::AttemptStarted`], in bytes.
pub const SANDBOX_BYTES_MAX: usize = 512;

/// Most jobs in one [`Event::JobsGaveUp`].
pub const GAVE_UP_LEN_MAX: usize = 256;

/// Most jobs in one [`Event::JobsRetired`].
pub const RETIRED_LEN_MAX: usize = 256;

/// What an attempt cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time of the process and the children it waited for.
    pub cpu_ms: u64,
    /// Largest resident set of the process.
    pub peak_rss_bytes: u64,
}

/// What a record is about, for the back links of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    Worker(WorkerId),
    Job(Lsn),
    Execution(Lsn),
    Queue(QueueId),
    Recording(Lsn),
    Replay(Lsn),
    /// The record opens its own subject, or is about many.
    Itself,
}

impl Event {
    /// Whose history this belongs to.
    pub const fn subject(&self) -> Subject {
        match self {
            Self::WorkerRegistered { worker, .. }
            | Self::WorkerFunctionsDeclared { worker, .. }
            | Self::WorkerRetired { worker } => Subject::Worker(*worker),
            Self::JobSubmitted { .. }
            | Self::JobsRetired { .. }
            | Self::RecordingStarted { .. }
            | Self::RecordingImported { .. }
            | Self::ReplayStarted { .. } => Subject::Itself,
            Self::RecordingStopped { recording } | Self::RecordingDeleted { recording } => {
                Subject::Recording(*recording)
            }
            Self::ReplayJudged { replay, .. } | Self::ReplayEnded { replay, .. } => {
                Subject::Replay(*replay)
            }
            Self::QueueCreated { queue, .. }
            | Self::QueueDrained { queue }
            | Self::QueueCancelled { queue }
            | Self::QueueExpired { queue }
            | Self::QueueRetired { queue } => Subject::Queue(*queue),
            Self::JobCancelled { job, .. }
            | Self::JobReprioritised { job, .. }
            | Self::JobRescheduled { job, .. }
            | Self::JobRetired { job } => Subject::Job(*job),
            Self::AttemptAssigned { execution, .. }
            | Self::AttemptStarted { execution, .. }
            | Self::AttemptFinished { execution, .. }
            | Self::JobsGaveUp { execution, .. }
            | Self::AttemptLost { execution, .. }
            | Self::ExecutionRetracted { execution, .. } => Subject::Execution(*execution),
        }
    }
}
