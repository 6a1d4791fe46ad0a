//! Starts from checkpoints: they end where a start without one does, and a checkpoint that is not
//! what it should be costs time and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::json;

use crate::http::Http;
use crate::service::{Service, Starting, command};
use crate::stops::within;
use crate::workers::{Temper, Worker, action};

const OPTIONS: [&str; 6] = ["--slots", "2", "--min-free-space", "0", "--checkpoint-every", "16"];
const JOBS: u64 = 20;

/// What a service says of everything it knows.
fn answers(http: &Http) -> BTreeMap<String, String> {
    let mut paths: Vec<String> = ["jobs?limit=1000", "jobs/completed?since=0", "workers", "queues"]
        .map(|path| format!("/compute/{path}"))
        .into();
    let jobs = http.json("/compute/jobs?limit=1000");
    for job in jobs["jobs"].as_array().unwrap() {
        paths.push(format!("/compute/jobs/{}", job["lsn"]));
        paths.push(format!("/compute/jobs/{}/explain", job["lsn"]));
    }
    assert!(paths.len() > 30, "{jobs}");
    let told = |path: String| {
        let reply = http.get(&path).unwrap();
        (path, format!("{} {}", reply.status, String::from_utf8_lossy(&reply.body)))
    };
    paths.into_iter().map(told).collect()
}

/// A data directory with jobs in several states, stopped cleanly, and what was told of them.
fn stopped(data: &Path) -> BTreeMap<String, String> {
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"value").unwrap();
    let failing = Worker::register(&http, data, Temper::Failing, b"none").unwrap();
    let submit = |worker: &Worker, number| {
        let path = format!("/compute/jobs/{}", worker.id);
        http.post(&path, &action(number)).unwrap().expect(200)["lsn"].as_u64().unwrap()
    };
    let jobs: Vec<u64> = (0..JOBS).map(|number| submit(&worker, number)).collect();
    let mut failed = action(0);
    failed["Constants"]["Fails"] = json!(true);
    let path = format!("/compute/jobs/{}?max_retries=0", failing.id);
    http.post(&path, &failed).unwrap().expect(200);
    within(Duration::from_secs(40), || {
        let ended = http.json("/compute/jobs/completed?since=0&limit=100");
        ended["completed"].as_array().unwrap().len() > jobs.len()
    });
    http.post(&format!("/compute/jobs/{}/retire", jobs[3]), &json!({})).unwrap().expect(200);
    let told = answers(&http);
    stop(service);
    told
}

/// Stops it and gives what it wrote to stderr.
fn stop(service: Service) -> String {
    service.terminate();
    let ended = service.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Starts a service that must know the same, by itself and in comparison with its log. Gives what
/// it wrote to stderr.
fn same(data: &Path, told: &BTreeMap<String, String>) -> String {
    let service = Service::start(data, &["--log", "debug", "--slots", "0"]);
    let http = Http::new(service.url());
    assert_eq!(answers(&http), *told);
    let report = http.post("/compute/log/verify", &json!({})).unwrap();
    let text = String::from_utf8_lossy(&report.body).into_owned();
    assert!(text.contains("\"good\":true"), "{text}");
    // Killed, so that the next start finds what this one found.
    let stderr = kill(service);
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

fn kill(service: Service) -> String {
    let pid = i32::try_from(service.pid()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    service.wait().stderr
}

/// The checkpoints of a data directory, by age.
fn checkpoints(data: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(data.join("checkpoints")).unwrap();
    let mut files: Vec<PathBuf> = all.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn lsn(checkpoint: &Path) -> u64 {
    checkpoint.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_start_from_a_checkpoint_knows_what_a_start_without_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let told = stopped(data);
    let files = checkpoints(data);
    let newest = files.last().unwrap();
    let begun = format!("begins with a checkpoint lsn={}", lsn(newest));
    assert!(same(data, &told).contains(&begun));
    // The stop left one of its very end.
    let service = Service::start(data, &["--slots", "0"]);
    assert_eq!(service.last_lsn(), lsn(newest));
    kill(service);

    // Damaged, the newest is skipped, and said to be.
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, &bytes).unwrap();
    assert!(files.len() > 1, "{files:?}");
    let stderr = same(data, &told);
    assert!(stderr.contains(newest.to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("its body is damaged"), "{stderr}");
    let before = format!("begins with a checkpoint lsn={}", lsn(&files[files.len() - 2]));
    assert!(stderr.contains(&before), "{stderr}");

    // Without any, everything is folded, and there is one again.
    fs::remove_dir_all(data.join("checkpoints")).unwrap();
    let stderr = same(data, &told);
    assert!(!stderr.contains("begins with a checkpoint"), "{stderr}");
}

#[test]
fn a_checkpoint_of_another_directory_is_refused() {
    let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let told = stopped(mine.path());
    stopped(other.path());
    // In the place of the newest, and one that ends later than the log.
    let newest = checkpoints(mine.path()).pop().unwrap();
    let foreign = checkpoints(other.path()).pop().unwrap();
    fs::remove_file(&newest).unwrap();
    for name in ["00000000000000000012.state", "00000000000000099999.state"] {
        let copied = mine.path().join("checkpoints").join(name);
        fs::copy(&foreign, &copied).unwrap();
    }
    let own = mine.path().join("checkpoints").join(foreign.file_name().unwrap());
    fs::copy(&foreign, &own).unwrap();
    let stderr = same(mine.path(), &told);
    assert!(stderr.contains("99999.state") && stderr.contains(own.to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("it is of another log"), "{stderr}");
}

/// Something is killed while it writes a checkpoint: what is left of that is nothing.
#[test]
fn a_kill_while_a_checkpoint_is_written_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut hits = 0;
    let mut jobs = Vec::new();
    let begun = monotonic();
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"value").unwrap();
    stop(service);
    while hits < 3 {
        assert!(begun.elapsed() < Duration::from_secs(50), "{hits} hits only");
        let mut command = command(data);
        command.args(["--slots", "0", "--min-free-space", "0"]);
        let service = Starting::of(command).ready().unwrap();
        // Beside the work, so soon after it is ready.
        within(Duration::from_secs(10), || unfinished(data) == 0);
        let http = Http::new(service.url());
        let path = format!("/compute/jobs/{}", worker.id);
        let number = 1_000 + jobs.len() as u64;
        jobs.push(http.post(&path, &action(number)).unwrap().expect(200)["lsn"].clone());
        for job in &jobs {
            assert_eq!(http.get(&format!("/compute/jobs/{job}")).unwrap().status, 202);
        }
        // The stop writes one. Whether this is in time is up to the machine.
        service.terminate();
        let waiting = monotonic();
        while waiting.elapsed() < Duration::from_millis(500) && unfinished(data) == 0 {
            std::hint::spin_loop();
        }
        kill(service);
        hits += usize::from(unfinished(data) > 0);
    }
    let service = Service::start(data, &["--slots", "0"]);
    let http = Http::new(service.url());
    within(Duration::from_secs(10), || unfinished(data) == 0);
    for job in &jobs {
        assert_eq!(http.get(&format!("/compute/jobs/{job}")).unwrap().status, 202);
    }
    println!("{hits} kills in the middle of a checkpoint of {} stops", jobs.len());
}

fn unfinished(data: &Path) -> usize {
    let Ok(files) = fs::read_dir(data.join("checkpoints")) else { return 0 };
    let names = files.flatten().map(|file| file.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".new-")).count()
}
