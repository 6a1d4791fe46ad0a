//! No-op jobs end to end, against a bare loop that spawns the same program.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ledgerun::client::Client;
use ledgerun::domain::Lsn;

use crate::load::{self, request};
use crate::server::{Server, data_dir};
use crate::{actions, median};

const JOBS: usize = 4_000;
const ROUNDS: usize = 3;

/// Jobs a second and spawns a second, with as many in flight as there are slots.
pub(crate) fn run() {
    let dir = data_dir();
    let program = actions::compile_noop(dir.path());
    let slots = std::thread::available_parallelism().map_or(1, usize::from);
    println!("\n# No-op jobs end to end, {slots} slots, {JOBS} jobs; medians of {ROUNDS}");
    let (mut jobs, mut spawns) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        jobs.push(end_to_end(&program, slots));
        spawns.push(bare_loop(&program, dir.path(), slots));
    }
    let (jobs, spawns) = (median(jobs), median(spawns));
    println!("jobs: {jobs:.0}/s, bare spawn loop: {spawns:.0}/s, ratio {:.2}", jobs / spawns);
}

/// Submits all jobs, then waits for the last completion; the clock runs from the first submission.
fn end_to_end(program: &Path, slots: usize) -> f64 {
    let server = Server::start(slots);
    let base = format!("http://{}", server.address);
    let worker = actions::register(&base, program);
    let path = format!("/compute/jobs/{worker}");
    let headers = "Content-Type: application/x-ue-cb\r\n";
    let requests = (0..JOBS).map(|n| request("POST", &path, headers, &actions::action(n)));
    let began = Instant::now();
    load::run(server.address, 16, requests.collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new(&base).unwrap();
        let (mut since, mut ended) = (Lsn::ZERO, 0);
        while ended < JOBS {
            let page = client.completed(since, 10_000, Duration::from_secs(30)).await.unwrap();
            for completion in &page.completed {
                assert_eq!(completion.state, "completed");
            }
            ended += page.completed.len();
            since = page.next;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    JOBS as f64 / began.elapsed().as_secs_f64()
}

/// Spawns the program in a folder per thread and waits for it, `slots` at a time.
fn bare_loop(program: &Path, dir: &Path, slots: usize) -> f64 {
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for slot in 0..slots {
            let (next, folder) = (&next, dir.join(format!("slot-{slot}")));
            std::fs::create_dir_all(&folder).unwrap();
            scope.spawn(move || {
                while next.fetch_add(1, Ordering::Relaxed) < JOBS {
                    let status = Command::new(program)
                        .arg("-Build=Build.action")
                        .current_dir(&folder)
                        .stdin(Stdio::null())
                        .status()
                        .unwrap();
                    assert!(status.success());
                }
            });
        }
    });
    JOBS as f64 / began.elapsed().as_secs_f64()
}
