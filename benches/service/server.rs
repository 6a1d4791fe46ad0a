//! The real program as a child process, on a directory of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running service, killed with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Removed with the server.
    data: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts `ledgerun serve` on a free port, with an empty data directory beside the build.
    pub(crate) fn start(slots: usize) -> Self {
        Self::start_on(data_dir(), slots)
    }

    /// Same, on a directory that was prepared.
    pub(crate) fn start_on(data: tempfile::TempDir, slots: usize) -> Self {
        let mut server = Self::start_in(data.path(), slots);
        server.data = Some(data);
        server
    }

    /// Same, on a directory of somebody else.
    pub(crate) fn start_in(data: &Path, slots: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
        command
            .args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--slots"])
            .arg(slots.to_string())
            .arg("--data-dir")
            .arg(data);
        Self::ready(command)
    }

    /// Starts `command` and waits for its line of JSON with a `url`.
    pub(crate) fn ready(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        Self { child, address: address.parse().unwrap(), data: None }
    }

    /// Stops it cleanly and waits for its end.
    pub(crate) fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory on the disk the build is on: `/tmp` may be memory.
pub(crate) fn data_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_BIN_EXE_ledgerun")).parent().unwrap()).unwrap()
}
