//! What processes a service has, and how soon they are gone.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::workers::MARK;

/// A process, told apart from a later one with the same id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    pid: u32,
    started: u64,
}

/// The direct children of a service: its supervisor, whose environment carries no mark.
#[derive(Debug)]
pub(crate) struct Children(Vec<Process>);

impl Children {
    pub(crate) fn of(pid: u32) -> Self {
        let mut found = Vec::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
            found.extend(pids.filter_map(|pid| Some(Process { pid, started: alive_since(pid)? })));
        }
        Self(found)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The process id of one of them.
    #[allow(dead_code, reason = "shared by several test programs")]
    pub(crate) fn first(&self) -> u32 {
        self.0[0].pid
    }

    fn alive(&self) -> bool {
        self.0.iter().any(|process| alive_since(process.pid) == Some(process.started))
    }

    /// Waits until neither they nor any process of an attempt on `data` are left. Says after which
    /// time since `killed` that was found, or what is left after five seconds.
    pub(crate) fn gone(&self, data: &Path, killed: Instant) -> Result<Duration, Vec<String>> {
        loop {
            let clear = !self.alive() && attempts(data).is_empty();
            let elapsed = killed.elapsed();
            // Again, because a process that is just being replaced shows no environment.
            if clear && attempts(data).is_empty() {
                return Ok(elapsed);
            }
            if elapsed > Duration::from_secs(5) {
                let mut left = attempts(data);
                left.extend(self.0.iter().map(|process| format!("child {}", process.pid)));
                return Err(left);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// When it started, in clock ticks since boot; `None` when it is gone or only waits to be reaped.
fn alive_since(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields[0], "Z" | "X") { None } else { fields[19].parse().ok() }
}

/// Processes that carry the mark of `data` or work in it, described.
pub(crate) fn attempts(data: &Path) -> Vec<String> {
    let mark = [MARK.as_bytes(), b"=", data.as_os_str().as_bytes()].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        if !entry.file_name().as_bytes()[0].is_ascii_digit() {
            continue;
        }
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        let marked = environment.split(|byte| *byte == 0).any(|variable| variable == mark);
        let inside = fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(data));
        if marked || inside {
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            found.push(format!("{} {}", path.display(), String::from_utf8_lossy(&command)));
        }
    }
    found
}
