//! The runner inside the service: attempts as processes of this machine.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::attempt::Made;
use super::folders::{Folders, WORKERS};
use super::link::{Link, LinkOptions};
use super::protocol::{self, Request, Sandbox};
use super::workers::Workers;
use super::{Launch, Report, Reports, Runner};
use crate::chunks::Store;
use crate::clock::{Entropy, System, monotonic};
use crate::domain::{AttemptRef, Failure, FailureKind, Host, Outcome, RunnerName};

/// Threads beyond two per slot: attempts whose process is gone gather their outputs and wait for
/// the disk while the next processes run.
const SPARE_THREADS: usize = 4;
/// How long a stop waits for folders to be deleted; the next start deletes the rest.
const DELETE_MAX: Duration = Duration::from_secs(2);
/// How long an attempt whose results can't be stored waits for the service to stop, and how often it
/// looks. The service stops within a second.
const STOP_WAIT: Duration = Duration::from_secs(10);
const STOP_LOOK: Duration = Duration::from_millis(10);

/// Settings of a [`LocalRunner`].
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where the folders of attempts and the unpacked workers lie. What an earlier life left there
    /// is deleted.
    pub data_dir: PathBuf,
    /// Attempts at once; 0 runs none.
    pub slots: usize,
    /// The executable that has the `__supervisor` subcommand.
    pub supervisor: PathBuf,
    pub sandbox: Sandbox,
}

impl LocalOptions {
    /// As many slots as logical cores, and this very executable as supervisor.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            // Stays right when the file is replaced or deleted meanwhile.
            supervisor: PathBuf::from("/proc/self/exe"),
            sandbox: Sandbox::Off,
        }
    }
}

/// Why the runner can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot prepare {}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot start the supervisor of attempts")]
    Supervisor(#[source] io::Error),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Runs attempts as local processes, each in a folder and a process group of its own.
#[derive(Debug)]
pub struct LocalRunner {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share.
pub(super) struct Inner {
    pub(super) slots: usize,
    pub(super) sandbox: Sandbox,
    pub(super) folders: Folders,
    /// First half of every marker.
    pub(super) nonce: String,
    pub(super) serials: AtomicU64,
    pub(super) store: Store,
    pub(super) workers: Workers,
    pub(super) link: Link,
    reports: Arc<dyn Reports>,
    queue: Mutex<Queue>,
    /// Something to do for a thread.
    work: Condvar,
    /// An attempt is over.
    over: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Launch, Arc<Control>)>,
    open: BTreeMap<AttemptRef, Arc<Control>>,
    stopping: bool,
    closed: bool,
}

/// How others reach into an attempt.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: Mutex<ControlState>,
}

#[derive(Debug, Default)]
struct ControlState {
    cut: Option<Cut>,
    /// Where to send a kill while there is a process.
    process: Option<(u64, Arc<UnixStream>)>,
}

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    Killed,
    Stopped,
}

impl LocalRunner {
    /// Deletes what an earlier life left, starts the supervisor and the threads.
    pub fn start(
        options: LocalOptions,
        store: Store,
        reports: Arc<dyn Reports>,
    ) -> Result<Self, StartError> {
        let threads = 2 * options.slots + SPARE_THREADS;
        let failed = |source| StartError::Folder { path: options.data_dir.clone(), source };
        fs::create_dir_all(&options.data_dir).map_err(failed)?;
        // Absolute, because the supervisor works elsewhere; without links, because that is how the
        // kernel shows where a process works.
        let data_dir = options.data_dir.canonicalize().map_err(failed)?;
        // More than one for each thread are never in use at once.
        let folders = Folders::prepare(&data_dir, threads)?;
        let mut random = [0; 8];
        System.fill(&mut random);
        let nonce = hex::encode(random);
        let link = Link::start(LinkOptions {
            program: options.supervisor,
            slots: options.slots,
            nonce: nonce.clone(),
            folders: folders.root().to_owned(),
        })
        .map_err(StartError::Supervisor)?;
        let inner = Arc::new(Inner {
            slots: options.slots,
            sandbox: options.sandbox,
            folders,
            nonce,
            serials: AtomicU64::new(1),
            workers: Workers::new(data_dir.join(WORKERS), store.clone()),
            store,
            link,
            reports,
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            over: Condvar::new(),
        });
        let runner = Self { inner, threads: Mutex::new(Vec::new()) };
        for number in 0..threads {
            let inner = Arc::clone(&runner.inner);
            let thread = std::thread::Builder::new()
                .name(format!("attempt-{number}"))
                .spawn(move || inner.work())
                .map_err(StartError::Thread)?;
            lock(&runner.threads).push(thread);
        }
        Ok(runner)
    }

    /// Process id of the supervisor, for diagnosis; `None` while it is being replaced.
    pub fn supervisor_pid(&self) -> Option<i32> {
        Some(self.inner.link.supervisor()).filter(|pid| *pid != 0)
    }
}

impl Runner for LocalRunner {
    fn name(&self) -> RunnerName {
        RunnerName::local()
    }

    fn host(&self) -> Host {
        Host::Linux
    }

    fn slots(&self) -> usize {
        self.inner.slots
    }

    fn launch(&self, launch: Launch) {
        let control = Arc::new(Control::default());
        let mut queue = lock(&self.inner.queue);
        if queue.stopping {
            control.cut(Cut::Stopped);
        }
        queue.open.insert(launch.attempt, Arc::clone(&control));
        queue.waiting.push_back((launch, control));
        self.inner.work.notify_one();
    }

    fn kill(&self, attempt: AttemptRef) {
        let control = lock(&self.inner.queue).open.get(&attempt).cloned();
        if let Some(control) = control {
            control.cut(Cut::Killed);
        }
    }

    fn stop(&self, grace: Duration) {
        let begun = monotonic();
        let mut queue = lock(&self.inner.queue);
        queue.stopping = true;
        while !queue.open.is_empty() && begun.elapsed() < grace {
            queue = wait(&self.inner.over, queue, Some(grace.saturating_sub(begun.elapsed())));
        }
        let open: Vec<_> = queue.open.values().cloned().collect();
        drop(queue);
        for control in open {
            control.cut(Cut::Stopped);
        }
        self.inner.link.close();
        let mut queue = lock(&self.inner.queue);
        while !queue.open.is_empty() {
            queue = wait(&self.inner.over, queue, None);
        }
        queue.closed = true;
        self.inner.work.notify_all();
        drop(queue);
        self.inner.link.stop();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _it_panicked_and_said_so = thread.join();
        }
        self.inner.folders.stop(DELETE_MAX);
    }
}

impl Drop for LocalRunner {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl Inner {
    /// Waits for the service to stop, which it does when the chunk store has failed. What was lost for that
    /// costs no job a retry when it is told then; told sooner, it would be made again, and lost again,
    /// until none is left.
    fn await_stop(&self) {
        let begun = monotonic();
        let mut queue = lock(&self.queue);
        while !queue.stopping && begun.elapsed() < STOP_WAIT {
            queue = wait(&self.over, queue, Some(STOP_LOOK));
        }
    }

    /// What each thread does until the runner is closed.
    fn work(&self) {
        while let Some((launch, control)) = self.next() {
            let attempt = launch.attempt;
            let made = catch_unwind(AssertUnwindSafe(|| self.attempt(&launch, &control)));
            let Made { outcome, usage, hold, folder } = made.unwrap_or_else(|_| panicked().into());
            control.process_gone();
            if outcome.is_lost() && self.store.check().is_err() {
                self.await_stop();
            }
            self.report(Report::Finished { attempt, outcome, usage });
            drop(hold);
            match folder {
                Some(folder) => self.folders.give_back(folder),
                None => self.folders.discard(attempt),
            }
            let mut queue = lock(&self.queue);
            queue.open.remove(&attempt);
            if queue.stopping {
                self.over.notify_all();
            }
        }
    }

    fn next(&self) -> Option<(Launch, Arc<Control>)> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            if queue.closed {
                return None;
            }
            queue = wait(&self.work, queue, None);
        }
    }

    pub(super) fn report(&self, report: Report) {
        self.reports.report(report);
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("slots", &self.slots)
            .field("folders", &self.folders.root())
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Ends the attempt, in whichever phase it is. The first reason counts.
    fn cut(&self, cut: Cut) {
        let mut state = lock(&self.state);
        state.cut.get_or_insert(cut);
        if let Some((serial, stream)) = &state.process {
            let _is_gone_already = protocol::send(stream, &Request::Kill { serial: *serial });
        }
    }

    /// What ended the attempt from outside, if anything did.
    pub(super) fn is_cut(&self) -> Option<Cut> {
        lock(&self.state).cut
    }

    /// Starts a process with `spawn`, unless the attempt was cut before. From then on a cut is
    /// sent to `stream`, after the request to spawn.
    pub(super) fn start_process<E>(
        &self,
        serial: u64,
        stream: Arc<UnixStream>,
        spawn: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Cut>, E> {
        let mut state = lock(&self.state);
        if let Some(cut) = state.cut {
            return Ok(Some(cut));
        }
        spawn()?;
        state.process = Some((serial, stream));
        Ok(None)
    }

    /// The process is gone; its slot may be another's now.
    pub(super) fn process_gone(&self) {
        lock(&self.state).process = None;
    }
}

fn panicked() -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::RunnerLost,
        reason: "the runner failed inside; the service's own log has the details".into(),
        exit_code: None,
        signal: None,
        stderr: None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        Some(limit) => {
            condition.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).0
        }
        None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
    }
}
