//! What someone asks for. A command becomes events, an answer or a [`super::Rejection`].

use super::event::{AttemptRef, Outcome, Usage};
use super::ids::{ActionId, Guid, Lsn, QueueId, TokenHash, WorkerId};
use super::object::{Blob, ObjectRef};
use super::recording::{Imported, Verdicts};
use super::time::{Millis, Timestamp};
use super::worker::{Function, FunctionKey, Host, RunnerName};

/// A request to change something, imperative.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Make a worker known. The caller has made sure that all its chunks are held.
    RegisterWorker(NewWorker),
    /// Take no new job for it.
    RetireWorker {
        worker: WorkerId,
    },
    /// Accept one job. The caller has made sure that the action and its inputs are held.
    SubmitJob(NewJob),
    CancelJob {
        job: Lsn,
    },
    ChangePriority {
        job: Lsn,
        priority: i32,
    },
    RescheduleJob {
        job: Lsn,
    },
    RetractJob {
        job: Lsn,
    },
    RetireJob {
        job: Lsn,
    },
    /// Let go of those of these results that are still held. From the keeper of the settings.
    RetireJobs {
        jobs: Vec<Lsn>,
    },
    CreateQueue(NewQueue),
    /// Take no new job, finish the rest.
    DrainQueue {
        queue: QueueId,
    },
    /// End it and every job in it that has not ended.
    CancelQueue {
        queue: QueueId,
    },
    /// End it if it has been idle for its time. Requests are in no record, so whoever asks says
    /// when the last one ended.
    ExpireQueue {
        queue: QueueId,
        quiet_since: Timestamp,
    },
    /// Forget a queue that is over and holds no result.
    RetireQueue {
        queue: QueueId,
    },
    /// Record from here on.
    StartRecording {
        name: Option<String>,
    },
    /// Record no more.
    StopRecording,
    /// Take in an archive. The caller has made sure that all its chunks are held.
    ImportRecording(NewImport),
    /// Forget a recording.
    DeleteRecording {
        recording: Lsn,
    },
    StartReplay(NewReplay),
    /// From whoever runs the replay: jobs were compared, or can't be submitted.
    JudgeReplay {
        replay: Lsn,
        judged_to: Lsn,
        next: u64,
        verdicts: Verdicts,
    },
    /// From whoever runs the replay: nothing more will come of it.
    EndReplay {
        replay: Lsn,
        reason: Option<String>,
    },
    /// From a runner: the process started.
    StartAttempt {
        attempt: AttemptRef,
        sandbox: String,
    },
    /// From a runner: the attempt is over and what it made is held.
    FinishAttempt {
        attempt: AttemptRef,
        outcome: Outcome,
        usage: Usage,
    },
    /// After a restart: nobody runs this attempt.
    LoseAttempt {
        attempt: AttemptRef,
    },
    /// Hand the first ready execution that `runner` can run to it.
    Assign {
        runner: RunnerName,
        host: Host,
    },
}

/// A worker to register: its id, where its descriptor is, and what the rules need of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewWorker {
    pub worker: WorkerId,
    pub descriptor: ObjectRef,
    pub name: String,
    pub host: Host,
    pub build_system: Guid,
    pub functions: Vec<Function>,
}

/// One submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewJob {
    pub target: Target,
    pub action: ActionId,
    pub function: String,
    pub object: ObjectRef,
    pub priority: i32,
    pub queue: Option<QueueId>,
    /// `?cache=skip`: neither join an execution in flight nor reuse a result.
    pub fresh: bool,
    /// A recorded job is run again.
    pub replayed: Option<Replayed>,
}

/// Which recorded job a submission runs again. Only these are taken into a replay's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed {
    pub replay: Lsn,
    /// By its LSN in the recording.
    pub recorded: Lsn,
    /// Counted from 0, ascending.
    pub position: u64,
    /// As recorded.
    pub retries_max: u32,
    /// It was cancelled then, and is cancelled at once now: it never runs.
    pub cancelled: bool,
}

/// An archive to take in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewImport {
    pub name: Option<String>,
    pub archive: Imported,
    /// The workers it brings; those that are registered already stay as they are.
    pub workers: Vec<NewWorker>,
}

/// A replay to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewReplay {
    pub recording: Lsn,
    /// What is asked for, as a JSON object.
    pub plan: ObjectRef,
    /// How many jobs that are.
    pub total: u64,
}

/// A queue to make.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewQueue {
    /// None: reachable by its number only.
    pub token: Option<TokenHash>,
    pub name: Option<String>,
    /// A compact binary object.
    pub metadata: Option<Blob>,
    /// None: the service's setting.
    pub retries_max: Option<u32>,
    /// None: the service's setting. Zero: never.
    pub expire_after: Option<Millis>,
    /// None or zero: no limit of its own.
    pub max_running: Option<u32>,
}

/// Priority of a submission that names none: the engine's Normal.
pub const PRIORITY_DEFAULT: i32 = 2;

/// Which worker a submission is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Worker(WorkerId),
    /// The newest registered worker that offers this, then the lowest id.
    Function(FunctionKey),
}

/// What an accepted command is answered with, beside its LSNs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing to add. Also for commands that were already true.
    Done,
    /// A job was accepted for `worker`; `cached` when it completed at once.
    Submitted { worker: WorkerId, cached: bool },
    /// The job is wanted again.
    Rescheduled { retry_count: u32 },
    /// A queue was made.
    QueueCreated { queue: QueueId },
    /// Recording stopped, with the record that the answer's LSN names.
    RecordingStopped { recording: Lsn },
    /// An archive was taken in.
    RecordingImported { recording: Lsn },
    /// A replay began.
    ReplayStarted { replay: Lsn, queue: QueueId },
    /// Handed out.
    Assigned(AttemptRef),
    /// Nothing ready for this runner.
    Idle,
    /// A report about an attempt that is no longer the current one; nothing changed.
    Stale,
}
