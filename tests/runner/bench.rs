//! A runner with a store in a temporary folder, workers made of shell scripts, and its reports.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ledgerun::chunks::{Options, Store};
use ledgerun::domain::{
    AttemptNo, AttemptRef, ChunkId, Failure, FailureKind, Guid, Lsn, ObjectId, Outcome, Tail,
    Usage, WorkerId,
};
use ledgerun::runner::local::{LocalOptions, LocalRunner};
use ledgerun::runner::{Launch, Report, Reports, Runner};
use ledgerun::wire::cb::Object;

/// Longest wait for anything; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Writes an output object without values and exits 0.
pub(crate) const SUCCEED: &str = "printf '\\002\\000' > Build.output";

/// What is in the folder of a script before it runs, but for the action.
const SKELETON: [&str; 6] = [
    "Engine",
    "Engine/Binaries",
    "Engine/Binaries/Linux",
    "Engine/Binaries/Linux/script",
    "Inputs",
    "Outputs",
];

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) runner: LocalRunner,
    reports: Mutex<Receiver<Report>>,
    next: AtomicU64,
}

struct Channel(Mutex<Sender<Report>>);

impl Reports for Channel {
    fn report(&self, report: Report) {
        // The test may be over.
        let _ = self.0.lock().unwrap().send(report);
    }
}

/// What a worker is made of.
#[derive(Clone, Default)]
pub(crate) struct Worker {
    pub(crate) script: Vec<u8>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) environment: Vec<String>,
    pub(crate) timeout: i64,
    /// Leave the files out of the store.
    pub(crate) withheld: bool,
}

/// A worker that runs `script` with `/bin/sh`.
pub(crate) fn script(script: &str) -> Worker {
    let script = format!("#!/bin/sh\n{script}\n").into_bytes();
    Worker { script, timeout: -1, ..Worker::default() }
}

/// How an attempt ended, and what was said before.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    pub(crate) started: usize,
    pub(crate) slot_free: usize,
}

impl Ended {
    pub(crate) fn failure(&self) -> &Failure {
        match &self.outcome {
            Outcome::Failed(failure) => failure,
            Outcome::Completed { .. } => panic!("completed: {self:?}"),
        }
    }

    pub(crate) fn expect(&self, kind: FailureKind, reason: &str) {
        let failure = self.failure();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.reason.contains(reason), "{failure:?}");
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_slots(2)
    }

    pub(crate) fn with_slots(slots: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir, slots)
    }

    /// A runner on what an earlier one left in `dir`.
    pub(crate) fn at(dir: tempfile::TempDir, slots: usize) -> Self {
        let store = Store::open(&dir.path().join("chunks"), Options::default()).unwrap();
        let (sender, reports) = channel();
        let options = LocalOptions {
            slots,
            supervisor: PathBuf::from(env!("CARGO_BIN_EXE_ledgerun")),
            ..LocalOptions::new(dir.path())
        };
        let channel = Arc::new(Channel(Mutex::new(sender)));
        let runner = LocalRunner::start(options, store.clone(), channel).unwrap();
        Self { dir, store, runner, reports: Mutex::new(reports), next: AtomicU64::new(1) }
    }

    /// Stops the runner and hands over its folder.
    pub(crate) fn into_dir(self) -> tempfile::TempDir {
        self.runner.stop(PATIENCE);
        let Self { dir, runner, store, .. } = self;
        drop((runner, store));
        dir
    }

    /// A launch of `worker` on `inputs`.
    pub(crate) fn launch_of(&self, worker: &Worker, inputs: &[(&str, &[u8])]) -> Launch {
        let descriptor = self.register(worker);
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, bytes)| {
                (*name, self.store.put_unnamed(bytes).unwrap(), bytes.len() as u64)
            })
            .collect();
        self.launch_with(descriptor, action(&inputs))
    }

    pub(crate) fn launch_with(&self, descriptor: Bytes, action: Bytes) -> Launch {
        let execution = Lsn(self.next.fetch_add(1, Ordering::Relaxed));
        Launch {
            attempt: AttemptRef { execution, attempt: AttemptNo(1) },
            worker: WorkerId::of(&descriptor),
            descriptor,
            action,
        }
    }

    /// Stores the files of a worker and describes it.
    pub(crate) fn register(&self, worker: &Worker) -> Bytes {
        let put = |bytes: &[u8]| {
            if worker.withheld {
                ChunkId::of(bytes)
            } else {
                self.store.put_unnamed(bytes).unwrap()
            }
        };
        let executable = (put(&worker.script), worker.script.len() as u64);
        let files: Vec<_> = worker
            .files
            .iter()
            .map(|(name, bytes)| (name, put(bytes), bytes.len() as u64))
            .collect();
        let object = Object::build(|fields| {
            fields.field("name").str("script");
            fields.field("path").str("Engine/Binaries/Linux/script");
            fields.field("host").str("Linux");
            fields.field("buildsystem_version").guid(Guid([1; 16]));
            fields.field("timeout").i64(worker.timeout);
            fields.field("cores").u64(1);
            fields.field("environment").array(|items| {
                worker.environment.iter().for_each(|variable| items.item().str(variable));
            });
            fields.field("executables").array(|items| {
                items.item().object(|file| {
                    file.field("name").str("Engine/Binaries/Linux/script");
                    file.field("hash").binary_attachment(executable.0.0);
                    file.field("size").u64(executable.1);
                });
            });
            fields.field("files").array(|items| {
                for (name, hash, size) in &files {
                    items.item().object(|file| {
                        file.field("name").str(name);
                        file.field("hash").binary_attachment(hash.0);
                        file.field("size").u64(*size);
                    });
                }
            });
            fields.field("dirs").array(|items| items.item().str("Engine/Binaries/Linux"));
        });
        object.into_bytes()
    }

    /// Launches and waits for the end.
    pub(crate) fn run(&self, worker: &Worker, inputs: &[(&str, &[u8])]) -> Ended {
        let launch = self.launch_of(worker, inputs);
        self.run_launch(launch)
    }

    pub(crate) fn run_launch(&self, launch: Launch) -> Ended {
        let attempt = launch.attempt;
        self.runner.launch(launch);
        self.wait(attempt)
    }

    /// The next report.
    pub(crate) fn report(&self) -> Report {
        self.reports.lock().unwrap().recv_timeout(PATIENCE).unwrap()
    }

    /// Whether no report is waiting.
    pub(crate) fn is_silent(&self) -> bool {
        self.reports.lock().unwrap().try_recv().is_err()
    }

    /// Waits for the end of the only attempt under way.
    pub(crate) fn wait(&self, attempt: AttemptRef) -> Ended {
        let (mut started, mut slot_free) = (0, 0);
        loop {
            match self.report() {
                Report::Started { attempt: of, sandbox } => {
                    assert_eq!((of, sandbox.as_str()), (attempt, "off"));
                    started += 1;
                }
                Report::SlotFree { attempt: of, .. } => {
                    assert_eq!(of, attempt);
                    slot_free += 1;
                }
                Report::Finished { attempt: of, outcome, usage } => {
                    assert_eq!(of, attempt);
                    return Ended { outcome, usage, started, slot_free };
                }
            }
        }
    }

    /// Waits until the process is known to run.
    pub(crate) fn wait_started(&self) {
        assert!(matches!(self.report(), Report::Started { .. }));
    }

    pub(crate) fn folders(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("run")).unwrap().count()
    }

    /// Whether nothing is left of any attempt: the folders that wait for the next one are at most
    /// as many as can be in use, and hold what a script has before it runs.
    pub(crate) fn is_tidy(&self, slots: usize) -> bool {
        let folders: Vec<_> = std::fs::read_dir(self.dir.path().join("run")).unwrap().collect();
        let is_skeleton = |entry: &std::io::Result<std::fs::DirEntry>| {
            let mut names = list(&entry.as_ref().unwrap().path());
            names.retain(|name| name != "Build.action");
            names == SKELETON
        };
        is_empty(&self.dir.path().join("trash"))
            && folders.len() <= 2 * slots + 4
            && folders.iter().all(is_skeleton)
    }

    pub(crate) fn folder(&self, attempt: AttemptRef) -> PathBuf {
        self.dir.path().join(format!("run/{}-{}", attempt.execution, attempt.attempt))
    }

    pub(crate) fn tail(&self, tail: Option<&Tail>) -> Vec<u8> {
        match tail {
            None => Vec::new(),
            Some(Tail::Inline(text)) => text.clone().into_bytes(),
            Some(Tail::Chunk { chunk, bytes }) => {
                let held = self.chunk(*chunk);
                assert_eq!(held.len() as u64, *bytes);
                held
            }
        }
    }

    pub(crate) fn chunk(&self, chunk: ChunkId) -> Vec<u8> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut self.store.read(&chunk).unwrap(), &mut bytes).unwrap();
        bytes
    }
}

/// An action with these inputs: name, hash, size.
pub(crate) fn action(inputs: &[(&str, ChunkId, u64)]) -> Bytes {
    let object = Object::build(|fields| {
        fields.field("Function").str("Test");
        fields.field("FunctionVersion").guid(Guid([2; 16]));
        fields.field("BuildSystemVersion").guid(Guid([1; 16]));
        if !inputs.is_empty() {
            fields.field("Inputs").object(|fields| {
                for (name, hash, size) in inputs {
                    fields.field(name).object(|input| {
                        input.field("RawHash").binary_attachment(hash.0);
                        input.field("RawSize").u64(*size);
                    });
                }
            });
        }
    });
    object.into_bytes()
}

/// An output object with these values, all of one id each.
pub(crate) fn output(values: &[(ChunkId, u64)]) -> Vec<u8> {
    let object = Object::build(|fields| {
        fields.field("Values").array(|items| {
            for (number, (hash, size)) in values.iter().enumerate() {
                items.item().object(|value| {
                    value.field("Id").object_id(ObjectId::of_name(&number.to_string()));
                    value.field("RawHash").binary_attachment(hash.0);
                    value.field("RawSize").u64(*size);
                });
            }
        });
    });
    object.into_bytes().to_vec()
}

/// Polls until `done`; panics when it takes longer than anything should.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

/// A number of seconds that no other process sleeps for, so that a `sleep` can be found by it.
pub(crate) fn unique_seconds() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("1000{}.{number}5", std::process::id())
}

/// Names of all that is in `folder`, relative to it, sorted; links are not followed.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        // Folders may go meanwhile.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            names.push(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            }
        }
    }
    names.sort();
    names
}

/// Processes with `argument` on their command line.
pub(crate) fn processes_with(argument: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// Parent of a process; `None` when it is gone.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Whether nothing is in `folder`.
pub(crate) fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}
