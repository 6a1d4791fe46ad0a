//! What someone asks for. A command becomes events, an answer or a [`super::Rejection`].

use super::event::{AttemptRef, Outcome, Usage};
use super::ids::{ActionId, Guid, Lsn, QueueId, TokenHash, WorkerId};
use super::object::{Blob, ObjectRef};
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
    /// Handed out.
    Assigned(AttemptRef),
    /// Nothing ready for this runner.
    Idle,
    /// A report about an attempt that is no longer the current one; nothing changed.
    Stale,
}
