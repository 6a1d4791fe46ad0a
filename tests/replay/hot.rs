//! Results are let go and chunks collected as fast as can be, while recordings need them.

use std::sync::atomic::{AtomicBool, Ordering};

use ledgerun::domain::ChunkId;
use serde_json::json;

use crate::api;
use crate::eventually;
use crate::http::Http;
use crate::scripts::{Script, action, content};
use crate::service::Service;

/// Keep one result, and promise nothing about what nobody refers to.
const HOT: [&str; 10] = [
    "--result-retention",
    "count=1",
    "--chunk-collection",
    "50ms",
    "--chunk-grace",
    "0s",
    "--slots",
    "3",
    "--min-free-space",
    "0",
];

fn gone(http: &Http, chunk: &str) {
    eventually("the chunk is collected", || {
        let status = http.get(&format!("/compute/chunks/{chunk}")).unwrap().status;
        (status == 404).then_some(())
    });
}

/// Waits until whatever was garbage by now has been collected.
fn collected(http: &Http, seed: u64) {
    let litter = content(1_000_000 + seed, 5_000);
    let id = ChunkId::of(&litter).to_string();
    assert!(matches!(http.put_chunk(&id, litter).unwrap().status, 200 | 201));
    gone(http, &id);
}

/// Submits jobs with inputs of their own, and with values of their own: one worker for each.
fn work(http: &Http, round: u64) -> Vec<u64> {
    let jobs = (0..6).map(|number| {
        let value = value(round * 10 + number);
        // So many that the output object is a chunk, too.
        let names: Vec<String> = (0..90).map(|number| format!("value {number}")).collect();
        let mut values: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        values.push(("v", &value));
        let script = Script { name: "own", functions: &["Alpha"], before: "", values: &values };
        let worker = script.register(http).unwrap();
        let input = content(7_000 + round * 10 + number, 40_000);
        let id = ChunkId::of(&input).to_string();
        let mut action = action("Alpha", round * 10 + number);
        action["Inputs"] = json!({ "in": { "RawHash": id, "RawSize": input.len() } });
        // What was uploaded may be gone before it is referred to: then it is asked for.
        eventually("the job is taken", || {
            http.put_chunk(&id, input.clone()).unwrap();
            let reply = http.post(&format!("/compute/jobs/{worker}"), &action).unwrap();
            (reply.status != 404).then(|| reply.expect(200)["lsn"].as_u64().unwrap())
        })
    });
    jobs.collect()
}

fn value(number: u64) -> Vec<u8> {
    content(number, 60_000)
}

/// Whether the service has the value of that number.
fn has(http: &Http, number: u64) -> bool {
    let id = ChunkId::of(&value(number));
    http.get(&format!("/compute/chunks/{id}")).unwrap().status == 200
}

/// Says so when it is dropped: a failing test ends, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_a_recording_needs_outlives_retention_and_collection() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::start(data.path(), &HOT);
    let http = Http::new(service.url());
    // A job that ends while it is recorded would have its result kept, too.
    for lsn in work(&http, 1) {
        eventually("the job ends", || {
            let status = http.get(&format!("/compute/jobs/{lsn}")).unwrap().status;
            (status != 202).then_some(())
        });
    }
    let recording = api::start(&http);
    let mut jobs = work(&http, 2);
    collected(&http, 1);
    jobs.extend(work(&http, 3));
    api::stop(&http);
    api::settled(&http, recording);
    work(&http, 4);
    eventually("results are let go", || {
        let feed = http.json("/compute/jobs/completed?limit=10000");
        (feed["completed"].as_array().unwrap().len() == 1).then_some(())
    });
    collected(&http, 2);
    // Of what was not recorded the newest alone is held.
    eventually("what was there before is collected", || {
        (10..16).all(|number| !has(&http, number)).then_some(())
    });
    assert!((20..26).chain(30..36).all(|number| has(&http, number)));
    let archive = api::archive(&http, recording);

    // While it is exported and runs again, garbage is made and collected.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = Over(&done);
        let litter = scope.spawn(|| {
            let http = Http::new(service.url());
            let mut rounds = 100;
            while !done.load(Ordering::Relaxed) {
                collected(&http, rounds);
                rounds += 1;
            }
            rounds
        });
        for _ in 0..3 {
            let replay = api::replay(&http, recording, &json!({}));
            assert!(api::archive(&http, recording) == archive, "something of it is lost");
            let report = api::done(&http, replay);
            report.all_matched();
            assert_eq!(report.total, jobs.len() as u64);
        }
        assert!(api::archive(&http, recording) == archive, "something of it is lost");
        drop(over);
        assert!(litter.join().unwrap() > 100);
    });

    // Once it is forgotten, all of that goes, but for what the newest result holds.
    http.delete(&format!("/compute/record/{recording}")).unwrap().expect(200);
    eventually("what was recorded is collected", || {
        let held = (20..26).chain(30..36).filter(|number| has(&http, *number)).count();
        (held <= 1).then_some(())
    });
}
