//! The real program while its log is compacted: under load, killed, asked for what was folded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../faults/http.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod http;
#[path = "../support/service.rs"]
mod service;
#[path = "../faults/workers.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod workers;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ledgerun::clock::{Clock as _, System, monotonic};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use http::Http;
use service::Service;
use workers::{Temper, Worker, action, submit, until_ended};

const OPTIONS: [&str; 6] = ["--slots", "4", "--min-free-space", "0", "--result-retention", "keep"];

/// Kills while the log is compacted; `LEDGERUN_COMPACT_KILLS` says how many for a long run.
fn kills() -> u32 {
    let given = ledgerun::config::variable("LEDGERUN_COMPACT_KILLS");
    given.map_or(8, |given| given.parse().unwrap())
}

/// The report that the lines of an answer end with.
fn report(http: &Http, path: &str) -> Value {
    let reply = http.post(path, &json!({})).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let last = reply.body.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    assert!(last["report"].is_object(), "{last}");
    last["report"].clone()
}

fn compact(http: &Http, query: &str) -> Value {
    report(http, &format!("/compute/log/compact{query}"))
}

/// What is told of a job; answers about the present say their own LSN only in a header.
fn told(http: &Http, lsn: u64) -> [(u16, Value); 3] {
    ["", "/events", "/explain"].map(|rest| {
        let reply = http.get(&format!("/compute/jobs/{lsn}{rest}")).unwrap();
        (reply.status, reply.value())
    })
}

fn first_lsn(http: &Http) -> u64 {
    http.json("/compute/sysinfo")["log"]["first_lsn"].as_u64().unwrap()
}

/// What the file system says the log takes.
fn used(data: &Path) -> u64 {
    let entries = std::fs::read_dir(data.join("log")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

fn verified(http: &Http) {
    let report = report(http, "/compute/log/verify");
    assert_eq!(report["good"], true, "{report}");
}

/// Nothing but the log is left of what there was while it was written anew.
fn tidy(data: &Path) {
    for name in ["log.next", "log.old", "log.swap"] {
        assert!(!data.join(name).exists(), "{name} was left behind");
    }
}

#[test]
fn work_goes_on_while_the_log_is_compacted_and_answers_stay() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"a value").unwrap();
    let failing = Worker::register(&http, data, Temper::Failing, b"no value").unwrap();
    let queue = http.post("/compute/queues", &json!({ "name": "cook" })).unwrap().expect(200);
    let queue = queue["queue_id"].as_u64().unwrap();
    let jobs: Vec<u64> = (0..40).map(|number| submit(&http, &worker, number)).collect();
    let failed = submit(&http, &failing, 1);
    jobs.iter().chain([&failed]).for_each(|job| until_ended(&http, *job));
    let (gone, stay) = jobs.split_at(20);
    for job in gone {
        http.post(&format!("/compute/jobs/{job}/retire"), &json!({})).unwrap().expect(200);
    }
    let stay: Vec<u64> = stay.iter().copied().chain([failed]).collect();
    let window = (0..40).map(|number| submit(&http, &worker, 100 + number)).collect::<Vec<_>>();
    for job in &window {
        until_ended(&http, *job);
    }
    let first = window[0];
    let past = |http: &Http, at: u64| {
        let jobs = http.json(&format!("/compute/jobs?at={at}&limit=1000"));
        (jobs, http.json(&format!("/compute/queues?at={at}")))
    };
    let before: Vec<_> = stay.iter().map(|job| told(&http, *job)).collect();
    let views: Vec<_> = (first - 1..first + 20).map(|at| past(&http, at)).collect();
    let named = |http: &Http| http.json(&format!("/compute/queues/{queue}"))["name"].clone();

    // Submissions go on meanwhile, and none fails.
    let (stop, submitted) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            let http = Http::new(service.url());
            for number in 1_000.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                submitted.lock().unwrap().push(submit(&http, &worker, number));
            }
        });
        let report = compact(&http, &format!("?before={first}"));
        stop.store(true, Ordering::Relaxed);
        report
    });
    let submitted = submitted.into_inner().unwrap();
    assert!(!submitted.is_empty());
    assert_eq!(
        (report["compacted"].clone(), report["first_lsn"].clone()),
        (json!(true), json!(first))
    );
    assert!(report["records_removed"].as_u64() > Some(20), "{report}");
    assert_eq!(report["space_returned"], true, "{report}");
    tidy(data);

    let check = |http: &Http| {
        assert_eq!(first_lsn(http), first);
        for (job, before) in stay.iter().zip(&before) {
            assert_eq!(told(http, *job), *before, "job {job}");
        }
        for (at, before) in (first - 1..).zip(&views) {
            assert_eq!(past(http, at), *before, "at {at}");
        }
        assert_eq!(named(http), "cook");
        let trimmed = |path: &str| {
            let refused = http.get(path).unwrap().expect(410);
            assert_eq!(
                (&refused["code"], &refused["first_lsn"]),
                (&json!("log_trimmed"), &json!(first))
            );
        };
        trimmed(&format!("/compute/log?from={}", first - 1));
        trimmed(&format!("/compute/jobs?at={}", first - 2));
        let log = http.get(&format!("/compute/log?from={first}&limit=1")).unwrap();
        let record: Value = serde_json::from_slice(&log.body).unwrap();
        assert_eq!(record["lsn"], first);
        let log = http.get("/compute/log?limit=1").unwrap();
        let record: Value = serde_json::from_slice(&log.body).unwrap();
        assert_eq!(record["lsn"], first, "without `from` it is the oldest");
        for job in gone {
            let retired = http.get(&format!("/compute/jobs/{job}")).unwrap();
            assert_eq!(retired.status, 404, "{retired:?}");
        }
        for job in &submitted {
            until_ended(http, *job);
        }
        verified(http);
    };
    check(&http);
    service.kill();
    let service = Service::start(data, &OPTIONS);
    check(&Http::new(service.url()));
    service.kill();
    // Without checkpoints the state that the log begins with is what there is.
    std::fs::remove_dir_all(data.join("checkpoints")).unwrap();
    let service = Service::start(data, &OPTIONS);
    check(&Http::new(service.url()));
}

#[test]
fn a_kill_while_the_log_is_compacted_loses_nothing() {
    let seed = u64::try_from(System.now().0).unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"a value").unwrap();
    // Something to fold, most of it retired.
    let many: Vec<Value> = (0..3_000).map(action).collect();
    let path = format!("/compute/jobs/{}?priority=0", worker.id);
    let some = http.post(&path, &json!({ "actions": many[..100] })).unwrap().expect(200);
    let mut known: Vec<u64> = some["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["lsn"].as_u64().unwrap())
        .collect();
    let (mut service, mut compacted, mut interrupted) = (service, 0, 0);
    // Micros within which the kill comes: fewer after a compaction that was quicker, so that on any
    // machine some are hit.
    let mut span = 400_000;
    for round in 0..kills() {
        let url = service.url().to_owned();
        let wait = Duration::from_micros(random.random_range(0..span));
        let told = Mutex::new((Vec::new(), false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let http = Http::new(&url);
                for number in 0.. {
                    let number = 10_000 + u64::from(round) * 100_000 + number;
                    let path = format!("/compute/jobs/{}", worker.id);
                    let Ok(reply) = http.post(&path, &action(number)) else { return };
                    told.lock().unwrap().0.push(reply.expect(200)["lsn"].as_u64().unwrap());
                }
            });
            scope.spawn(|| {
                let reply = Http::new(&url).post("/compute/log/compact", &json!({}));
                told.lock().unwrap().1 = reply.is_ok();
            });
            thread::sleep(wait);
            service.kill();
        });
        let (acknowledged, finished) = told.into_inner().unwrap();
        known.extend(acknowledged);
        compacted += u32::from(finished);
        interrupted += u32::from(!finished);
        span = if finished { (span / 2).max(1_000) } else { (span * 2).min(400_000) };
        service = Service::start(data, &OPTIONS);
        tidy(data);
        let http = Http::new(service.url());
        for job in &known {
            let status = http.get(&format!("/compute/jobs/{job}")).unwrap().status;
            assert!(matches!(status, 200 | 202), "job {job}: {status}, round {round}, seed {seed}");
        }
    }
    let http = Http::new(service.url());
    for job in &known {
        until_ended(&http, *job);
    }
    verified(&http);
    assert!(interrupted > 0, "{compacted} of {} were never interrupted, seed {seed}", kills());
}

#[test]
fn a_log_that_is_bounded_gives_its_space_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let options = ["--slots", "1", "--min-free-space", "0", "--result-retention", "count=10"];
    let service = Service::start(data, &options);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"a value").unwrap();
    until_ended(&http, submit(&http, &worker, 0));
    let same: Vec<Value> = vec![action(0); 10_000];
    let path = format!("/compute/jobs/{}", worker.id);
    for _ in 0..4 {
        http.post(&path, &json!({ "actions": same })).unwrap().expect(200);
    }
    // What is not retired stays, however old it is.
    let begun = monotonic();
    let many = || {
        let page = http.json("/compute/jobs?limit=100");
        page["jobs"].as_array().unwrap().len() > 10 || !page["next"].is_null()
    };
    while many() {
        assert!(begun.elapsed() < Duration::from_mins(1), "never retired");
        thread::sleep(Duration::from_millis(50));
    }
    // The state to begin with is one after that.
    http.post(&path, &json!({ "actions": same[..1_500] })).unwrap().expect(200);
    let last = http.json("/compute/sysinfo")["log"]["last_lsn"].as_u64().unwrap();
    assert!(last > 40_000);
    drop(service);
    let before = used(data);
    let bounded = [&options[..], &["--log-keep-records", "1000"]].concat();
    let service = Service::start(data, &bounded);
    let http = Http::new(service.url());
    let begun = monotonic();
    while first_lsn(&http) == 1 || data.join("log.old").exists() {
        assert!(begun.elapsed() < Duration::from_mins(3), "never compacted");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(first_lsn(&http) > last - 1_000);
    let after = used(data);
    assert!(after * 2 < before, "{before} bytes before, {after} after");
    verified(&http);
}

#[test]
fn a_disk_without_room_is_told_and_nothing_happens() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let service = Service::start(data, &["--slots", "0", "--min-free-space", "0"]);
    let http = Http::new(service.url());
    for name in 0..20 {
        http.post("/compute/queues", &json!({ "name": name.to_string() })).unwrap().expect(200);
    }
    service.kill();
    let service = Service::start(data, &["--slots", "0", "--min-free-space", "1000000 TiB"]);
    let http = Http::new(service.url());
    let refused = http.post("/compute/log/compact", &json!({})).unwrap().expect(507);
    assert_eq!(refused["code"], "insufficient_storage");
    assert!(refused["error"].as_str().unwrap().contains("free"), "{refused}");
    assert_eq!(first_lsn(&http), 1);
    tidy(data);
}
