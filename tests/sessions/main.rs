//! What a client session may rely on: its queue, its completions, and that nothing it needs is let
//! go. The real program, killed where that matters.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod cancel;
#[path = "../faults/http.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod http;
mod keeping;
mod once;
#[path = "../faults/processes.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod processes;
mod recordings;
#[path = "../support/service.rs"]
mod service;
#[path = "../faults/workers.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod workers;

use std::time::Duration;

use http::Http;
use ledgerun::clock::monotonic;
use serde_json::Value;

/// How long something that happens in the background may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks until `wanted` gives something.
#[track_caller]
fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let begun = monotonic();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Submits an action of `worker` that nobody submitted before, and returns its LSN.
#[track_caller]
fn submit(http: &Http, worker: &str, number: u64) -> u64 {
    let path = format!("/compute/jobs/{worker}");
    http.post(&path, &workers::action(number)).unwrap().expect(200)["lsn"].as_u64().unwrap()
}

/// The LSNs of the feed at `path`, from its beginning.
#[track_caller]
fn feed(http: &Http, path: &str) -> Vec<u64> {
    let page = http.json(&format!("{path}?limit=10000"));
    let jobs = page["completed"].as_array().unwrap();
    jobs.iter().map(|job: &Value| job["lsn"].as_u64().unwrap()).collect()
}

/// Waits until a job has ended.
#[track_caller]
fn ended(http: &Http, lsn: u64) -> Value {
    eventually("the job ends", || {
        let reply = http.get(&format!("/compute/jobs/{lsn}")).unwrap();
        (reply.status == 200).then(|| reply.value())
    })
}
