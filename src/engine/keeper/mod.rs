//! Lets go of what nobody needs any more, in the background: results beyond the retention setting,
//! queues long over, and chunks that nothing refers to.
//!
//! It decides nothing about jobs itself: it looks at what is published and asks the writer like
//! everybody else, so that what it did is in the log.

mod marks;
mod needs;
mod pins;
mod retention;

pub(crate) use self::needs::{Names, Needed, needed};
pub(crate) use self::pins::Pins;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::handle::{Handle, Status};
use super::{Accepted, Error};
use crate::chunks;
use crate::clock::{Ages, Clock, monotonic};
use crate::domain::{Cause, Command};

/// How often the limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeping {
    /// Most ended jobs.
    pub results_max: Option<u64>,
    /// Longest time after a job's end.
    pub result_age_max: Option<Duration>,
    /// Most bytes of results.
    pub result_bytes_max: Option<u64>,
    /// How long a queue is known after its end.
    pub queue_age_max: Option<Duration>,
    /// How often chunks are collected. None: never.
    pub collect_every: Option<Duration>,
}

/// The thread that does it.
pub(super) struct Keeper {
    stop: Arc<AtomicBool>,
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(
        keeping: Keeping,
        handle: Handle,
        store: chunks::Store,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = channel();
        let ages = RefCell::new(Ages::new(&*clock));
        let round = Round { keeping, handle, store, clock, ages, stop: Arc::clone(&stop) };
        let thread =
            thread::Builder::new().name("keeper".into()).spawn(move || round.run(&woken))?;
        Ok(Self { stop, wake, thread })
    }

    /// Ends it soon, whatever it is at.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the keeper of results panicked");
        }
    }
}

/// What the thread works with.
struct Round {
    keeping: Keeping,
    handle: Handle,
    store: chunks::Store,
    clock: Arc<dyn Clock>,
    ages: RefCell<Ages>,
    stop: Arc<AtomicBool>,
}

/// Why a round was given up.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the writer did not take it")]
    Engine(#[from] Error),
    #[error("cannot read the log")]
    Log(#[from] crate::eventlog::Error),
    #[error("cannot use the chunk store")]
    Chunks(#[from] chunks::Error),
    #[error("cannot read a recording")]
    Recording(#[from] crate::replay::source::Error),
    #[error("the service stops")]
    Stopping,
}

impl Round {
    fn run(&self, woken: &Receiver<()>) {
        let mut collected = monotonic();
        while woken.recv_timeout(self.patience(collected)) == Err(RecvTimeoutError::Timeout) {
            if self.handle.status() != Status::Ready {
                continue;
            }
            told("keep to the retention setting", self.retire());
            if self.keeping.collect_every.is_some_and(|every| collected.elapsed() >= every) {
                told("collect chunks", self.collect());
                collected = monotonic();
            }
        }
    }

    fn patience(&self, collected: Instant) -> Duration {
        let keeping = &self.keeping;
        let limited = keeping.results_max.is_some()
            || keeping.result_age_max.is_some()
            || keeping.result_bytes_max.is_some()
            || keeping.queue_age_max.is_some();
        if limited {
            return LOOK_EVERY;
        }
        let every = keeping.collect_every.unwrap_or(Duration::from_hours(1));
        every.saturating_sub(collected.elapsed()).max(Duration::from_millis(10))
    }

    fn go_on(&self) -> Result<(), Failed> {
        if self.stop.load(Ordering::Relaxed) { Err(Failed::Stopping) } else { Ok(()) }
    }

    fn execute(&self, command: Command) -> Result<Accepted, Failed> {
        self.go_on()?;
        Ok(self.handle.execute_blocking(command, Cause::UNKNOWN)?)
    }

    /// Gives the machine to others for as long as the last piece of work took.
    fn rest(&self, since: Instant) -> Result<(), Failed> {
        thread::sleep(since.elapsed().min(Duration::from_millis(100)));
        self.go_on()
    }

    /// Finds what is referred to and lets the store forget the rest.
    fn collect(&self) -> Result<(), Failed> {
        if self.store.stats().count == 0 {
            return Ok(());
        }
        let begun = self.store.begin_collection();
        // So that whatever is referred to by then is published, or its chunks are in use.
        self.handle.settle_blocking()?;
        let marks = self.mark()?;
        let stop = || self.stop.load(Ordering::Relaxed);
        let done = self.store.collect(begun, &|chunk| marks.contains(chunk), &stop)?;
        if done.chunks > 0 || done.generations_dropped > 0 {
            tracing::info!(
                chunks = done.chunks,
                bytes = done.bytes,
                copied_bytes = done.bytes_copied,
                generations_dropped = done.generations_dropped,
                disk_bytes_before = done.disk_before,
                disk_bytes_after = done.disk_after,
                "collected chunks that nothing referred to"
            );
        }
        Ok(())
    }
}

/// What fails is tried again next time; a failure of the disk stops the service by itself.
fn told(what: &str, result: Result<(), Failed>) {
    match result {
        Ok(()) | Err(Failed::Stopping | Failed::Engine(Error::Stopping)) => {}
        Err(failed) => {
            let reason = std::error::Error::source(&failed).map(ToString::to_string);
            tracing::warn!(%failed, reason, "cannot {what}");
        }
    }
}
