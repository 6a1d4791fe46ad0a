//! A data directory that an earlier version wrote opens, and all that it was told is still so.
//!
//! `migrations/*/directory.tar.gz` are data directories, each with the answers that the program gave
//! which wrote it. A new one is written by the test of today's:
//! `LEDGERUN_GOLDEN_WRITE=FILE LEDGERUN_GOLDEN_PROGRAM=PROGRAM cargo test --test golden today`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod directory;
#[path = "../faults/http.rs"]
mod http;
#[path = "../support/service.rs"]
mod service;
#[path = "../faults/workers.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod workers;

use std::path::Path;
use std::process::Command;

use answers::Answers;
use http::Http;
use ledgerun::config::variable;
use service::{Service, Starting};
use workers::{Temper, Worker, action, submit, until_ended};

/// What was known to whoever wrote the directory.
const ANSWERS: &str = "answers.json";

/// Nothing may go because of its age: the directories get old.
const KEEP: [&str; 6] =
    ["--min-free-space", "0", "--result-retention", "keep", "--shutdown-grace", "0s"];

/// The directory of each schema that a version had.
const DIRECTORIES: [(&str, &[u8]); 7] = [
    ("1", include_bytes!("../../migrations/0001_initial/directory.tar.gz")),
    ("2", include_bytes!("../../migrations/0002_queues/directory.tar.gz")),
    ("3", include_bytes!("../../migrations/0003_recordings/directory.tar.gz")),
    ("4", include_bytes!("../../migrations/0004_frames/directory.tar.gz")),
    ("5", include_bytes!("../../migrations/0005_compaction/directory.tar.gz")),
    ("6", include_bytes!("../../migrations/0006_packed_frames/directory.tar.gz")),
    ("7", include_bytes!("../../migrations/0007_journal/directory.tar.gz")),
];

/// Opens the directory that is packed in `packed` with today's program, and asks for everything.
fn check(packed: &[u8], of: &str) {
    let folder = tempfile::tempdir().unwrap();
    directory::unpack(packed, folder.path());
    let data = folder.path().join("data");
    let text = std::fs::read(folder.path().join(ANSWERS)).unwrap();
    let before: Answers = serde_json::from_slice(&text).unwrap();
    assert!(before.is_worth_it(), "{of}: {}", before.summary());
    for _ in 0..2 {
        let service = Service::start(&data, &KEEP);
        let http = Http::new(service.url());
        before.must_hold(&Answers::of(&http), of);
        let report = http.post("/compute/log/verify", &serde_json::json!({})).unwrap();
        let report = String::from_utf8(report.body).unwrap();
        assert!(report.contains(r#""good":true"#), "{of}: {report}");
        // And it goes on.
        let worker = Worker::register(&http, &data, Temper::Quick, b"a value").unwrap();
        let lsn = submit(&http, &worker, 1_000_000 + service.last_lsn());
        until_ended(&http, lsn);
        assert_eq!(http.get(&format!("/compute/jobs/{lsn}")).unwrap().status, 200);
        service.terminate();
        assert!(service.wait().status.success());
    }
    let mut checked = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
    let checked = checked.arg("check").arg("--data-dir").arg(&data).output().unwrap();
    assert!(checked.status.success(), "{of}: {}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_directory_of_every_schema_opens_and_nothing_is_lost() {
    for (schema, packed) in DIRECTORIES {
        check(packed, &format!("schema {schema}"));
    }
}

/// The program that writes, today's unless another one is named.
fn start(data: &Path) -> Service {
    let mut command = service::command(data);
    if let Some(program) = variable("LEDGERUN_GOLDEN_PROGRAM") {
        let mut other = Command::new(program);
        other.args(command.get_args());
        command = other;
    }
    command.args(["--slots", "2", "--shutdown-grace", "0s"]);
    Starting::of(command).ready().unwrap()
}

/// Jobs that ended well and badly, that share an attempt, that wait and that run, in two runs: the
/// first is killed, the second stops.
fn fill(data: &Path) -> Answers {
    let service = start(data);
    let http = Http::new(service.url());
    let quick = Worker::register(&http, data, Temper::Quick, b"a value").unwrap();
    let failing = Worker::register(&http, data, Temper::Failing, b"no value").unwrap();
    let endless = Worker::register(&http, data, Temper::Endless, b"never").unwrap();
    let mut jobs: Vec<u64> = (0..12).map(|number| submit(&http, &quick, number)).collect();
    jobs.extend((0..3).map(|number| submit(&http, &quick, number)));
    let many: Vec<_> = (100..140).map(action).collect();
    let path = format!("/compute/jobs/{}", quick.id);
    let batch = http.post(&path, &serde_json::json!({ "actions": many })).unwrap().expect(200);
    let results = batch["results"].as_array().unwrap();
    jobs.extend(results.iter().map(|result| result["lsn"].as_u64().unwrap()));
    jobs.push(submit(&http, &failing, 1));
    // Where it has queues and recordings, there are some; and where it folds old records, it does.
    let queue = http.post("/compute/queues", &serde_json::json!({ "name": "cook" })).unwrap();
    assert!(matches!(queue.status, 200 | 404 | 405), "{queue:?}");
    let recording = http.post("/compute/record/start", &serde_json::json!({})).unwrap();
    assert!(matches!(recording.status, 200 | 404 | 405), "{recording:?}");
    jobs.push(submit(&http, &quick, 500));
    for job in jobs {
        until_ended(&http, job);
    }
    http.post("/compute/record/stop", &serde_json::json!({})).unwrap();
    let compacted = http.post("/compute/log/compact?before=40", &serde_json::json!({})).unwrap();
    assert!(matches!(compacted.status, 200 | 404 | 405), "{compacted:?}");
    submit(&http, &endless, 1);
    service.kill();
    let service = start(data);
    let http = Http::new(service.url());
    until_ended(&http, submit(&http, &quick, 501));
    let told = Answers::of(&http);
    service.terminate();
    service.wait();
    told
}

#[test]
fn a_directory_of_today_is_like_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let told = fill(&folder.path().join("data"));
    std::fs::write(folder.path().join(ANSWERS), serde_json::to_vec(&told).unwrap()).unwrap();
    let packed = directory::pack(folder.path());
    if let Some(file) = variable("LEDGERUN_GOLDEN_WRITE") {
        std::fs::write(file, &packed).unwrap();
    }
    check(&packed, "today");
}
