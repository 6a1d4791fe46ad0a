//! Processes as `/proc` shows them, and killing them without ever hitting a recycled id.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::MARKER;

/// How long a killed process may take to die before we stop waiting for it, in milliseconds. One
/// that hangs in the kernel must not hold up a slot.
const DEATH_MS_MAX: u64 = 200;
/// How much of an environment is searched for the marker, in bytes.
const ENVIRONMENT_BYTES_MAX: u64 = 8 << 20;

/// The list of the children that the kernel keeps under this process's main thread.
///
/// A subreaper inherits orphans under its main thread, and children that another thread spawned
/// are listed under that thread. So with spawning left to other threads this list is exactly the
/// inherited processes, and one read tells that there are none.
#[derive(Debug)]
pub(super) struct Inherited {
    children: File,
}

impl Inherited {
    pub(super) fn of_this_process() -> io::Result<Self> {
        let main = std::process::id();
        File::open(format!("/proc/self/task/{main}/children")).map(|children| Self { children })
    }

    /// Adds the ids of the children to `pids`.
    pub(super) fn list(&self, pids: &mut Vec<Pid>) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut buffer = [0; 4_096];
        let mut number = 0_i32;
        let mut digits = false;
        let mut offset = 0;
        loop {
            let read = self.children.read_at(&mut buffer, offset)?;
            if read == 0 {
                return Ok(());
            }
            offset += read as u64;
            for byte in buffer.iter().take(read) {
                if byte.is_ascii_digit() {
                    number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
                    digits = true;
                } else if digits {
                    pids.push(Pid::from_raw(number));
                    (number, digits) = (0, false);
                }
            }
        }
    }
}

/// Reaps `pid`, a child of ours, if it has ended. True when it is gone.
pub(super) fn reap(pid: Pid) -> bool {
    match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => true,
        Ok(_) | Err(Errno::EINTR) => false,
        Err(_) => true,
    }
}

/// Kills `pid`, a child of ours that nobody else reaps, and reaps it. False when it didn't die in
/// time; the caller meets it again.
pub(super) fn kill_and_reap(pid: Pid) -> bool {
    if reap(pid) {
        return true;
    }
    if signal::kill(pid, Signal::SIGKILL).is_err() {
        return reap(pid);
    }
    let Some(raw) = rustix::process::Pid::from_raw(pid.as_raw()) else { return true };
    if let Ok(fd) = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
        wait_readable(&mut [PollFd::new(&fd, PollFlags::IN)], Duration::from_millis(DEATH_MS_MAX));
    }
    reap(pid)
}

/// Polls until something is ready or `limit` is over. Errors count as nothing ready.
pub(super) fn wait_readable(fds: &mut [PollFd<'_>], limit: Duration) {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let _interrupted_is_nothing_ready = poll(fds, Some(&limit));
}

/// The value of [`MARKER`] in the environment that `pid` was started with.
pub(super) fn marker(pid: Pid) -> Option<String> {
    let mut environment = Vec::new();
    File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment))
        .ok()?;
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// Where `pid` works and which file it executes, as far as the kernel tells.
pub(super) fn places(pid: Pid) -> [Option<PathBuf>; 2] {
    ["cwd", "exe"].map(|link| fs::read_link(format!("/proc/{pid}/{link}")).ok())
}

/// Whether one of `places` is inside `folder`.
pub(super) fn within(places: &[Option<PathBuf>; 2], folder: &Path) -> bool {
    !folder.as_os_str().as_bytes().is_empty()
        && places.iter().flatten().any(|place| place.starts_with(folder))
}

/// When `pid` started, in clock ticks since the machine did; `None` when it is gone.
pub(super) fn started(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count fields from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
