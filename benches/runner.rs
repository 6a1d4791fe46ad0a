//! No-op attempts through the local runner against a bare loop that spawns the same program, with
//! as many in flight as slots. Prints one line per figure; the last is their ratio.
//!
//! `cargo bench --bench runner -- [--slots N] [--attempts N]`
//!
//! This program is its own worker and its own supervisor.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement stops at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use bytes::Bytes;
use ledgerun::chunks::{Options, Store};
use ledgerun::domain::{AttemptNo, AttemptRef, Guid, Lsn, Outcome, WorkerId};
use ledgerun::runner::local::{LocalOptions, LocalRunner};
use ledgerun::runner::{Launch, Report, Reports, Runner, supervisor};
use ledgerun::wire::cb::Object;

const PATH: &str = "Engine/Binaries/Linux/noop";
/// Rounds of each kind, taken in turns; the best of each counts.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("-Build=Build.action") => {
            // The empty object: no values.
            std::fs::write("Build.output", [2, 0]).unwrap();
            return ExitCode::SUCCESS;
        }
        Some(supervisor::SUBCOMMAND) => return supervisor::main(),
        _ => {}
    }
    let number = |name: &str, default: usize| {
        let mut words = arguments.iter().skip_while(|argument| *argument != name);
        words.nth(1).map_or(default, |word| word.parse().unwrap())
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    measure(number("--slots", cores), number("--attempts", 2_000) as u64);
    ExitCode::SUCCESS
}

struct Channel(Sender<Report>);

impl Reports for Channel {
    fn report(&self, report: Report) {
        self.0.send(report).unwrap();
    }
}

fn measure(slots: usize, attempts: u64) {
    let dir = tempfile::Builder::new().tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let exe = std::env::current_exe().unwrap();
    let store = Store::open(&dir.path().join("chunks"), Options::default()).unwrap();
    let descriptor = describe(&store, &exe);
    let (sender, reports) = channel();
    let options = LocalOptions { slots, supervisor: exe.clone(), ..LocalOptions::new(dir.path()) };
    let runner = LocalRunner::start(options, store, Arc::new(Channel(sender))).unwrap();
    let action = action();
    let mut next = 0;
    let mut launch = || {
        next += 1;
        let attempt = AttemptRef { execution: Lsn(next), attempt: AttemptNo(1) };
        let worker = WorkerId::of(&descriptor);
        runner.launch(Launch {
            attempt,
            worker,
            descriptor: descriptor.clone(),
            action: action.clone(),
        });
    };
    let mut run = |attempts: u64| {
        let begun = Instant::now();
        let (mut launched, mut finished) = (0, 0);
        while launched < attempts.min(slots as u64) {
            launched += 1;
            launch();
        }
        while finished < attempts {
            match reports.recv().unwrap() {
                Report::SlotFree { .. } if launched < attempts => {
                    launched += 1;
                    launch();
                }
                Report::Finished { outcome, .. } => {
                    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
                    finished += 1;
                }
                Report::Started { .. } | Report::SlotFree { .. } => {}
            }
        }
        rate(attempts, begun)
    };
    // Unpacks the worker and warms the caches.
    run(slots as u64 * 4);
    let (mut bare_best, mut run_best) = (0.0_f64, 0.0_f64);
    for round in 1..=ROUNDS {
        let bare = bare(dir.path(), &exe, slots, attempts);
        let ours = run(attempts);
        println!("round {round}: bare {bare:.0}/s, runner {ours:.0}/s, ratio {:.2}", ours / bare);
        bare_best = bare_best.max(bare);
        run_best = run_best.max(ours);
    }
    println!("slots                {slots}");
    println!("bare spawn loop      {bare_best:.0} processes/s");
    println!("local runner         {run_best:.0} attempts/s");
    println!("ratio                {:.2}", run_best / bare_best);
}

/// Spawns and waits, nothing else, in as many threads as slots.
fn bare(dir: &Path, exe: &Path, slots: usize, attempts: u64) -> f64 {
    // A file of its own on the same file system, as the runner has.
    let program = dir.join("bare-noop");
    if !program.exists() {
        std::fs::copy(exe, &program).unwrap();
    }
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for slot in 0..slots {
            let folder: PathBuf = dir.join(format!("bare-{slot}"));
            std::fs::create_dir_all(&folder).unwrap();
            let (done, program) = (&done, &program);
            scope.spawn(move || {
                while done.fetch_add(1, Ordering::Relaxed) < attempts {
                    let status = Command::new(program)
                        .arg("-Build=Build.action")
                        .current_dir(&folder)
                        .env_clear()
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status();
                    assert!(status.unwrap().success());
                }
            });
        }
    });
    rate(attempts, begun)
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn rate(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

fn describe(store: &Store, exe: &Path) -> Bytes {
    let bytes = std::fs::read(exe).unwrap();
    let hash = store.put_unnamed(&bytes).unwrap();
    let object = Object::build(|fields| {
        fields.field("name").str("noop");
        fields.field("path").str(PATH);
        fields.field("host").str("Linux");
        fields.field("buildsystem_version").guid(Guid([1; 16]));
        fields.field("timeout").i64(60);
        fields.field("cores").u64(1);
        fields.field("executables").array(|items| {
            items.item().object(|file| {
                file.field("name").str(PATH);
                file.field("hash").binary_attachment(hash.0);
                file.field("size").u64(bytes.len() as u64);
            });
        });
        fields.field("dirs").array(|items| items.item().str("Engine/Binaries/Linux"));
    });
    object.into_bytes()
}

fn action() -> Bytes {
    let object = Object::build(|fields| {
        fields.field("Function").str("Noop");
        fields.field("FunctionVersion").guid(Guid([2; 16]));
        fields.field("BuildSystemVersion").guid(Guid([1; 16]));
    });
    object.into_bytes()
}
