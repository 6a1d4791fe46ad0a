//! What is let go, when, and what never is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ledgerun::domain::ChunkId;

use crate::http::Http;
use crate::service::Service;
use crate::workers::{Temper, Worker, content};
use crate::{ended, eventually, feed, submit};

/// Collect as often as possible, and promise nothing about what nobody refers to.
pub(crate) const EAGER: [&str; 4] = ["--chunk-collection", "50ms", "--chunk-grace", "0s"];

pub(crate) fn has(http: &Http, chunk: &str) -> bool {
    match http.get(&format!("/compute/chunks/{chunk}")).unwrap().status {
        200 => true,
        404 => false,
        other => panic!("{other} for chunk {chunk}"),
    }
}

pub(crate) fn upload(http: &Http, bytes: &[u8]) -> String {
    let id = ChunkId::of(bytes).to_string();
    let reply = http.put_chunk(&id, bytes.to_vec()).unwrap();
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    id
}

pub(crate) fn gone(http: &Http, chunk: &str) {
    eventually("the chunk is collected", || (!has(http, chunk)).then_some(()));
}

/// Runs `count` jobs of a worker with a result of its own, one after the other.
fn run(http: &Http, data: &Path, count: u64) -> (Worker, Vec<u64>) {
    let worker = Worker::register(http, data, Temper::Quick, b"result").unwrap();
    let jobs = (0..count).map(|number| {
        let job = submit(http, &worker.id, number);
        ended(http, job);
        job
    });
    let jobs = jobs.collect();
    (worker, jobs)
}

#[test]
fn the_newest_results_are_kept_by_count() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &["--slots", "1"]);
    let http = Http::new(service.url());
    let (_, jobs) = run(&http, data.path(), 6);
    assert_eq!(feed(&http, "/compute/jobs/completed"), jobs);
    service.kill();

    let service = Service::start(data.path(), &["--result-retention", "count=4"]);
    let http = Http::new(service.url());
    eventually("two are retired", || {
        (feed(&http, "/compute/jobs/completed") == jobs[2..]).then_some(())
    });
    for (job, status) in [(jobs[0], 404), (jobs[1], 404), (jobs[2], 200), (jobs[5], 200)] {
        assert_eq!(http.get(&format!("/compute/jobs/{job}")).unwrap().status, status);
    }
    // It is a fact like any other: a service that keeps everything doesn't bring them back.
    service.kill();
    let service = Service::start(data.path(), &[]);
    let http = Http::new(service.url());
    assert_eq!(feed(&http, "/compute/jobs/completed"), jobs[2..]);
}

#[test]
fn results_are_kept_by_age_and_by_bytes() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &["--slots", "1"]);
    let http = Http::new(service.url());
    let (_, jobs) = run(&http, data.path(), 4);
    service.kill();

    // Each result is of one unit of 256 bytes.
    let service = Service::start(data.path(), &["--result-retention", "bytes=600B,age=1h"]);
    let http = Http::new(service.url());
    eventually("those that are too large together are retired", || {
        (feed(&http, "/compute/jobs/completed") == jobs[2..]).then_some(())
    });
    service.kill();

    let service = Service::start(data.path(), &["--result-retention", "age=10ms"]);
    let http = Http::new(service.url());
    eventually("all of them are old", || {
        feed(&http, "/compute/jobs/completed").is_empty().then_some(())
    });
}

#[test]
fn chunks_that_nothing_refers_to_go_and_no_others() {
    let data = tempfile::tempdir().unwrap();
    let value = content(7, 9_000);
    let (service, worker, failing) = {
        let service = Service::start(data.path(), &[]);
        let http = Http::new(service.url());
        let worker = Worker::register(&http, data.path(), Temper::Quick, &value).unwrap();
        let failing = Worker::register(&http, data.path(), Temper::Failing, b"nothing").unwrap();
        service.kill();
        (Service::start(data.path(), &EAGER), worker, failing)
    };
    let http = Http::new(service.url());
    let job = submit(&http, &worker.id, 1);
    let failed = submit(&http, &failing.id, 1);
    ended(&http, job);

    let garbage = upload(&http, &content(8, 100_000));
    gone(&http, &garbage);
    // Everything else is referred to: the value by a result, the files by the workers.
    assert!(has(&http, &worker.value.to_string()));
    let again = submit(&http, &worker.id, 2);
    assert_eq!(ended(&http, again)["state"], "completed");
    let state = eventually("the retries are used up", || {
        let job = http.json("/compute/jobs?state=failed");
        job["jobs"].as_array().unwrap().first().map(|job| job["lsn"].as_u64().unwrap())
    });
    assert_eq!(state, failed);

    let described = http.json(&format!("/compute/workers/{}", failing.id));
    let files = [&described["executables"], &described["files"]];
    let files = files.iter().flat_map(|list| list.as_array().unwrap());
    let files: Vec<&str> = files.map(|file| file["hash"].as_str().unwrap()).collect();
    assert!(files.len() == 3 && files.iter().all(|file| has(&http, file)));

    // A result's value with the last job that has it.
    let garbage = upload(&http, &content(9, 100_000));
    let retire =
        |lsn: u64| http.post(&format!("/compute/jobs/{lsn}/retire"), &serde_json::json!({}));
    retire(job).unwrap().expect(200);
    gone(&http, &garbage);
    assert!(has(&http, &worker.value.to_string()));
    retire(again).unwrap().expect(200);
    gone(&http, &worker.value.to_string());
    // A worker's files go with it.
    retire(failed).unwrap().expect(200);
    let unregister = http.delete(&format!("/compute/workers/{}", failing.id));
    unregister.unwrap().expect(200);
    for file in files {
        let other = http.json(&format!("/compute/workers/{}", worker.id)).to_string();
        if !other.contains(file) {
            gone(&http, file);
        }
    }
    service.kill();
    let service = Service::start(data.path(), &EAGER);
    let http = Http::new(service.url());
    assert!(!has(&http, &worker.value.to_string()));
}

/// Clients upload, submit and read while garbage is collected all the time.
#[test]
fn nothing_in_use_is_collected() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &[]);
    let value = content(7, 20_000);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data.path(), Temper::Quick, &value).unwrap();
    service.kill();
    let service = Service::start(data.path(), &EAGER);
    let done = AtomicBool::new(false);
    let client = |seed: u64| {
        let http = Http::new(service.url());
        for round in 0..12 {
            let input = content(seed * 1_000 + round, 50_000);
            let id = upload(&http, &input);
            let mut action = crate::workers::action(seed * 1_000 + round);
            action["Inputs"] = serde_json::json!({ "in": { "RawHash": id, "RawSize": 50_000 } });
            let path = format!("/compute/jobs/{}", worker.id);
            // What was uploaded may be gone before it is referred to: then it is asked for.
            let lsn = loop {
                let reply = http.post(&path, &action).unwrap();
                if reply.status == 200 {
                    break reply.value()["lsn"].as_u64().unwrap();
                }
                assert_eq!(reply.expect(404)["need"][0], id.as_str());
                upload(&http, &input);
            };
            let job = ended(&http, lsn);
            assert_eq!(job["state"], "completed", "{job}");
            let read = http.get(&format!("/compute/chunks/{id}")).unwrap();
            assert_eq!((read.status, read.body == input), (200, true));
        }
    };
    std::thread::scope(|scope| {
        let litter = scope.spawn(|| {
            let http = Http::new(service.url());
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                upload(&http, &content(1_000_000 + count, 200_000));
                count += 1;
            }
            gone(&http, &ChunkId::of(&content(1_000_000 + count - 1, 200_000)).to_string());
            count
        });
        let clients: Vec<_> = (1..4).map(|seed| scope.spawn(move || client(seed))).collect();
        for client in clients {
            client.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(litter.join().unwrap() > 3);
    });
}
