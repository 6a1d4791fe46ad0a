//! What everybody but the writer holds of the engine.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{oneshot, watch};

use super::attendance::{Attendance, Register};
use super::committer::Failed;
use super::compactor::{Adoption, Turn};
use super::past::{self, Past};
use super::{Accepted, Error};
use crate::domain::{Cause, Command, Lsn, NewJob, QueueId, Rejection, sentence};
use crate::eventlog::LogReader;
use crate::runner::{Report, Reports};
use crate::views::Published;

/// Whether the engine takes commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Status {
    /// The log is being read.
    Starting,
    Ready,
    /// Finishing what runs; nothing new is taken.
    Stopping,
    /// The log could not be written; the text says why. Only a restart helps.
    Poisoned(String),
}

/// What waits for the writer.
pub(super) enum Work {
    Command {
        command: Command,
        cause: Cause,
        reply: oneshot::Sender<Result<Accepted, Error>>,
    },
    Batch {
        jobs: Vec<NewJob>,
        cause: Cause,
        reply: oneshot::Sender<BatchReply>,
    },
    Report(Report),
    /// Take a rewritten log for the log.
    Adopt(Box<Adoption>),
    /// Say when everything before this is published.
    Settle(oneshot::Sender<()>),
    /// Look at what is ready.
    Wake,
    /// Write the mark, end the thread.
    Stop,
}

/// The answer to a batch: one result per job, in order.
pub(super) type BatchReply = Result<Vec<Result<Accepted, Rejection>>, Error>;

/// State shared by the writer and all handles.
pub(super) struct Shared {
    pub(super) published: RwLock<Published>,
    pub(super) status: RwLock<Status>,
    pub(super) log: OnceLock<Arc<dyn LogReader>>,
    pub(super) past: OnceLock<Arc<Past>>,
    pub(super) compaction: OnceLock<Turn>,
    pub(super) durable: watch::Sender<Lsn>,
    pub(super) ended: watch::Sender<Lsn>,
    /// False while the disk is nearly full.
    pub(super) has_room: AtomicBool,
    /// Requests for queues.
    pub(super) register: Arc<Register>,
}

// Nothing panics half-way through a change under these locks but a fold, after which the engine is
// poisoned anyway; so a lock that a panic left behind still holds a value that can be looked at.
impl Shared {
    pub(super) fn published(&self) -> RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn published_mut(&self) -> RwLockWriteGuard<'_, Published> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> RwLockReadGuard<'_, Status> {
        self.status.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn status_mut(&self) -> RwLockWriteGuard<'_, Status> {
        self.status.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_status(&self, status: Status) {
        *self.status_mut() = status;
    }

    /// Takes nothing more, for this reason; an earlier one stands.
    pub(super) fn poison(&self, failed: &Failed) {
        let reason = sentence(failed);
        let mut status = self.status_mut();
        if !matches!(*status, Status::Poisoned(_)) {
            tracing::error!(%reason, "the engine stops");
            *status = Status::Poisoned(reason);
        }
    }
}

/// Queues commands and reads what is durable. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: SyncSender<Work>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Asks for a change. The answer comes when all that it says is durable; a refusal comes when
    /// all that it rests on is.
    pub async fn execute(&self, command: Command, cause: Cause) -> Result<Accepted, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Command { command, cause, reply })?;
        answer.await.map_err(|_| self.gone())?
    }

    /// The same for a thread that may wait.
    pub(super) fn execute_blocking(
        &self,
        command: Command,
        cause: Cause,
    ) -> Result<Accepted, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Command { command, cause, reply })?;
        answer.blocking_recv().map_err(|_| self.gone())?
    }

    /// Submits many jobs. Each is judged for itself; those accepted get consecutive LSNs. The answer
    /// comes when all are durable.
    pub async fn submit_batch(
        &self,
        jobs: Vec<NewJob>,
        cause: Cause,
    ) -> Result<Vec<Result<Accepted, Rejection>>, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Work::Batch { jobs, cause, reply })?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Returns when everything that was queued before is published. Between the beginning of a
    /// collection of chunks and the look at what is referred to. Blocks.
    pub(super) fn settle_blocking(&self) -> Result<(), Error> {
        let (settled, answer) = oneshot::channel();
        self.enqueue(Work::Settle(settled))?;
        answer.blocking_recv().map_err(|_| self.gone())
    }

    /// Looks at the published views. Copy out the little that is needed: the writer waits.
    pub fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> T {
        look(&self.shared.published())
    }

    /// Reads records. Bound what you ask for by [`Handle::durable`].
    pub fn log(&self) -> Option<&Arc<dyn LogReader>> {
        self.shared.log.get()
    }

    /// The state as it was when `lsn` was the newest. Making it may take a while, and whoever wants
    /// another one meanwhile waits.
    pub async fn at(&self, lsn: Lsn) -> Result<Arc<Published>, past::Error> {
        let past = self.shared.past.get().ok_or(past::Error::Starting)?;
        // What is published is durable, and may be newer than what `durable` says.
        let newest = self.read(Published::lsn);
        if let Some(found) = past.ready(lsn, newest)? {
            return Ok(found);
        }
        let turn = past.turn().lock_owned().await;
        let (past, handle) = (Arc::clone(past), self.clone());
        let made = tokio::task::spawn_blocking(move || {
            // Also when nobody waits for it any more.
            let _turn = turn;
            // Nothing to fold when it is the present one.
            let present = |now: &Published| (now.lsn() == lsn).then(|| Arc::new(now.clone()));
            handle.read(present).map_or_else(|| past.at(lsn, newest), Ok)
        });
        made.await.unwrap_or(Err(past::Error::Panicked))
    }

    /// The newest LSN that no crash can take back and that readers see.
    pub fn durable(&self) -> Lsn {
        *self.shared.durable.borrow()
    }

    /// Follows [`Handle::durable`].
    pub fn watch_durable(&self) -> watch::Receiver<Lsn> {
        self.shared.durable.subscribe()
    }

    /// Follows the LSN of the newest record that ended a job.
    pub fn watch_ended(&self) -> watch::Receiver<Lsn> {
        self.shared.ended.subscribe()
    }

    /// Says that somebody asks for a queue, which is not idle until the guard is dropped.
    pub fn attend(&self, queue: QueueId) -> Attendance {
        Attendance::new(&self.shared.register, queue)
    }

    /// Whether commands are taken.
    pub fn status(&self) -> Status {
        self.shared.status().clone()
    }

    /// Whether commands are taken right now, without a copy of the reason.
    pub fn is_ready(&self) -> bool {
        *self.shared.status() == Status::Ready
    }

    /// The same, and why not.
    pub fn check_ready(&self) -> Result<(), Error> {
        match &*self.shared.status() {
            Status::Ready => Ok(()),
            Status::Starting => Err(Error::Starting),
            Status::Stopping => Err(Error::Stopping),
            Status::Poisoned(_) => Err(Error::Poisoned),
        }
    }

    /// False while the disk is nearly full: submissions and uploads are refused then.
    pub fn has_room(&self) -> bool {
        self.shared.has_room.load(Ordering::Relaxed)
    }

    /// Says whether there is room on the disk.
    pub fn set_has_room(&self, has_room: bool) {
        self.shared.has_room.store(has_room, Ordering::Relaxed);
    }

    fn enqueue(&self, work: Work) -> Result<(), Error> {
        self.check_ready()?;
        self.queue.try_send(work).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => self.gone(),
        })
    }

    /// Why the writer dropped a command without an answer.
    fn gone(&self) -> Error {
        match self.status() {
            Status::Stopping => Error::Stopping,
            _ => Error::Poisoned,
        }
    }
}

impl Reports for Handle {
    /// Blocks while the queue is full: a report must not be lost, and the writer never waits for a
    /// runner.
    fn report(&self, report: Report) {
        if self.queue.send(Work::Report(report)).is_err() {
            tracing::debug!("a runner's report came after the writer had stopped");
        }
    }
}
