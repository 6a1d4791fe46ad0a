//! From a folded log to an engine open for business, and back to a clean stop.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::ahead::Ahead;
use super::committer::{Committer, Failed};
use super::compactor::{Compactor, Turn};
use super::dispatch::Dispatcher;
use super::expiry::Expiry;
use super::handle::{Handle, Shared, Status, Work};
use super::keeper::Keeper;
use super::past::{Follower, Past, PastOptions};
use super::rounds::{Undurable, rounds};
use super::writer::Writer;
use super::{COMMAND_QUEUE_LEN_MAX, Options};
use crate::chunks;
use crate::clock::{Clock, Entropy};
use crate::domain::{Lsn, Timestamp};
use crate::eventlog::EventLog;
use crate::runner::Runner;
use crate::views::Published;

/// Longest time that a clean stop takes to write its last state down. Without it the next start
/// folds the records since the last checkpoint.
const LAST_CHECKPOINT_MAX: Duration = Duration::from_secs(10);

/// An engine whose log is still being read. Its [`Handle`] answers [`Status::Starting`], so that the
/// network can be served, and the runner be built, before the engine is.
pub struct Boot {
    handle: Handle,
    queue: Receiver<Work>,
}

/// What an engine is made of.
pub struct Parts {
    pub options: Options,
    pub log: Box<dyn EventLog>,
    /// The fold of everything in `log`.
    pub published: Published,
    /// What is kept to look back with.
    pub past: PastOptions,
    pub chunks: chunks::Store,
    /// None when this instance only accepts.
    pub runner: Option<Arc<dyn Runner>>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Boot {
    fn default() -> Self {
        Self::new()
    }
}

impl Boot {
    /// The handle works from the start.
    pub fn new() -> Self {
        let (sender, queue) = sync_channel(COMMAND_QUEUE_LEN_MAX);
        let shared = Shared {
            published: RwLock::new(Published::default()),
            status: RwLock::new(Status::Starting),
            log: OnceLock::new(),
            past: OnceLock::new(),
            compaction: OnceLock::new(),
            durable: watch::channel(Lsn::ZERO).0,
            ended: watch::channel(Lsn::ZERO).0,
            has_room: AtomicBool::new(true),
            register: Arc::default(),
        };
        Self { handle: Handle { shared: Arc::new(shared), queue: sender }, queue }
    }

    /// A handle to the engine to come.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Mends what the last stop left behind, starts the writer and opens for business.
    ///
    /// Attempts that were under way are lost: the processes ended with the service that ran them.
    pub fn open(self, parts: Parts) -> Result<Running, Stopped> {
        let Self { handle, queue } = self;
        let shared = Arc::clone(&handle.shared);
        // Shares all but the small orders.
        let mut staging = parts.published.views.clone();
        staging.keep_offers();
        let last = parts.published.lsn();
        let mut published = parts.published;
        published.keep_pairs();
        *shared.published_mut() = published;
        if shared.log.set(parts.log.reader()).is_err() {
            unreachable!("an engine is opened once, since opening consumes it");
        }
        let past = Arc::new(Past::open(parts.past, parts.log.reader()));
        let _ = shared.past.set(Arc::clone(&past));
        if let Some(dir) = parts.log.dir() {
            let _ = shared.compaction.set(Turn::new(parts.options.compacting, dir));
        }
        shared.durable.send_replace(last);
        shared.ended.send_replace(last);

        let (keeping, store) = (parts.options.keeping, parts.chunks.clone());
        let compacting = parts.options.compacting;
        let keeper_clock = Arc::clone(&parts.clock);
        let (effects, dispatcher) = Dispatcher::start(
            Arc::clone(&shared),
            parts.chunks,
            parts.runner.clone(),
            handle.clone(),
        );
        let (rounds, decided) = rounds();
        let committer = Committer { log: parts.log, shared: Arc::clone(&shared), effects };
        let committer = start_committer(committer, decided, handle.clone())?;
        let opened = shared.register.open(Arc::clone(&parts.clock));
        let mut writer = Writer {
            options: parts.options,
            shared: Arc::clone(&shared),
            queue,
            rounds,
            runner: parts.runner.clone(),
            expiry: Expiry::since(opened, &*parts.clock),
            clock: parts.clock,
            entropy: parts.entropy,
            staging,
            occupied: BTreeSet::new(),
            ahead: Ahead::default(),
            assigned_at: Timestamp::default(),
            shared_at: last,
        };
        if let Err(failed) = writer.reconcile() {
            drop(writer);
            return Err(committer.join().map_or(Stopped::Panicked, |committed| {
                Stopped::Failed(committed.err().unwrap_or(failed))
            }));
        }
        shared.set_status(Status::Ready);

        let (thread, ended) = start_writer(writer, committer, shared)?;
        // Wakes the writer once, so that what was ready before the stop is handed out.
        let _ = handle.queue.send(Work::Wake);
        let keeper =
            Keeper::start(keeping, handle.clone(), store, keeper_clock).map_err(Stopped::Thread)?;
        let follower = Follower::start(&past, &handle).map_err(Stopped::Thread)?;
        let compactor = Compactor::start(compacting, &handle).map_err(Stopped::Thread)?;
        let runner = parts.runner;
        Ok(Running { handle, runner, thread, dispatcher, keeper, compactor, past, follower, ended })
    }
}

/// Tells how the writer ended.
type Ended = oneshot::Receiver<Result<(), Stopped>>;

/// Starts the thread that decides. It ends after the committer, and then says how it went.
fn start_writer(
    writer: Writer,
    committer: JoinHandle<Result<(), Failed>>,
    shared: Arc<Shared>,
) -> Result<(JoinHandle<()>, Ended), Stopped> {
    let (done, ended) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            // The writer is gone after it, and with it the channel the committer listens on.
            let decided = catch_unwind(AssertUnwindSafe(|| writer.run()));
            let written = committer.join();
            let result = match (written, decided) {
                (Ok(Err(failed)), _) | (Ok(Ok(())), Ok(Err(failed))) => {
                    Err(Stopped::Failed(failed))
                }
                (Ok(Ok(())), Ok(Ok(()))) => Ok(()),
                (Err(_), _) | (_, Err(_)) => {
                    shared.set_status(Status::Poisoned("the writer panicked".into()));
                    Err(Stopped::Panicked)
                }
            };
            // The program may be ending already and not listen any more.
            let _ = done.send(result);
        })
        .map_err(Stopped::Thread)?;
    Ok((thread, ended))
}

/// Starts the thread that makes rounds durable. When it fails it wakes the writer, which may wait
/// for work that nobody can send any more.
fn start_committer(
    committer: Committer,
    rounds: Undurable,
    handle: Handle,
) -> Result<JoinHandle<Result<(), Failed>>, Stopped> {
    thread::Builder::new()
        .name("committer".into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| committer.run(&rounds)));
            if result.is_err() {
                handle.shared.set_status(Status::Poisoned("the committer panicked".into()));
            }
            drop(rounds);
            // A full queue wakes it as well.
            let _ = handle.queue.try_send(Work::Wake);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .map_err(Stopped::Thread)
}

/// An engine open for business.
pub struct Running {
    handle: Handle,
    runner: Option<Arc<dyn Runner>>,
    thread: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    keeper: Keeper,
    compactor: Option<Compactor>,
    past: Arc<Past>,
    follower: Follower,
    ended: Ended,
}

/// Why an engine doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The log could not be written; nothing that was acknowledged is lost.
    #[error("the engine failed")]
    Failed(#[source] Failed),
    #[error("the writer panicked")]
    Panicked,
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl Running {
    /// A handle.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the engine to end by itself, which it does only by failing.
    pub async fn ended(&mut self) -> Stopped {
        match (&mut self.ended).await {
            Ok(Err(stopped)) => stopped,
            Ok(Ok(())) | Err(_) => Stopped::Panicked,
        }
    }

    /// Refuses new commands from now on; what runs goes on.
    pub fn refuse_new(&self) {
        self.handle.shared.set_status(Status::Stopping);
    }

    /// Stops cleanly: no new commands, up to `grace` for running attempts, whose results are still
    /// written, then the writer. Blocks.
    pub fn stop(self, grace: Duration) -> Result<(), Stopped> {
        self.refuse_new();
        self.keeper.stop();
        if let Some(compactor) = self.compactor {
            compactor.stop();
        }
        self.follower.stop();
        if let Some(runner) = &self.runner {
            runner.stop(grace);
        }
        // Behind all reports, so that they are written first.
        let _ = self.handle.queue.send(Work::Stop);
        let result = self.ended.blocking_recv().unwrap_or(Err(Stopped::Panicked));
        let joined = self.thread.join().map_err(|_| Stopped::Panicked);
        // Its channel closes with the writer.
        let _ = self.dispatcher.join();
        let stopped = result.and(joined);
        if stopped.is_ok() && self.handle.has_room() {
            self.handle.read(|last| self.past.write_last(last, LAST_CHECKPOINT_MAX));
        }
        stopped
    }
}
