//! A disk that fills up.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use ledgerun::domain::ChunkId;

use crate::disk;
use crate::http::Http;
use crate::service::Service;
use crate::stops::within;
use crate::witness::missing;
use crate::workers::{Temper, Worker, action, content};

/// The first is more than is uploaded between two looks at the free space, which come every second. The
/// second is still more than what giving up the ballast frees.
const OPTIONS: [&str; 4] = ["--min-free-space", "400MiB", "--slots", "2"];
const OPTIONS_AFTER: [&str; 4] = ["--min-free-space", "80MiB", "--slots", "2"];

/// Writes until not a byte fits any more.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4_096, 1] {
        loop {
            match file.write_all(&vec![7; size]) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    break;
                }
            }
        }
    }
    // What was promised without blocks fails here at the latest.
    let _ = file.sync_all();
}

#[test]
fn a_full_disk_refuses_work_and_loses_nothing() {
    let Some(disk) = disk(1_024) else { return };
    let data = disk.path().join("data");
    let service = Service::start(&data, &OPTIONS);
    let http = Http::new(service.url());
    let worker = Worker::register(&http, &data, Temper::Quick, b"the result").unwrap();
    let jobs = format!("/compute/jobs/{}", worker.id);
    let mut acknowledged = Vec::new();
    let lsn = http.post(&jobs, &action(0)).unwrap().expect(200)["lsn"].clone();
    let job = format!("/compute/jobs/{lsn}");

    // Nearly full: told so, and everything else goes on.
    let refused = loop {
        assert!(acknowledged.len() < 1_024, "more than the disk holds");
        let bytes = content(acknowledged.len() as u64, 1 << 20);
        let id = ChunkId::of(&bytes);
        let reply = http.put_chunk(&id.to_string(), bytes).unwrap();
        if reply.status != 201 {
            break reply;
        }
        acknowledged.push(id);
    };
    assert_eq!(refused.expect(507)["code"], "insufficient_storage");
    assert_eq!(http.post(&jobs, &action(1)).unwrap().expect(507)["code"], "insufficient_storage");
    assert_eq!(http.get("/compute/ready").unwrap().status, 200);
    within(Duration::from_secs(20), || http.get(&job).unwrap().status == 200);
    let intact = |http: &Http| {
        assert_eq!(missing(http, acknowledged.iter().copied()), [""; 0]);
        for id in &acknowledged {
            let body = http.get(&format!("/compute/chunks/{id}")).unwrap().body;
            assert_eq!(ChunkId::of(&body), *id);
        }
        assert_eq!(http.json(&job)["state"], "completed");
    };
    intact(&http);

    // Filled by somebody else to the last byte, while it runs and before it starts.
    let filler = disk.path().join("filler");
    fill(&filler);
    intact(&http);
    assert_eq!(http.post(&jobs, &action(1)).unwrap().status, 507);
    service.kill();
    fill(&disk.path().join("filler-2"));
    let service = Service::start(&data, &OPTIONS_AFTER);
    let http = Http::new(service.url());
    intact(&http);
    assert!(!data.join("ballast").exists(), "the ballast was given up");
    assert_eq!(http.post(&jobs, &action(1)).unwrap().status, 507);

    // With room again, work is taken again, without a restart.
    std::fs::remove_file(&filler).unwrap();
    within(Duration::from_secs(5), || http.post(&jobs, &action(1)).unwrap().status == 200);
    println!("{} chunks acknowledged on a disk that was full, 0 lost", acknowledged.len());
}
