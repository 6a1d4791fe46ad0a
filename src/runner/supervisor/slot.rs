//! One slot: starts a process, waits for it, answers, again and again.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, pidfd_open};
use wait4::{ResUse, Wait4};

use super::{ANNOUNCE_AFTER, Current, Shared, TAIL_BYTES_MAX};
use crate::clock::monotonic;
use crate::runner::process::wait_readable;
use crate::runner::protocol::{self, Ended, Exit, MARKER, Receiver, Reply, Request, Spawn};

/// A process that runs long has its dead orphans reaped at this pace.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most that is read from stderr after the process is gone, in bytes: what a pipe can hold.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Serves a slot until its connection ends.
pub(super) fn serve(shared: &Shared, index: usize, stream: UnixStream) {
    let mut requests = Receiver::new(stream);
    let mut buffer = vec![0; 64 << 10].into_boxed_slice();
    while let Ok(Some(request)) = requests.receive() {
        // A kill that arrives here was for an attempt that has ended.
        let Request::Spawn(spawn) = request else { continue };
        let serial = spawn.serial;
        let reply = match start(shared, index, spawn) {
            Ok(Some(running)) => {
                match running.supervise(shared, index, &mut requests, &mut buffer) {
                    Some(ended) => Reply::Ended(ended),
                    None => return,
                }
            }
            Ok(None) => return,
            Err(error) => {
                if let Some(mut slot) = shared.slot(index) {
                    slot.attempt = None;
                }
                let errno = error.raw_os_error();
                Reply::NotStarted { serial, errno, error: error.to_string() }
            }
        };
        if protocol::send(requests.stream(), &reply).is_err() {
            return;
        }
    }
    // The service is gone, or speaks nonsense: the main thread ends everything in the first case
    // and the service in the second.
}

/// A started process.
struct Running {
    serial: u64,
    child: Child,
    leader: Pid,
    pidfd: OwnedFd,
    stderr: PipeReader,
    /// Keeps the writing end of the pipe open, so that the pipe never reports a hang-up and the
    /// end of the process is the only wake-up of a quiet one.
    command: Command,
    begun: Instant,
    timeout: Option<Duration>,
}

/// Spawns the process; `None` when everything is ending.
fn start(shared: &Shared, index: usize, spawn: Spawn) -> io::Result<Option<Running>> {
    let (stderr, writer) = io::pipe()?;
    let mut command = Command::new(OsStr::from_bytes(&spawn.program));
    command
        .args(&spawn.args)
        .current_dir(OsStr::from_bytes(&spawn.folder))
        .env_clear()
        .envs(spawn.environment)
        .env(MARKER, &spawn.marker)
        .process_group(0)
        // Our own are `/dev/null` already.
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(writer);

    let closing = shared.closing.read().unwrap_or_else(PoisonError::into_inner);
    if *closing {
        return Ok(None);
    }
    let Some(mut slot) = shared.slot(index) else { return Ok(None) };
    let child = command.spawn()?;
    let id = i32::try_from(child.id()).map_err(io::Error::other)?;
    let leader = Pid::from_raw(id);
    slot.attempt = Some(Current {
        marker: spawn.marker,
        folder: PathBuf::from(OsStr::from_bytes(&spawn.folder)),
        leader: Some(leader),
    });
    drop(slot);
    drop(closing);

    let begun = monotonic();
    let pid = rustix::process::Pid::from_raw(id).ok_or_else(|| io::Error::other("no process id"));
    match pid.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
        Ok(pidfd) => Ok(Some(Running {
            serial: spawn.serial,
            child,
            leader,
            pidfd,
            stderr,
            command,
            begun,
            timeout: spawn.timeout_ms.map(Duration::from_millis),
        })),
        Err(error) => {
            end(shared, index, child, leader).0?;
            Err(error)
        }
    }
}

/// Kills what is left of the group, reaps the process and kills its strays. Says besides whether
/// nothing of it can be left.
fn end(shared: &Shared, index: usize, child: Child, leader: Pid) -> (io::Result<ResUse>, bool) {
    let used = {
        let slot = shared.slot(index);
        // Before reaping: as long as the process is a zombie, its group's id is not given away.
        let _nobody_else_may_be_left = signal::killpg(leader, Signal::SIGKILL);
        let used = child.wait4();
        if let Some(mut slot) = slot {
            slot.attempt = None;
        }
        used
    };
    let alone = shared.strays.sweep(shared) && used.is_ok();
    (used, alone)
}

impl Running {
    /// Waits for the end of the process; `None` when the service is gone.
    fn supervise(
        mut self,
        shared: &Shared,
        index: usize,
        requests: &mut Receiver,
        buffer: &mut [u8],
    ) -> Option<Ended> {
        let mut tail = Tail::default();
        let cut = self.wait(shared, requests, buffer, &mut tail);
        drop(self.command);
        let (used, alone) = end(shared, index, self.child, self.leader);
        tail.drain(&mut self.stderr, buffer);
        let (exit, cpu_ms, peak_rss_bytes) = match used {
            Ok(ResUse { status, rusage }) => {
                let cpu = rusage.utime + rusage.stime;
                let exit = match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, signal) => Exit::Signal(signal.unwrap_or(0)),
                };
                (exit, u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX), rusage.maxrss)
            }
            Err(_) => (Exit::Signal(0), 0, 0),
        };
        let exit = match cut {
            Cut::ServiceGone => return None,
            Cut::TimedOut => Exit::TimedOut,
            Cut::Killed => Exit::Killed,
            Cut::Not => exit,
        };
        let stderr = tail.into_bytes();
        Some(Ended { serial: self.serial, exit, cpu_ms, peak_rss_bytes, alone, stderr })
    }

    /// Returns once the process has ended, with what ended it early if something did.
    fn wait(
        &mut self,
        shared: &Shared,
        requests: &mut Receiver,
        buffer: &mut [u8],
        tail: &mut Tail,
    ) -> Cut {
        let mut cut = Cut::Not;
        let mut announced = false;
        loop {
            let ran = self.begun.elapsed();
            if cut == Cut::Not {
                cut = self.cut_by(requests, ran);
                if cut != Cut::Not {
                    let _may_be_a_zombie_already = signal::killpg(self.leader, Signal::SIGKILL);
                }
            }
            if !announced && ran >= ANNOUNCE_AFTER {
                announced = true;
                let started = Reply::Started { serial: self.serial };
                let _seen_as_the_end_of_the_connection =
                    protocol::send(requests.stream(), &started);
            }
            if ran >= SWEEP_EVERY {
                shared.strays.sweep(shared);
            }
            let next = if announced { SWEEP_EVERY } else { ANNOUNCE_AFTER.saturating_sub(ran) };
            let left = match (cut, self.timeout) {
                (Cut::Not, Some(timeout)) => timeout.saturating_sub(ran),
                _ => Duration::MAX,
            };
            let mut fds = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(&self.stderr, PollFlags::IN),
                PollFd::new(&*requests, PollFlags::IN),
            ];
            // Once cut there is nothing more to hear, and a closed connection stays readable.
            let watched = if cut == Cut::Not { 3 } else { 2 };
            let (watched, _) = fds.split_at_mut(watched);
            wait_readable(watched, next.min(left));
            let [ended, wrote, told] = fds.map(|fd| !fd.revents().is_empty());
            if wrote {
                tail.read(&mut self.stderr, buffer);
            }
            if ended {
                return cut;
            }
            if told && cut == Cut::Not && !requests.fill().unwrap_or(false) {
                cut = Cut::ServiceGone;
                let _may_be_a_zombie_already = signal::killpg(self.leader, Signal::SIGKILL);
            }
        }
    }

    /// Whether the process has to be killed now.
    fn cut_by(&self, requests: &mut Receiver, ran: Duration) -> Cut {
        loop {
            match requests.buffered() {
                Ok(Some(Request::Kill { serial })) if serial == self.serial => return Cut::Killed,
                Ok(Some(Request::Kill { .. })) => {}
                Ok(Some(Request::Spawn(_))) | Err(_) => return Cut::ServiceGone,
                Ok(None) => break,
            }
        }
        match self.timeout {
            Some(timeout) if ran >= timeout => Cut::TimedOut,
            _ => Cut::Not,
        }
    }
}

/// What ended a process early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    Not,
    TimedOut,
    Killed,
    ServiceGone,
}

/// The end of what a process wrote.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Reads once. The pipe is readable and we are its only reader, so this doesn't block.
    fn read(&mut self, stderr: &mut PipeReader, buffer: &mut [u8]) -> usize {
        let read = stderr.read(buffer).unwrap_or(0);
        self.0.extend(buffer.iter().take(read));
        if self.0.len() >= 2 * TAIL_BYTES_MAX {
            self.0.drain(..self.0.len() - TAIL_BYTES_MAX);
        }
        read
    }

    /// Reads what is left in the pipe, without waiting for writers that may still hold it.
    fn drain(&mut self, stderr: &mut PipeReader, buffer: &mut [u8]) {
        let mut drained = 0;
        while drained < DRAIN_BYTES_MAX {
            let mut fds = [PollFd::new(&*stderr, PollFlags::IN)];
            wait_readable(&mut fds, Duration::ZERO);
            let [readable] = fds.map(|fd| fd.revents().contains(PollFlags::IN));
            if !readable {
                return;
            }
            match self.read(stderr, buffer) {
                0 => return,
                read => drained += read,
            }
        }
    }

    fn into_bytes(mut self) -> Vec<u8> {
        if self.0.len() > TAIL_BYTES_MAX {
            self.0.drain(..self.0.len() - TAIL_BYTES_MAX);
        }
        self.0
    }
}
