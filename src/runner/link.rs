//! The service's side of the supervisor: starts it, lends its slots, replaces it when it dies.

use std::collections::BTreeSet;
use std::io;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, getpgid, getpgrp};
use rustix::event::{PollFd, PollFlags};

use super::process::{self, Inherited};
use super::protocol::{self, Receiver, Reply, Request, Spawn};
use super::supervisor::SUBCOMMAND;
use crate::clock::{Entropy, System, monotonic};

/// How long a supervisor may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Pause between tries to replace a supervisor that can't be started.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Supervisors of this process, so that none is taken for a stray of another. Locked during a
/// spawn and during each look for strays.
static SUPERVISORS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// What a link needs to know.
#[derive(Clone, Debug)]
pub(super) struct LinkOptions {
    /// Executable that has the supervisor's subcommand.
    pub(super) program: PathBuf,
    pub(super) slots: usize,
    /// First half of every marker of this runner.
    pub(super) nonce: String,
    /// Where attempts' folders are; absolute.
    pub(super) folders: PathBuf,
}

/// The connection to the supervisor, whichever it is now.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    monitor: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    options: LinkOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts supervisors; 0 before the first.
    generation: u64,
    /// All attempts of supervisors up to this one are gone.
    cleaned: u64,
    supervisor: i32,
    control: Option<UnixStream>,
    idle: Vec<Receiver>,
    /// No slot is lent any more.
    closed: bool,
    stopping: bool,
}

/// A slot of the supervisor, in use.
///
/// Dropping it instead of giving it back means that its state is unknown; the supervisor is then
/// replaced.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    link: &'a Link,
    generation: u64,
    receiver: Option<Receiver>,
}

/// The supervisor died, and with it everything it ran.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor of the attempts ended unexpectedly")]
pub(super) struct Lost;

impl Link {
    /// Starts a supervisor and watches over it.
    pub(super) fn start(options: LinkOptions) -> io::Result<Self> {
        // Should the supervisor die, its children come to us.
        nix::sys::prctl::set_child_subreaper(true)?;
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let child = shared.launch()?;
        let watched = Arc::clone(&shared);
        let monitor = std::thread::Builder::new()
            .name("supervisor-monitor".into())
            .spawn(move || watched.monitor(child))?;
        Ok(Self { shared, monitor: Mutex::new(Some(monitor)) })
    }

    /// Process id of the supervisor; 0 while there is none.
    pub(super) fn supervisor(&self) -> i32 {
        self.shared.lock().supervisor
    }

    /// Takes a slot, waiting while a supervisor is being replaced; `None` once closed, or when
    /// there are none.
    pub(super) fn lease(&self) -> Option<Lease<'_>> {
        let mut state = self.shared.lock();
        loop {
            if state.closed || self.shared.options.slots == 0 {
                return None;
            }
            if let Some(receiver) = state.idle.pop() {
                let generation = state.generation;
                return Some(Lease { link: self, generation, receiver: Some(receiver) });
            }
            state = self.shared.wait(state);
        }
    }

    /// Lends no slot any more, so that nobody waits for one.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Ends the supervisor and whatever still runs, and waits for it.
    pub(super) fn stop(&self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.stopping = true;
            state.idle.clear();
            state.hang_up();
            self.shared.changed.notify_all();
        }
        let monitor = self.monitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(monitor) = monitor {
            let _it_panicked_and_said_so = monitor.join();
        }
    }
}

impl Lease<'_> {
    /// The socket of the slot, for a kill from elsewhere.
    pub(super) fn stream(&self) -> Option<Arc<UnixStream>> {
        self.receiver.as_ref().map(|receiver| Arc::clone(receiver.stream()))
    }

    /// Asks for a process.
    pub(super) fn spawn(&self, spawn: Spawn) -> Result<(), Lost> {
        let receiver = self.receiver.as_ref().ok_or(Lost)?;
        protocol::send(receiver.stream(), &Request::Spawn(spawn)).map_err(|_| Lost)
    }

    /// The next message about the process.
    pub(super) fn reply(&mut self) -> Result<Reply, Lost> {
        let receiver = self.receiver.as_mut().ok_or(Lost)?;
        receiver.receive().ok().flatten().ok_or(Lost)
    }

    /// Returns the slot for the next attempt.
    pub(super) fn give_back(mut self) {
        let Some(receiver) = self.receiver.take() else { return };
        let mut state = self.link.shared.lock();
        if state.generation == self.generation && !state.stopping {
            state.idle.push(receiver);
            self.link.shared.changed.notify_one();
        }
    }

    /// Waits until everything the dead supervisor ran is gone.
    pub(super) fn bury(self) {
        let (link, generation) = (self.link, self.generation);
        drop(self);
        let mut state = link.shared.lock();
        while state.cleaned < generation && !state.stopping {
            state = link.shared.wait(state);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.receiver.take().is_some() {
            let state = self.link.shared.lock();
            if state.generation == self.generation {
                state.hang_up();
            }
        }
    }
}

impl State {
    /// Tells the supervisor to end.
    fn hang_up(&self) {
        if let Some(control) = &self.control {
            let _is_gone_already = control.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of each supervisor and starts the next.
    fn monitor(&self, mut child: Child) {
        loop {
            let pid = i32::try_from(child.id()).unwrap_or(0);
            let started = process::started(Pid::from_raw(pid)).unwrap_or(0);
            let status = child.wait();
            registry().remove(&pid);
            self.reclaim(started);
            {
                let mut state = self.lock();
                state.supervisor = 0;
                state.control = None;
                state.idle.clear();
                state.cleaned = state.generation;
                self.changed.notify_all();
                if state.stopping {
                    return;
                }
            }
            tracing::error!(?status, "the supervisor of the attempts died; starting another");
            child = loop {
                match self.launch() {
                    Ok(child) => break child,
                    Err(error) => tracing::error!(%error, "cannot start a supervisor"),
                }
                let state = self.lock();
                let (state, _) = self
                    .changed
                    .wait_timeout_while(state, RESTART_PAUSE, |state| !state.stopping)
                    .unwrap_or_else(PoisonError::into_inner);
                if state.stopping {
                    return;
                }
            };
        }
    }

    /// Starts a supervisor and takes its connections.
    fn launch(&self) -> io::Result<Child> {
        let mut random = [0; 16];
        System.fill(&mut random);
        let name = format!("ledgerun-{}", hex::encode(random));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let mut child = {
            let mut registry = registry();
            let child = Command::new(&self.options.program)
                .arg(SUBCOMMAND)
                .arg(&name)
                .arg(self.options.slots.to_string())
                .env_clear()
                .current_dir("/")
                // A terminal's interrupt is for the service, which then drains.
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()?;
            registry.insert(i32::try_from(child.id()).unwrap_or(0));
            child
        };
        match self.connect(&listener, &mut child) {
            Ok(()) => Ok(child),
            Err(error) => {
                let _may_be_gone_already = child.kill();
                let _status = child.wait();
                registry().remove(&i32::try_from(child.id()).unwrap_or(0));
                Err(error)
            }
        }
    }

    fn connect(&self, listener: &UnixListener, child: &mut Child) -> io::Result<()> {
        let control = accept(listener, child)?;
        let idle = (0..self.options.slots)
            .map(|_| accept(listener, child).map(Receiver::new))
            .collect::<io::Result<Vec<_>>>()?;
        let mut state = self.lock();
        state.generation += 1;
        state.supervisor = i32::try_from(child.id()).map_err(io::Error::other)?;
        state.control = Some(control);
        state.idle = idle;
        if state.stopping {
            state.hang_up();
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Kills what a dead supervisor left to us.
    ///
    /// Only the main thread's list is looked at, where inherited processes go, and of those only
    /// what is an attempt's for certain, or was started later than the supervisor and shares no
    /// process group with us: this process may have children of its own.
    fn reclaim(&self, supervisor_started: u64) {
        let Ok(inherited) = Inherited::of_this_process() else { return };
        let prefix = format!("{}.", self.options.nonce);
        let ours = |pid: Pid| match process::marker(pid) {
            Some(marker) => marker.starts_with(&prefix),
            None => {
                process::within(&process::places(pid), &self.options.folders)
                    || (getpgid(Some(pid)).is_ok_and(|group| group != getpgrp())
                        && process::started(pid).is_some_and(|at| at >= supervisor_started))
            }
        };
        let mut before = Vec::new();
        loop {
            let registry = registry();
            let mut pids = Vec::new();
            if inherited.list(&mut pids).is_err() {
                return;
            }
            let all = pids.clone();
            pids.retain(|pid| !registry.contains(&pid.as_raw()) && ours(*pid));
            let gone = pids.iter().filter(|pid| process::kill_and_reap(**pid)).count();
            // One that died just now, and so can't be told any more, may have left us others.
            if gone == 0 && all == before {
                return;
            }
            before = all;
        }
    }
}

fn registry() -> MutexGuard<'static, BTreeSet<i32>> {
    SUPERVISORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts one connection of the supervisor and of nobody else: abstract names are visible to
/// every process of the machine.
fn accept(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    let begun = monotonic();
    let expected = i32::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if getsockopt(&stream, PeerCredentials)?.pid() == expected {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(status) = child.try_wait()? {
                    return Err(io::Error::other(format!("the supervisor ended: {status}")));
                }
                if begun.elapsed() > CONNECT_MAX {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the supervisor didn't connect",
                    ));
                }
                process::wait_readable(
                    &mut [PollFd::new(listener, PollFlags::IN)],
                    Duration::from_millis(20),
                );
            }
            Err(error) => return Err(error),
        }
    }
}
