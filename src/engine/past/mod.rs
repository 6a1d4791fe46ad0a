//! Looking back: the state as it was when some LSN was the newest.
//!
//! A past state is the nearest earlier one that is kept, and a fold of the records after it. Kept
//! are the newest in memory (the trail), some on disk (checkpoints), and for a while those that
//! somebody asked for. None of them decides anything: all can be lost, and only time is.

mod checkpoints;
mod error;
mod file;
mod follow;
mod inspect;
mod opening;
mod recent;
#[cfg(test)]
mod tests;
mod trail;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use self::checkpoints::Checkpoints;
pub use self::error::Error;
pub(super) use self::follow::Follower;
pub use self::inspect::{Found, FoundState, inspect};
pub use self::opening::Opening;
use self::recent::Recent;
use self::trail::Trail;
use super::base::base_state;
use crate::clock::monotonic;
use crate::domain::Lsn;
use crate::eventlog::LogReader;
use crate::views::Published;

/// How much is kept to look back with.
#[derive(Clone, Debug)]
pub struct PastOptions {
    /// Where checkpoints are kept. None: nowhere.
    pub dir: Option<PathBuf>,
    /// Most bytes of all checkpoints together; the newest two stay, however large, as starts need
    /// them. 0: there are none.
    pub space_bytes: u64,
    /// Fewest records between two checkpoints. Of a large state it is a quarter of its rows.
    pub checkpoint_every: u64,
    /// Fewest records between two states in memory.
    pub trail_every: u64,
    /// Most states that somebody asked for, and most jobs and executions in all of them; the newest
    /// stays, however large.
    pub recent_max: usize,
    pub recent_rows_max: usize,
}

impl Default for PastOptions {
    fn default() -> Self {
        Self {
            dir: None,
            space_bytes: 1 << 30,
            checkpoint_every: 32_768,
            trail_every: 4_096,
            recent_max: 16,
            recent_rows_max: 1_000_000,
        }
    }
}

/// Gives past states. Its calls block: they read the log, and sometimes a checkpoint.
pub struct Past {
    options: PastOptions,
    log: Arc<dyn LogReader>,
    checkpoints: Checkpoints,
    trail: Mutex<Trail>,
    recent: Mutex<Recent>,
    /// Whoever has it makes a state: one at a time, for the memory it takes.
    making: Mutex<()>,
    /// Whoever waits for that without blocking.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// From which LSN on the trail wants another state.
    due: AtomicU64,
    stopping: AtomicBool,
    follower: OnceLock<follow::Wake>,
}

/// What a state is written down for.
enum Task {
    Write(Arc<Published>),
    Stop,
}

impl Past {
    /// What can be given of `log`. Checkpoints are looked through when one is needed.
    pub fn open(options: PastOptions, log: Arc<dyn LogReader>) -> Self {
        let checkpoints = Checkpoints::new(
            options.dir.clone(),
            options.space_bytes,
            options.checkpoint_every,
            Arc::clone(&log),
        );
        Self {
            options,
            log,
            checkpoints,
            trail: Mutex::default(),
            recent: Mutex::default(),
            making: Mutex::default(),
            turn: Arc::default(),
            due: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            follower: OnceLock::new(),
        }
    }

    /// The state as it was when `lsn` was the newest. `newest` is the newest now.
    pub fn at(&self, lsn: Lsn, newest: Lsn) -> Result<Arc<Published>, Error> {
        if let Some(found) = self.held(lsn, newest)? {
            return Ok(found);
        }
        let _making = lock(&self.making);
        // Whoever had the turn may have made it.
        if let Some(found) = self.held(lsn, newest)? {
            return Ok(found);
        }
        // One log for all of it: its oldest records may be folded meanwhile.
        let log = self.log.pinned();
        let base = self.base(lsn, &*log)?;
        let made = self.fold(&base, lsn, &*log)?;
        self.keep(&made);
        Ok(made)
    }

    /// The same when it is at hand, and whether there is such a state at all.
    fn held(&self, lsn: Lsn, newest: Lsn) -> Result<Option<Arc<Published>>, Error> {
        let first = self.log.first();
        if lsn > newest {
            return Err(Error::Ahead { lsn, newest });
        }
        if lsn.next() < first {
            return Err(Error::Gone { first });
        }
        let recent = lock(&self.recent).get(lsn, monotonic());
        Ok(recent.or_else(|| lock(&self.trail).nearest(lsn).filter(|state| state.lsn() == lsn)))
    }

    /// The best state to start from.
    fn base(&self, lsn: Lsn, log: &dyn LogReader) -> Result<Arc<Published>, Error> {
        let recent = lock(&self.recent).nearest(lsn);
        let trail = lock(&self.trail).nearest(lsn);
        let at_hand = recent.into_iter().chain(trail).max_by_key(|state| state.lsn());
        let at_hand = at_hand.unwrap_or_default();
        // A row is read in less time than a record is folded; still, what is at hand costs nothing.
        let near = |rows: u64| at_hand.lsn().0.saturating_add(rows / 4);
        if let Some(loaded) = self.checkpoints.load(lsn, |at, rows| at.0 > near(rows)) {
            let loaded = Arc::new(loaded);
            self.keep(&loaded);
            return Ok(loaded);
        }
        let first = log.first();
        if at_hand.lsn().next() >= first {
            return Ok(at_hand);
        }
        match base_state(log)? {
            Some(state) if state.lsn() <= lsn => Ok(Arc::new(state)),
            _ => Err(Error::Gone { first }),
        }
    }

    /// Folds what came after `base`, up to `lsn`. Where that is far, states on the way are written
    /// down for the next who asks.
    fn fold(
        &self,
        base: &Arc<Published>,
        lsn: Lsn,
        log: &dyn LogReader,
    ) -> Result<Arc<Published>, Error> {
        let mut state = Published::clone(base);
        let mut noted = state.lsn();
        if noted == lsn {
            return Ok(Arc::clone(base));
        }
        for record in log.scan(noted.next(), lsn) {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(Error::Stopping);
            }
            state.apply(&record?)?;
            if state.lsn().0 - noted.0 >= self.spacing(&state) {
                noted = state.lsn();
                if self.checkpoints.is_wanted(noted, self.spacing(&state)) {
                    self.write(Arc::new(state.clone()));
                }
            }
        }
        if state.lsn() == lsn { Ok(Arc::new(state)) } else { Err(Error::Lost { lsn }) }
    }

    /// The newest checkpoint up to `lsn`, read and verified.
    pub fn checkpoint(&self, lsn: Lsn) -> Option<Published> {
        self.checkpoints.load(lsn, |_, _| true)
    }

    /// Writes a state down, when there is none near it.
    pub fn write_checkpoint(&self, state: &Published) {
        if self.checkpoints.is_wanted(state.lsn(), self.spacing(state)) {
            self.checkpoints.write(state, &|| !self.stopping.load(Ordering::Relaxed));
        }
    }

    /// Writes down the state that a clean stop leaves, so that the next start has nothing to fold.
    /// Gives up after `patience`.
    pub(super) fn write_last(&self, state: &Published, patience: Duration) {
        if self.checkpoints.is_newer(state.lsn()) {
            let begun = monotonic();
            self.checkpoints.write(state, &|| begun.elapsed() < patience);
        }
    }

    /// The log begins with the record `first` now; what is before the state it begins with goes.
    pub(super) fn forget_before(&self, first: Lsn) {
        self.checkpoints.forget_before(first);
        lock(&self.trail).forget_before(first);
        lock(&self.recent).forget_before(first);
    }

    /// Keeps a state for the next who asks.
    fn keep(&self, state: &Arc<Published>) {
        let options = &self.options;
        let mut recent = lock(&self.recent);
        recent.keep(state, options.recent_max, options.recent_rows_max, monotonic());
        drop(recent);
        if let Some(follower) = self.follower.get() {
            // It will let go of it.
            let _ = follower.look.try_send(());
        }
    }

    /// Records between two checkpoints of a state of this size.
    fn spacing(&self, state: &Published) -> u64 {
        let rows = u64::try_from(state.rows()).unwrap_or(u64::MAX);
        self.options.checkpoint_every.max(rows / 4).max(1)
    }

    /// Takes a clone of the published state as the newest of the trail.
    pub fn follow(&self, state: &Arc<Published>) {
        // Readers and the writer wait for it: the more it costs, the fewer clones.
        let cost = u64::try_from(state.clone_cost()).unwrap_or(u64::MAX);
        let every = self.options.trail_every.max(cost / 3).max(1);
        self.due.store(state.lsn().0.saturating_add(every), Ordering::Relaxed);
        lock(&self.trail).push(Arc::clone(state));
    }

    /// Whether [`Past::follow`] wants a state of this LSN.
    pub fn is_due(&self, lsn: Lsn) -> bool {
        lsn.0 >= self.due.load(Ordering::Relaxed)
    }

    /// The log has come this far. Costs next to nothing.
    pub(super) fn passed(&self, lsn: Lsn) {
        if self.is_due(lsn)
            && let Some(follower) = self.follower.get()
        {
            // One that is awake already looks again anyway.
            let _ = follower.look.try_send(());
        }
    }

    /// Hands a state on to be written down, when nothing else is being written.
    fn write(&self, state: Arc<Published>) {
        let Some(follower) = self.follower.get() else { return self.write_checkpoint(&state) };
        if let Err(TrySendError::Disconnected(_)) = follower.write.try_send(Task::Write(state)) {
            tracing::debug!("a checkpoint came after the end");
        }
    }

    /// Lets go of what nobody has asked for in a while. Whether anything is left.
    fn tidy(&self) -> bool {
        lock(&self.recent).tidy(monotonic())
    }

    /// Makes states one after another, without blocking who waits.
    pub(super) fn turn(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.turn)
    }

    /// The state when it takes no work to give it.
    pub(super) fn ready(&self, lsn: Lsn, newest: Lsn) -> Result<Option<Arc<Published>>, Error> {
        self.held(lsn, newest)
    }
}

type Writes = SyncSender<Task>;

/// Nothing panics while it holds one of these locks and leaves half a change behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
