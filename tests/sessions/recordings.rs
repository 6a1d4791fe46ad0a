//! What was recorded is kept as long as there is the recording, and no longer.

use std::sync::atomic::{AtomicBool, Ordering};

use ledgerun::domain::ChunkId;
use ledgerun::replay::archive::{Item, Reader};
use serde_json::{Value, json};

use crate::http::Http;
use crate::keeping::{EAGER, gone, has, upload};
use crate::service::Service;
use crate::workers::{Temper, Worker, action, content};
use crate::{ended, submit};

fn start(http: &Http) -> u64 {
    let started = http.post("/compute/record/start", &json!({})).unwrap().expect(200);
    started["recording"].as_u64().unwrap()
}

fn stop(http: &Http) -> Value {
    http.post("/compute/record/stop", &json!({})).unwrap().expect(200)
}

fn archive(http: &Http, recording: u64) -> Vec<u8> {
    let reply = http.get(&format!("/compute/record/{recording}/archive")).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

fn retire(http: &Http, job: u64) {
    http.post(&format!("/compute/jobs/{job}/retire"), &json!({})).unwrap().expect(200);
}

fn unregister(http: &Http, worker: &Worker) {
    http.delete(&format!("/compute/workers/{}", worker.id)).unwrap().expect(200);
}

/// Waits for a collection that began after this was called.
fn collected(http: &Http, seed: u64) {
    for more in [0, 1] {
        let garbage = upload(http, &content(seed + more, 50_000));
        gone(http, &garbage);
    }
}

/// The chunks that an archive should have and hasn't.
fn missing(archive: &[u8]) -> Vec<ChunkId> {
    let mut reader = Reader::open(archive).unwrap();
    let mut missing = Vec::new();
    while let Some(item) = reader.advance().unwrap() {
        if let Item::Chunk { chunk, bytes: None } = item {
            missing.push(chunk);
        }
    }
    missing
}

#[test]
fn what_was_recorded_is_kept_when_all_else_is_let_go() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &["--max-retries", "1", "--retry-backoff", "1ms"]);
    let http = Http::new(service.url());
    let (early, late) = (content(1, 30_000), content(2, 30_000));
    let register = |temper, value: &[u8]| Worker::register(&http, data.path(), temper, value);
    let first = register(Temper::Quick, &early).unwrap();
    let second = register(Temper::Quick, &late).unwrap();
    let failing = register(Temper::Failing, b"nothing").unwrap();
    let before = submit(&http, &first.id, 1);
    ended(&http, before);

    let recording = start(&http);
    let cached = submit(&http, &first.id, 1);
    assert_eq!(ended(&http, cached)["cached"], true, "by a result from before");
    let input = upload(&http, &content(3, 30_000));
    let mut with_input = action(2);
    with_input["Inputs"] = json!({ "in": { "RawHash": input, "RawSize": 30_000 } });
    let run = http.post(&format!("/compute/jobs/{}", second.id), &with_input).unwrap();
    let run = run.expect(200)["lsn"].as_u64().unwrap();
    let failed = submit(&http, &failing.id, 3);
    // It ends when nothing is recorded any more.
    let stopped = stop(&http);
    assert_eq!((&stopped["recording"], &stopped["jobs"]), (&json!(recording), &json!(3)));
    let whole = archive(&http, recording);
    assert_eq!((missing(&whole), ended(&http, failed)["state"].as_str()), (vec![], Some("failed")));
    service.kill();

    let service = Service::start(data.path(), &EAGER);
    let http = Http::new(service.url());
    for job in [before, cached, run, failed] {
        retire(&http, job);
    }
    for worker in [&first, &second, &failing] {
        unregister(&http, worker);
    }
    collected(&http, 100);
    assert_eq!(archive(&http, recording), whole, "nothing holds its chunks but the recording");

    // The same for one that came as an archive. It makes its workers known again.
    let taken = http.import(whole.clone()).unwrap().expect(200);
    let imported = taken["recording"].as_u64().unwrap();
    http.delete(&format!("/compute/record/{recording}")).unwrap().expect(200);
    for worker in [&first, &second, &failing] {
        unregister(&http, worker);
    }
    collected(&http, 200);
    assert_eq!(archive(&http, imported), whole);
    service.kill();
    let service = Service::start(data.path(), &EAGER);
    let http = Http::new(service.url());
    collected(&http, 300);
    assert_eq!(archive(&http, imported), whole, "after a kill, too");

    let held = [ChunkId::of(&early).to_string(), ChunkId::of(&late).to_string(), input];
    assert!(held.iter().all(|chunk| has(&http, chunk)));
    http.delete(&format!("/compute/record/{imported}")).unwrap().expect(200);
    for chunk in held {
        gone(&http, &chunk);
    }
    collected(&http, 400);
    assert_eq!(http.json("/compute/sysinfo")["chunks"]["count"], 0, "nothing is left");
}

#[test]
fn recordings_made_while_chunks_are_collected_are_whole() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &[]);
    let http = Http::new(service.url());
    let worker = |seed| Worker::register(&http, data.path(), Temper::Quick, &content(seed, 9_000));
    let workers: Vec<Worker> = (0..12).map(|seed| worker(seed).unwrap()).collect();
    let lasting = worker(99).unwrap();
    service.kill();
    let service = Service::start(data.path(), &EAGER);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        /// Also when something fails, so that it is told.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        // Each collection has something to do.
        scope.spawn(|| {
            let http = Http::new(service.url());
            let mut seed = 1_000;
            while !done.load(Ordering::Relaxed) {
                upload(&http, &content(seed, 100_000));
                seed += 1;
            }
        });
        let http = Http::new(service.url());
        let mut archives = Vec::new();
        for (number, worker) in (0..).zip(&workers) {
            // Its result has no other job but one from before.
            let before = submit(&http, &worker.id, 1);
            ended(&http, before);
            let recording = start(&http);
            let cached = submit(&http, &worker.id, 1);
            let fresh = submit(&http, &lasting.id, number);
            retire(&http, cached);
            retire(&http, before);
            ended(&http, fresh);
            retire(&http, fresh);
            unregister(&http, worker);
            stop(&http);
            archives.push((recording, archive(&http, recording)));
        }
        for (recording, before) in &archives {
            assert_eq!(missing(before), []);
            assert_eq!(&archive(&http, *recording), before);
        }
    });
}
