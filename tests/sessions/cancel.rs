//! Ending a large queue: at once, and nobody else's.

use std::time::Duration;

use ledgerun::clock::monotonic;
use serde_json::{Value, json};

use crate::eventually;
use crate::http::Http;
use crate::processes::attempts;
use crate::service::Service;
use crate::workers::{Temper, Worker, action};

const JOBS: u64 = 10_000;
const SLOTS: usize = 4;

/// How soon the processes of a cancelled queue must be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

fn make_queue(http: &Http) -> u64 {
    http.post("/compute/queues", &json!({})).unwrap().expect(200)["queue_id"].as_u64().unwrap()
}

fn status(http: &Http, queue: u64) -> Value {
    http.json(&format!("/compute/queues/{queue}"))
}

#[test]
fn a_queue_of_ten_thousand_ends_in_one_append() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &["--slots", &SLOTS.to_string()]);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data.path(), Temper::Endless, b"never").unwrap();
    let (large, other) = (make_queue(&http), make_queue(&http));
    let path = |queue: u64| format!("/compute/queues/{queue}/jobs/{}", worker.id);
    let actions: Vec<Value> = (0..JOBS).map(action).collect();
    http.post(&path(large), &json!({ "actions": actions })).unwrap().expect(200);
    let running = || status(&http, large)["running_count"].as_u64().unwrap();
    eventually("all slots are taken", || (running() == SLOTS as u64).then_some(()));
    eventually("their processes run", || (attempts(data.path()).len() == SLOTS).then_some(()));
    // The oldest job runs first, so this one shares its execution; the next has to wait.
    let shares = http.post(&path(other), &action(0)).unwrap().expect(200)["lsn"].as_u64().unwrap();
    let waits =
        http.post(&path(other), &action(JOBS)).unwrap().expect(200)["lsn"].as_u64().unwrap();
    let shared = |http: &Http| {
        http.get(&format!("/compute/jobs/{shares}")).unwrap().expect(202)["attempts"].clone()
    };
    let before = shared(&http);

    let last = http.json("/compute/sysinfo")["log"]["durable_lsn"].as_u64().unwrap();
    let begun = monotonic();
    let ended = http.delete(&format!("/compute/queues/{large}")).unwrap().expect(200);
    assert_eq!((&ended["state"], &ended["active_count"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(ended["cancelled_count"], JOBS, "{ended}");
    eventually("the processes nobody wants are gone", || {
        (status(&http, other)["running_count"] == 2 && attempts(data.path()).len() == 2)
            .then_some(())
    });
    assert!(begun.elapsed() < GONE_WITHIN, "{:?}", begun.elapsed());

    // One record for all of it, and one line of the feed for each job.
    let log = http.get(&format!("/compute/log?from={}&limit=1", last + 1)).unwrap();
    let record = log.value();
    assert_eq!(record["event"]["queue_cancelled"]["queue"], large, "{record}");
    let page = http.json(&format!("/compute/queues/{large}/completed?limit=10"));
    let page = page["completed"].as_array().unwrap();
    assert_eq!(page.len() as u64, JOBS);
    assert!(page.iter().all(|job| job["completed_lsn"] == record["lsn"]));
    // The other queue's shared attempt never stopped, its waiting job has a slot now.
    assert_eq!(shared(&http), before);
    let state = http.get(&format!("/compute/queues/{other}/jobs/{waits}")).unwrap().value();
    assert!(matches!(state["state"].as_str(), Some("submitting" | "running")), "{state}");

    service.kill();
    let service = Service::start(data.path(), &["--slots", "0"]);
    let http = Http::new(service.url());
    assert_eq!(status(&http, large), ended);
    assert_eq!(status(&http, other)["active_count"], 2);
}
