//! A service, a directory to work in, and the program to run there.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::Value;
use tempfile::TempDir;

use crate::service::{Service, Starting, command};

/// How long a command may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Bench {
    dir: TempDir,
    pub(crate) service: Arc<Hosted>,
}

/// A service and its data.
pub(crate) struct Hosted {
    service: Service,
    data: TempDir,
}

impl std::ops::Deref for Hosted {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// The service of the tests that don't mind each other, as long as one of them runs: the program is
/// large, and each service wants it uploaded.
static SHARED: Mutex<Weak<Hosted>> = Mutex::new(Weak::new());

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    /// A service with two slots.
    pub(crate) fn new() -> Self {
        Self::with(&["--slots", "2"])
    }

    /// A service of its own.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self::of(Arc::new(host(args)))
    }

    /// A service that other tests use at the same time.
    pub(crate) fn shared() -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let service = shared.upgrade().unwrap_or_else(|| Arc::new(host(&["--slots", "4"])));
        *shared = Arc::downgrade(&service);
        Self::of(service)
    }

    fn of(service: Arc<Hosted>) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), service }
    }

    /// Waits for the service's end; gives back its data and the directory of commands.
    pub(crate) fn ended(self) -> (TempDir, TempDir) {
        let Hosted { service, data } = Arc::into_inner(self.service).unwrap();
        let ended = service.wait();
        assert!(ended.status.success(), "{ended:?}");
        (data, self.dir)
    }

    /// The directory that commands run in.
    pub(crate) fn here(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.service.data.path().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.here().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.here().join(name)).unwrap()
    }

    /// The program, against this service, in this directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(&self.here());
        command.env("LEDGERUN_HOST", self.service.url()).args(args);
        command
    }

    /// Runs the program.
    pub(crate) fn lr(&self, args: &[&str]) -> Done {
        done(self.command(args).output().unwrap())
    }

    /// Runs the program with something on its standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Done {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        done(child.wait_with_output().unwrap())
    }

    /// Runs the program, which must succeed; its output line by line as JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let done = self.lr(&[&["--json"], args].concat());
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs the program on a terminal of 200 columns.
    pub(crate) fn on_terminal(&self, args: &str) -> Done {
        let mut script = Command::new("script");
        let line = format!("stty cols 200; exec {} {args}", env!("CARGO_BIN_EXE_ledgerun"));
        script.args(["-qec", &line, "/dev/null"]).current_dir(self.here());
        script.env("LEDGERUN_HOST", self.service.url()).stdin(Stdio::null());
        done(script.output().unwrap())
    }

    /// Waits until the job is in the state.
    #[track_caller]
    pub(crate) fn await_state(&self, lsn: u64, state: &str) {
        let lsn = lsn.to_string();
        until(|| self.json(&["jobs", "show", &lsn])[0]["state"] == state);
    }
}

fn host(args: &[&str]) -> Hosted {
    let data = tempfile::tempdir().unwrap();
    let mut service = command(data.path());
    service.args(args);
    Hosted { service: Starting::of(plain(service)).ready().unwrap(), data }
}

/// The program without the settings of whoever runs the tests.
pub(crate) fn program(here: &Path) -> Command {
    let mut command = plain(Command::new(env!("CARGO_BIN_EXE_ledgerun")));
    command.current_dir(here).stdin(Stdio::null());
    command
}

/// Takes the settings of whoever runs the tests away.
pub(crate) fn plain(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LEDGERUN_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn done(output: Output) -> Done {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(mut so: impl FnMut() -> bool) {
    let begun = monotonic();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a child that was started with pipes.
#[track_caller]
pub(crate) fn wait(mut child: Child) -> Done {
    let mut status = None;
    until(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let mut stdout = String::new();
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout).unwrap();
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut stderr).unwrap();
    }
    Done { code: status.unwrap().code(), stdout, stderr }
}
