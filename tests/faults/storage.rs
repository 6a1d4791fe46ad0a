//! Storage that fails while the service runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::ChunkId;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::http::Http;
use crate::service::Service;
use crate::witness::missing;
use crate::workers::{Temper, Worker, action, content};

const OPTIONS: [&str; 4] = ["--slots", "0", "--min-free-space", "0"];

/// From now on the service can't make files longer than this, in bytes.
fn limit_files(service: &Service, bytes: u64) {
    let pid = Pid::from_raw(i32::try_from(service.pid()).unwrap());
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Calls `next` until it isn't acknowledged, then checks how the service ends.
fn until_it_fails(service: Service, mut next: impl FnMut() -> Option<u16>) {
    let begun = monotonic();
    let last = loop {
        assert!(begun.elapsed() < Duration::from_mins(1), "it never fails");
        match next() {
            Some(200 | 201) => {}
            other => break other,
        }
    };
    // Whoever waited for the failed write is told; a later one may find nobody.
    assert!(matches!(last, Some(500 | 503) | None), "{last:?}");
    let ended = service.wait();
    assert_eq!(ended.status.code(), Some(6), "{}", ended.stderr);
}

#[test]
fn a_log_that_cannot_be_written_ends_the_service_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, data, Temper::Quick, b"x").unwrap();
    limit_files(&service, length(&data.join("log/db")) + (600 << 10));
    let mut acknowledged = Vec::new();
    let mut number = 0;
    until_it_fails(service, || {
        number += 1;
        let mut action = action(number);
        action["Constants"]["Padding"] = "x".repeat(1_500).into();
        let reply = http.post(&format!("/compute/jobs/{}", worker.id), &action).ok()?;
        if reply.status == 200 {
            acknowledged.push(reply.value());
        } else {
            assert_eq!(reply.expect(503)["code"], "log_poisoned");
        }
        Some(reply.status)
    });
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());

    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    for job in &acknowledged {
        let found = http.get(&format!("/compute/jobs/{}", job["lsn"])).unwrap().expect(202);
        assert_eq!(found["action"], job["action"]);
    }
    println!("{} jobs acknowledged until the log failed, 0 lost", acknowledged.len());
}

#[test]
fn a_chunk_store_that_cannot_be_written_ends_the_service_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    limit_files(&service, length(&data.join("chunks/g000001/db")) + (6 << 20));
    let mut acknowledged = Vec::new();
    let mut seed = 0;
    until_it_fails(service, || {
        seed += 1;
        let bytes = content(seed, 200_000);
        let id = ChunkId::of(&bytes);
        let status = http.put_chunk(&id.to_string(), bytes).ok()?.status;
        if status == 201 {
            acknowledged.push(id);
        }
        Some(status)
    });
    assert!(acknowledged.len() > 5, "{}", acknowledged.len());

    let service = Service::start(data, &OPTIONS);
    let http = Http::new(service.url());
    assert_eq!(missing(&http, acknowledged.iter().copied()), [""; 0]);
    for id in &acknowledged {
        let body = http.get(&format!("/compute/chunks/{id}")).unwrap().body;
        assert_eq!(ChunkId::of(&body), *id);
    }
    println!("{} chunks acknowledged until the store failed, 0 lost", acknowledged.len());
}
