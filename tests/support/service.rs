//! The real program as a child process: `ledgerun serve` on a free port.
//!
//! Each test program uses its own part of this.
#![allow(dead_code, reason = "shared by several test programs")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ledgerun::clock::monotonic;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a start or an end may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

/// A service that has said it is ready. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    process: Process,
    url: String,
    last_lsn: u64,
}

/// A service that may not be ready yet. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Starting {
    process: Process,
    line: Receiver<String>,
    ready: Arc<AtomicBool>,
}

/// How a service ended, and what it wrote to stderr.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stderr: Option<JoinHandle<String>>,
}

/// The command line of a service on `data`; add arguments as needed.
pub(crate) fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command
}

impl Service {
    /// Starts a service and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(data: &Path, args: &[&str]) -> Self {
        let mut command = command(data);
        command.args(args);
        match Starting::of(command).ready() {
            Ok(service) => service,
            Err(ended) => panic!("the service did not start: {}\n{}", ended.status, ended.stderr),
        }
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The newest LSN when it became ready.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.last_lsn
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Ends it with SIGKILL, and returns when it is reaped.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        self.process.wait()
    }
}

impl Starting {
    /// Starts `command`, which runs a service.
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (sender, line) = channel();
        let ready = Arc::new(AtomicBool::new(false));
        let said = ready.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            // An error is an end, which the empty line says.
            let _ = BufReader::new(stdout).read_line(&mut line);
            said.store(!line.is_empty(), Ordering::Relaxed);
            let _ = sender.send(line);
        });
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { process: Process { child, stderr: Some(stderr) }, line, ready }
    }

    /// Waits until it is ready, or how it ended instead.
    #[track_caller]
    pub(crate) fn ready(mut self) -> Result<Service, Ended> {
        let line = match self.line.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.process.kill();
                panic!("not ready after {PATIENCE:?}: {:?}", self.process.wait());
            }
        };
        if line.is_empty() {
            return Err(self.process.wait());
        }
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true, "{line}");
        assert_eq!(ready["pid"], self.process.child.id(), "{line}");
        let url = ready["url"].as_str().unwrap().to_owned();
        let last_lsn = ready["last_lsn"].as_u64().unwrap();
        Ok(Service { process: self.process, url, last_lsn })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Whether it has said so by now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Ends it with SIGKILL, ready or not, and returns when it is reaped.
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }
}

impl Process {
    fn kill(&mut self) {
        // Already gone when it ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    #[track_caller]
    fn wait(&mut self) -> Ended {
        let begun = monotonic();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    self.kill();
                    panic!("the service was still there after {PATIENCE:?}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let stderr = self.stderr.take().map_or_else(String::new, |all| all.join().unwrap());
        Ended { status, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
