//! Stops by signal, and directories that can't be served.

use std::path::Path;
use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::{Value, json};

use crate::http::Http;
use crate::processes::Children;
use crate::service::{Service, Starting, command};
use crate::witness::missing;
use crate::workers::{Temper, Worker, action};

/// Starts a service with one job of a worker of this temper, and waits until it runs.
fn running(data: &Path, temper: Temper, args: &[&str]) -> (Service, Http, Worker, u64) {
    let service = Service::start(data, args);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, temper, b"the result").unwrap();
    let job = http.post(&format!("/compute/jobs/{}", worker.id), &action(1)).unwrap().expect(200);
    let lsn = job["lsn"].as_u64().unwrap();
    within(Duration::from_secs(20), || {
        http.get(&job_path(lsn)).unwrap().value()["state"] == "running"
    });
    (service, http, worker, lsn)
}

fn job_path(lsn: u64) -> String {
    format!("/compute/jobs/{lsn}")
}

/// Asks until it is so.
#[track_caller]
pub(crate) fn within(limit: Duration, is_so: impl Fn() -> bool) {
    let begun = monotonic();
    while !is_so() {
        assert!(begun.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The job as a service without slots has it after a restart.
fn afterwards(data: &Path, lsn: u64) -> (Service, Http, Value) {
    let service = Service::start(data, &["--slots", "0"]);
    let http = Http::new(service.url());
    let job = http.get(&job_path(lsn)).unwrap().value();
    (service, http, job)
}

#[test]
fn a_stop_lets_attempts_finish_and_keeps_their_results() {
    let folder = tempfile::tempdir().unwrap();
    let (service, http, worker, lsn) = running(folder.path(), Temper::Slow, &["--slots", "2"]);
    service.terminate();
    within(Duration::from_secs(2), || http.get("/compute/ready").unwrap().status == 503);
    let refused = http.post(&format!("/compute/jobs/{}", worker.id), &action(2)).unwrap();
    assert_eq!(refused.expect(503)["code"], "stopping");
    assert_eq!(http.get(&job_path(lsn)).unwrap().expect(202)["state"], "running");
    let ended = service.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);

    let (_service, http, job) = afterwards(folder.path(), lsn);
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job}");
    assert_eq!(missing(&http, [worker.value].into_iter()), [""; 0]);
}

/// The job must wait for its next attempt as if the lost one had not been.
#[track_caller]
fn pending_again(data: &Path, lsn: u64) {
    let (_service, _, job) = afterwards(data, lsn);
    assert_eq!(job["state"], "pending", "{job}");
    assert_eq!(job["retry_count"], 0, "{job}");
}

#[test]
fn a_stop_waits_no_longer_than_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--shutdown-grace", "300ms"];
    let (service, _, _, lsn) = running(folder.path(), Temper::Endless, &options);
    let children = Children::of(service.pid());
    let begun = monotonic();
    service.terminate();
    let ended = service.wait();
    let took = begun.elapsed();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(took > Duration::from_millis(300) && took < Duration::from_secs(8), "{took:?}");
    children.gone(folder.path(), begun).unwrap();
    pending_again(folder.path(), lsn);
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--shutdown-grace", "10m"];
    let (service, http, _, lsn) = running(folder.path(), Temper::Endless, &options);
    let children = Children::of(service.pid());
    service.terminate();
    within(Duration::from_secs(2), || http.get("/compute/ready").unwrap().status == 503);
    let begun = monotonic();
    service.terminate();
    let ended = service.wait();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    children.gone(folder.path(), begun).unwrap();
    pending_again(folder.path(), lsn);
}

/// Starts a service that must end by itself.
#[track_caller]
fn refused(data: &Path) -> crate::service::Ended {
    Starting::of(command(data)).ready().expect_err("must not start")
}

#[test]
fn a_directory_has_one_service() {
    let folder = tempfile::tempdir().unwrap();
    let first = Service::start(folder.path(), &[]);
    let ended = refused(folder.path());
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    let owner = format!("already running (pid {})", first.pid());
    assert!(ended.stderr.contains(&owner), "{}", ended.stderr);
    assert!(ended.stderr.contains(folder.path().to_str().unwrap()), "{}", ended.stderr);
    assert_eq!(Http::new(first.url()).get("/compute/ready").unwrap().status, 200);
    // A kill leaves nothing that keeps the next one out.
    first.kill();
    Service::start(folder.path(), &[]);
}

#[test]
fn a_damaged_log_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let service = Service::start(data, &["--slots", "0", "--min-free-space", "0"]);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"x").unwrap();
    for number in 0..300 {
        let mut action = action(number);
        action["Constants"]["Needle"] = json!(format!("needle-{number:05}"));
        http.post(&format!("/compute/jobs/{}", worker.id), &action).unwrap().expect(200);
    }
    service.terminate();
    assert!(service.wait().status.success());

    let db = data.join("log/db");
    let whole = std::fs::read(&db).unwrap();
    let mut bytes = whole.clone();
    let needle = b"needle-00150";
    let places: Vec<usize> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 3] ^= 1;
    }
    std::fs::write(&db, &bytes).unwrap();
    for _ in 0..2 {
        let ended = refused(data);
        assert_eq!(ended.status.code(), Some(5), "{}", ended.stderr);
        assert!(ended.stderr.contains(data.join("log").to_str().unwrap()), "{}", ended.stderr);
    }

    // Nothing was changed, so whoever mends the file has everything again.
    std::fs::write(&db, &whole).unwrap();
    let service = Service::start(data, &["--slots", "0"]);
    assert_eq!(service.last_lsn(), 301);
}
