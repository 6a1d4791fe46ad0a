//! Files that are not what was written: single bits, lost and torn ends. The real program either
//! refuses them with a sentence, or serves nothing else than what was acknowledged and says what is
//! missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ledgerun::domain::ChunkId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::http::Http;
use crate::kills::seed;
use crate::service::{Ended, Service, Starting, command};
use crate::setting;
use crate::stops::within;
use crate::workers::{Temper, Worker, action, content};

const OPTIONS: [&str; 6] = ["--slots", "0", "--min-free-space", "0", "--checkpoint-every", "150"];

const LOG: &str = "/compute/log?limit=10000";

/// How many damages of each kind are tried.
fn damages() -> u64 {
    setting("LEDGERUN_FAULT_FLIPS", 20)
}

/// A data directory at rest, and all that it told before.
struct Whole {
    folder: tempfile::TempDir,
    /// The log, a record a line.
    log: Vec<u8>,
    chunks: Vec<(ChunkId, Vec<u8>)>,
    /// Questions about the past, and their answers.
    past: Vec<(String, Vec<u8>)>,
}

impl Whole {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let service = Service::start(data, &["--slots", "2", "--checkpoint-every", "150"]);
        let http = Http::new(service.url());
        let worker = Worker::register(&http, data, Temper::Quick, b"the result").unwrap();
        let jobs = format!("/compute/jobs/{}", worker.id);
        let mut chunks = Vec::new();
        for number in 0..140 {
            http.post(&jobs, &action(number)).unwrap().expect(200);
            if number % 7 == 0 {
                let length = 400 + usize::try_from(number).unwrap() * 1_100;
                let bytes = content(number, length);
                let id = ChunkId::of(&bytes);
                http.put_chunk(&id.to_string(), bytes.clone()).unwrap().expect(201);
                chunks.push((id, bytes));
            }
        }
        let written = || fs::read_dir(data.join("checkpoints")).is_ok_and(|all| all.count() > 0);
        within(std::time::Duration::from_mins(1), written);
        let ended = || http.json("/compute/jobs?state=pending")["jobs"] == json!([]);
        within(std::time::Duration::from_mins(1), ended);
        service.terminate();
        assert!(service.wait().status.success());
        // Again, and without work, so that nothing is added any more.
        let service = Service::start(data, &OPTIONS);
        let http = Http::new(service.url());
        let log = http.get(LOG).unwrap().body;
        let at = (1..service.last_lsn()).step_by(60);
        let paths = at.map(|lsn| format!("/compute/jobs?at={lsn}&limit=50"));
        let past = paths.map(|path| (path.clone(), http.get(&path).unwrap().body)).collect();
        service.terminate();
        assert!(service.wait().status.success());
        Self { folder, log, chunks, past }
    }

    /// The one that all tests begin with.
    fn get() -> &'static Self {
        static WHOLE: OnceLock<Whole> = OnceLock::new();
        WHOLE.get_or_init(Self::make)
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let mut cp = Command::new("cp");
        cp.args(["-a", "--sparse=always"]);
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "ballast" {
                cp.arg(entry.path());
            }
        }
        assert!(cp.arg(copy.path()).status().unwrap().success());
        copy
    }
}

/// What a start on a damaged directory came to.
enum Start {
    Refused(Ended),
    /// With so many chunks and answers that are missing or damaged, and said to be.
    Served {
        lost: usize,
        unread: usize,
        warned: bool,
    },
}

/// Starts a service on `data` and compares all that it tells.
fn judge(whole: &Whole, data: &Path) -> Start {
    let mut command = command(data);
    command.args(OPTIONS);
    let service = match Starting::of(command).ready() {
        Ok(service) => service,
        Err(ended) => {
            assert!(!ended.stderr.contains("stack backtrace"), "{}", ended.stderr);
            return Start::Refused(ended);
        }
    };
    let http = Http::new(service.url());
    let questions = std::iter::once((LOG.to_owned(), whole.log.clone()));
    let mut unread = 0;
    for (path, answer) in questions.chain(whole.past.iter().cloned()) {
        // What turns out to be damaged on the way breaks off.
        match http.get(&path) {
            Ok(again) if again.status == 200 => {
                assert!(again.body == answer, "{path} has another answer");
            }
            Ok(again) => {
                assert_eq!(again.expect(500)["code"], "log_unreadable", "{path}");
                unread += 1;
            }
            Err(_) => unread += 1,
        }
    }
    let mut lost = 0;
    for (id, bytes) in &whole.chunks {
        let path = format!("/compute/chunks/{id}");
        // A chunk that turns out to be damaged on the way breaks off.
        if let Ok(reply) = http.get(&path) {
            if reply.status == 200 {
                assert!(reply.body == *bytes, "chunk {id} has other content");
                continue;
            }
            let code = reply.value()["code"].clone();
            let told = code == "unknown_chunk" || code == "chunk_damaged";
            assert!(told, "{}", reply.value());
        }
        lost += 1;
        // From now on it is missing, and an upload mends it.
        let asked = http.post("/compute/chunks", &json!({ "chunks": [id.to_string()] })).unwrap();
        assert_eq!(asked.expect(200)["need"], json!([id.to_string()]));
        http.put_chunk(&id.to_string(), bytes.clone()).unwrap().expect(201);
        assert!(http.get(&path).unwrap().body == *bytes);
    }
    service.terminate();
    let ended = service.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    Start::Served { lost, unread, warned: warns_of_checkpoint(&ended.stderr) }
}

fn warns_of_checkpoint(stderr: &str) -> bool {
    stderr.lines().any(|line| line.contains("WARN") && line.contains("checkpoint"))
}

/// Files of `data` whose names pass, and where their content ends: what follows is zeros.
fn files(data: &Path, dir: &str, passes: impl Fn(&str) -> bool) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let dir = data.join(dir);
    let entries = if dir.is_file() {
        vec![dir]
    } else {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    for path in entries {
        if path.is_file() && passes(&path.file_name().unwrap().to_string_lossy()) {
            let used = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0);
            found.extend(used.map(|last| (path, last as u64 + 1)));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing to damage");
    found
}

/// Changes one bit of a file.
fn flip(path: &Path, random: &mut StdRng, used: u64) -> String {
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from(random.random_range(0..used)).unwrap();
    let bit = random.random_range(0..8);
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    format!("bit {bit} of byte {at} of {used} of {}", path.display())
}

/// Takes the end of a file away in one of the ways in which writes are lost or torn.
fn tear(path: &Path, random: &mut StdRng, used: u64) -> String {
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from(random.random_range(0..used)).unwrap();
    let way = random.random_range(0..3);
    match way {
        0 => bytes.truncate(at),
        1 => bytes[at..].fill(0),
        // What lay there before is still there.
        _ => random.fill(&mut bytes[at..usize::try_from(used).unwrap()]),
    }
    fs::write(path, bytes).unwrap();
    format!("end {way} from byte {at} of {used} of {}", path.display())
}

type Harm = fn(&Path, &mut StdRng, u64) -> String;

/// Damages copies, one after the other, and gives each start to `check`.
fn each(dir: &str, passes: fn(&str) -> bool, harm: Harm, mut check: impl FnMut(&Path, Start)) {
    let seed = seed();
    crate::say(&format!("seed {seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let whole = Whole::get();
    for _ in 0..damages() {
        let copy = whole.copy();
        let files = files(copy.path(), dir, passes);
        let (path, used) = &files[random.random_range(0..files.len())];
        crate::say(&harm(path, &mut random, *used));
        let start = judge(whole, copy.path());
        check(copy.path(), start);
    }
}

fn refused_as_damaged(ended: &Ended, data: &Path, part: &str) {
    assert_eq!(ended.status.code(), Some(5), "{}", ended.stderr);
    let path = data.join(part);
    assert!(ended.stderr.contains(path.to_str().unwrap()), "{}", ended.stderr);
}

#[test]
fn a_flipped_bit_of_the_log_is_refused_or_told() {
    let (mut refused, mut told) = (0, 0);
    each(
        "log",
        |name| !name.starts_with("unread"),
        flip,
        |data, start| match start {
            Start::Refused(ended) => {
                refused_as_damaged(&ended, data, "log");
                refused += 1;
            }
            Start::Served { lost, unread, .. } => {
                assert_eq!(lost, 0);
                told += usize::from(unread > 0);
            }
        },
    );
    let all = damages();
    println!("of {all} flipped bits of the log {refused} were refused, {told} told when read");
}

#[test]
fn a_lost_or_torn_end_of_the_log_is_refused_and_can_be_accepted() {
    let whole = Whole::get();
    let (mut refused, mut accepted) = (0, 0);
    each(
        "log",
        |name| name == "db",
        tear,
        |data, start| {
            let Start::Refused(ended) = start else { return };
            refused_as_damaged(&ended, data, "log");
            refused += 1;
            if !ended.stderr.contains("--accept-lost-history") {
                return;
            }
            accepted += 1;
            let service = Service::start(data, &["--slots", "0", "--accept-lost-history"]);
            let http = Http::new(service.url());
            let left = http.get(LOG).unwrap().body;
            // After what is left comes only what a start adds: attempts that it finds lost.
            let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
                bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
            };
            let (left, known) = (lines(&left), lines(&whole.log));
            let kept = usize::try_from(service.last_lsn()).unwrap();
            assert!(kept < known.len() - 1 && left[..kept] == known[..kept], "{kept}");
            let lost = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("attempt_lost");
            assert!(left[kept..left.len() - 1].iter().all(lost));
            http.post("/compute/queues", &json!({})).unwrap().expect(200);
            let more = lines(&http.get(LOG).unwrap().body);
            assert_eq!((more.len(), &more[..kept]), (left.len() + 1, &known[..kept]));
            service.terminate();
            assert!(service.wait().status.success());
            // Once: from now on this is the log.
            assert_eq!(Service::start(data, &OPTIONS).last_lsn(), left.len() as u64);
        },
    );
    println!("{refused} of {} lost ends of the log were refused, {accepted} accepted", damages());
    assert!(refused > 0);
}

/// The journal of a service that was killed, which has what the database hadn't written down.
#[test]
fn a_damaged_journal_loses_nothing_unseen() {
    let seed = seed();
    crate::say(&format!("seed {seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    let (mut refused, mut whole) = (0, 0);
    for harm in [flip as Harm, tear] {
        for _ in 0..damages().div_ceil(4) {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path();
            let service = Service::start(data, &OPTIONS);
            let http = Http::new(service.url());
            let worker = Worker::register(&http, data, Temper::Quick, b"x").unwrap();
            let jobs = format!("/compute/jobs/{}", worker.id);
            for number in 0..40 {
                http.post(&jobs, &action(number)).unwrap().expect(200);
            }
            let log = http.get(LOG).unwrap().body;
            service.kill();
            let (path, used) = files(data, "journal", |_| true).remove(0);
            crate::say(&harm(&path, &mut random, used));
            let mut command = command(data);
            command.args(OPTIONS);
            match Starting::of(command).ready() {
                Ok(service) => {
                    assert!(Http::new(service.url()).get(LOG).unwrap().body == log);
                    whole += 1;
                }
                Err(ended) => {
                    refused_as_damaged(&ended, data, "log");
                    assert!(ended.stderr.contains("41 records were"), "{}", ended.stderr);
                    let service = Service::start(data, &["--slots", "0", "--accept-lost-history"]);
                    let left = Http::new(service.url()).get(LOG).unwrap().body;
                    assert!(log.starts_with(&left) && service.last_lsn() < 41);
                    refused += 1;
                }
            }
        }
    }
    println!("with a damaged journal {whole} were whole, {refused} refused");
    assert!(refused > 0);
}

#[test]
fn a_damaged_high_water_file_is_refused_or_made_up_for_by_its_other_half() {
    for harm in [flip as Harm, tear] {
        each(
            "hwm",
            |_| true,
            harm,
            |data, start| match start {
                Start::Refused(ended) => {
                    refused_as_damaged(&ended, data, "hwm");
                    assert!(ended.stderr.contains("--accept-lost-history"), "{}", ended.stderr);
                    let service = Service::start(data, &["--slots", "0", "--accept-lost-history"]);
                    let log = Http::new(service.url()).get(LOG).unwrap();
                    assert!(log.body == Whole::get().log, "the log itself was whole");
                }
                Start::Served { lost, unread, .. } => assert_eq!((lost, unread), (0, 0)),
            },
        );
    }
}

/// Damages of chunks: how many starts were refused, and how many chunks the others missed.
fn of_chunks(harm: Harm) -> (usize, usize) {
    let (mut refused, mut missing) = (0, 0);
    each(
        "chunks/g000001",
        |_| true,
        harm,
        |data, start| match start {
            Start::Refused(ended) => {
                refused_as_damaged(&ended, data, "chunks");
                refused += 1;
            }
            Start::Served { lost, unread, .. } => {
                assert_eq!(unread, 0, "the log is whole");
                missing += lost;
            }
        },
    );
    (refused, missing)
}

#[test]
fn a_flipped_bit_of_the_chunks_is_told_and_what_it_hit_is_missing() {
    let (refused, missing) = of_chunks(flip);
    println!("{} flipped bits: {refused} starts refused, {missing} chunks missing", damages());
}

#[test]
fn a_lost_or_torn_end_of_the_chunks_is_told_and_what_it_held_is_missing() {
    let (refused, missing) = of_chunks(tear);
    println!("{} lost ends: {refused} starts refused, {missing} chunks missing", damages());
    assert!(refused + missing > 0);
}

#[test]
fn a_damaged_checkpoint_is_skipped_with_a_warning() {
    let mut noticed = 0;
    for harm in [flip as Harm, tear] {
        each(
            "checkpoints",
            |_| true,
            harm,
            |_, start| {
                let Start::Served { lost: 0, unread: 0, warned } = start else {
                    panic!("a checkpoint matters")
                };
                noticed += usize::from(warned);
            },
        );
    }
    assert!(noticed > 0, "no damage was told");
}
