//! System calls that fail, or never return, at a chosen moment: the real program under `strace`,
//! which can change what calls on chosen files do. It counts the calls of each thread by itself.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::json;

use crate::alone;
use crate::http::Http;
use crate::kills::{OPTIONS, seed};
use crate::load::{Acknowledged, Client};
use crate::service::{Ended, Service, Starting};
use crate::witness::Witness;
use crate::workers::{Temper, Worker, action};

/// Of a data directory, what is written in the course of work.
const LOG: &[&str] = &["log/db", "log.new/db"];
const JOURNAL: &[&str] = &["journal"];
const MARK: &[&str] = &["hwm"];
const CHUNKS: &[&str] = &["chunks/g000001/db", "chunks/g000001.new/db"];
/// The directory is synced when a checkpoint has got its name.
const CHECKPOINTS: &[&str] = &["checkpoints"];
const WRITES: &str = "pwrite64";
const SYNCS: &str = "fsync,fdatasync,sync_file_range";

/// What a test does in one life of the service.
const STEPS: u64 = 30;

/// Which calls on which files do what else than usual.
struct Fault {
    files: Vec<&'static str>,
    calls: &'static str,
    /// In the words of `strace`: `error=EIO`, `signal=KILL`, with which of the calls.
    does: String,
}

impl Fault {
    fn new(files: &[&[&'static str]], calls: &'static str, does: String) -> Self {
        Self { files: files.concat(), calls, does }
    }

    /// A service on `data` with this fault.
    fn service(&self, data: &Path) -> Command {
        let mut command = Command::new("strace");
        // The tracer is a child of its child: so this one's end is that of the service.
        command.args(["-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null"]);
        for file in &self.files {
            command.arg("-P").arg(data.join(file));
        }
        command.arg("-e").arg(format!("trace={}", self.calls));
        command.arg("-e").arg(format!("inject={}:{}", self.calls, self.does));
        let service = crate::service::command(data);
        command.arg(service.get_program()).args(service.get_args());
        command
    }
}

/// Whether there is a tracer that may trace; otherwise says so.
fn able() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "true"]);
    let able = probe.output().is_ok_and(|output| output.status.success());
    if !able {
        crate::skipped("strace (6 or later, allowed to trace)");
    }
    able
}

/// How a life under a fault ended.
#[derive(Debug)]
enum End {
    /// By itself or by the fault.
    Hit(Ended),
    /// The fault was not met: it was stopped.
    Missed(Ended),
}

/// One life: work until the service is gone, or until there is no more to do.
fn live(data: &Path, fault: &Fault, seed: u64) -> (End, Acknowledged) {
    let mut command = fault.service(data);
    command.args(OPTIONS);
    let service = match Starting::of(command).ready() {
        Ok(service) => service,
        Err(ended) => return (End::Hit(ended), Acknowledged::default()),
    };
    let stop = AtomicBool::new(false);
    let told = Client::new(service.url(), data, &stop, seed).run_for(STEPS);
    let http = Http::new(service.url());
    // What is acknowledged is in the files, but the mark is synced once a second.
    let begun = monotonic();
    while begun.elapsed() < Duration::from_millis(1_300) {
        if http.get("/compute/ready").map_or(true, |reply| reply.status != 200) {
            stop.store(true, Ordering::Relaxed);
            return (End::Hit(service.wait()), told);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    service.terminate();
    (End::Missed(service.wait()), told)
}

/// What a fault at one moment after the other came to.
#[derive(Default, Debug)]
struct Swept {
    hits: usize,
    jobs: usize,
    chunks: usize,
}

/// Has the `n`th call do `does`, for each `n` of `moments`: whatever happens then, all that was
/// acknowledged is there when the service is started again.
fn sweep(
    swept: &mut Swept,
    files: &[&[&'static str]],
    calls: &'static str,
    moments: &[u64],
    does: impl Fn(u64) -> String,
    ends: impl Fn(&Ended) -> bool,
) {
    let seed = seed();
    crate::say(&format!("seed {seed}"));
    for n in moments {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let mut witness = Witness::new(seed);
        let fault = Fault::new(files, calls, does(*n));
        let mut former = Vec::new();
        // The second life begins on what is there already.
        for life in 0..2 {
            let (end, told) = live(data, &fault, seed.wrapping_add(n * 7 + life));
            match end {
                End::Hit(ended) => {
                    assert!(ends(&ended), "{calls} {n}: {}\n{}", ended.status, ended.stderr);
                    swept.hits += 1;
                }
                End::Missed(ended) => {
                    let clean = ended.status.success() || ends(&ended);
                    assert!(clean, "{calls} {n}: {}\n{}", ended.status, ended.stderr);
                }
            }
            former.push(told);
            if life == 0 {
                let service = Service::start(data, &OPTIONS);
                witness.check(&service, std::mem::take(&mut former));
            }
        }
        let service = Service::start(data, &OPTIONS);
        witness.check(&service, former);
        witness.check_all(&service);
        swept.jobs += witness.jobs.len();
        swept.chunks += witness.chunks.len();
    }
}

fn was_killed(ended: &Ended) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    ended.status.signal() == Some(9)
}

fn failed_storage(ended: &Ended) -> bool {
    ended.status.code() == Some(6)
}

#[test]
fn a_kill_at_any_write_loses_nothing() {
    let _turn = alone();
    if !able() {
        return;
    }
    let kill = |n| format!("signal=KILL:when={n}");
    let mut swept = Swept::default();
    for files in [LOG, JOURNAL, CHUNKS] {
        sweep(&mut swept, &[files], WRITES, &crate::moments(&[1, 2]), kill, was_killed);
    }
    sweep(&mut swept, &[MARK], WRITES, &crate::moments(&[3]), kill, was_killed);
    sweep(&mut swept, &[CHECKPOINTS], "fsync", &crate::moments(&[1]), kill, was_killed);
    println!("killed at {} writes; {swept:?}, 0 lost", swept.hits);
    // The engine writes from several threads, whose calls are counted apart: some moments never come.
    assert!(swept.hits >= 3, "{swept:?}");
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing() {
    let _turn = alone();
    if !able() {
        return;
    }
    let full = |n| format!("error=ENOSPC:when={n}+");
    let files = &[LOG, JOURNAL, MARK, CHUNKS];
    let mut swept = Swept::default();
    sweep(&mut swept, files, WRITES, &crate::moments(&[1, 2, 6]), full, failed_storage);
    println!("full at {} writes; {swept:?}, 0 lost", swept.hits);
    assert!(swept.hits >= 4, "{swept:?}");
}

/// One call fails and the next would work again: whoever tried again would not end.
#[test]
fn a_write_that_fails_once_ends_the_service() {
    let _turn = alone();
    if !able() {
        return;
    }
    let once = |n| format!("error=EIO:when={n}");
    let mut swept = Swept::default();
    let all = [(LOG, &[1, 3][..]), (JOURNAL, &[2]), (MARK, &[4]), (CHUNKS, &[2])];
    for (files, moments) in all {
        let moments = crate::moments(moments);
        sweep(&mut swept, &[files], WRITES, &moments, once, failed_storage);
    }
    println!("failed at {} writes; {swept:?}, 0 lost", swept.hits);
    assert!(swept.hits >= 4, "{swept:?}");
}

#[test]
fn a_sync_that_fails_once_ends_the_service() {
    let _turn = alone();
    if !able() {
        return;
    }
    let once = |n| format!("error=EIO:when={n}");
    let mut swept = Swept::default();
    let all = [(LOG, &[1, 3][..]), (JOURNAL, &[2]), (MARK, &[1]), (CHUNKS, &[1])];
    for (files, moments) in all {
        let moments = crate::moments(moments);
        sweep(&mut swept, &[files], SYNCS, &moments, once, failed_storage);
    }
    println!("failed at {} syncs; {swept:?}, 0 lost", swept.hits);
    assert!(swept.hits >= 4, "{swept:?}");
}

/// Many wait when the write fails. Each is told, none is told that it was done.
#[test]
fn waiters_of_a_failed_write_learn_that_the_outcome_is_unknown() {
    const WAITERS: u64 = 16;
    let _turn = alone();
    if !able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let worker = {
        let service = Service::start(data, &["--slots", "0"]);
        Worker::register(&Http::new(service.url()), data, Temper::Quick, b"x").unwrap()
    };
    // The failing call takes its time, so that others come to wait behind it.
    let does = "error=EIO:delay_enter=300000:when=2+".to_owned();
    let mut command = Fault::new(&[JOURNAL], WRITES, does).service(data);
    command.args(["--slots", "0", "--min-free-space", "0"]);
    let service = Starting::of(command).ready().unwrap();
    let url = service.url().to_owned();
    let path = format!("/compute/jobs/{}", worker.id);
    let replies: Vec<_> = std::thread::scope(|scope| {
        let ask = |number| {
            let (url, path) = (&url, &path);
            scope.spawn(move || {
                let http = Http::new(url);
                let answers = (0..50).map(|round| {
                    http.post(path, &action(number * 50 + round))
                        .ok()
                        .map(|reply| (reply.status, reply.value()))
                });
                // Until one isn't acknowledged.
                let mut all = Vec::new();
                for answer in answers {
                    let last = !matches!(answer, Some((200, _)));
                    all.push(answer);
                    if last {
                        break;
                    }
                }
                all
            })
        };
        let waiting: Vec<_> = (0..WAITERS).map(ask).collect();
        waiting.into_iter().map(|waiter| waiter.join().unwrap()).collect()
    });
    let ended = service.wait();
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("nothing that was acknowledged is lost"), "{}", ended.stderr);
    let told = replies.iter().flatten().flatten().filter(|(status, _)| *status != 200);
    let told: Vec<_> = told.collect();
    assert!(told.len() as u64 > WAITERS / 2, "only {} were told: {replies:?}", told.len());
    for (status, answer) in told {
        assert_eq!((*status, &answer["code"]), (503, &json!("log_poisoned")), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("outcome is unknown"), "{answer}");
    }
    let service = Service::start(data, &["--slots", "0"]);
    let http = Http::new(service.url());
    for (_, job) in replies.iter().flatten().flatten().filter(|(status, _)| *status == 200) {
        http.get(&format!("/compute/jobs/{}", job["lsn"])).unwrap().expect(202);
    }
}
