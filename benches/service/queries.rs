//! Queries against the number of jobs in the log, and memory of a finished job.

use std::net::SocketAddr;
use std::time::Instant;

use ledgerun::domain::Lsn;

use crate::finished::{self, Written, queue};
use crate::load::{self, Run, request};
use crate::server::{Server, data_dir};

const FEW: usize = 1_000;
const SOME: usize = 100_000;
const MANY: usize = 1_000_000;
/// Requests of each kind, all of one connection.
const REQUESTS: usize = 4_000;

/// A service whose log holds many finished jobs.
struct Full {
    server: Server,
    written: Written,
}

/// Latencies with [`FEW`] and [`MANY`] jobs, and what the jobs above [`SOME`] take in memory.
pub(crate) fn run() {
    println!("\n# Cancelling a queue: the fold of its record, for which readers wait");
    for jobs in [10_000, 100_000] {
        println!("{jobs:>9} jobs waiting: {:.1} ms", finished::cancel(jobs).as_secs_f64() * 1e3);
    }
    println!("\n# Queries, and memory of finished jobs");
    println!("     jobs   fold us/record   start s   resident MB");
    let (few, some, many) = (start(FEW), start(SOME), start(MANY));
    let more = many.server.resident().saturating_sub(some.server.resident());
    println!("bytes per finished job: {:.0}", more as f64 / (MANY - SOME) as f64);
    drop(some);
    println!(
        "\nquery               {FEW} jobs: p50 us   p99 us   {MANY} jobs: p50 us   p99 us   ratio of p50"
    );
    for (name, path, headers) in KINDS {
        // In turn, once to warm up, so that a machine that drifts moves both.
        let measure = |full: &Full| ask(full, path, headers);
        let (_, _, few, many) = (measure(&few), measure(&many), measure(&few), measure(&many));
        println!(
            "{name:<30} {:>10} {:>8} {:>22} {:>8} {:>14.2}",
            few.quantile(0.5).as_micros(),
            few.quantile(0.99).as_micros(),
            many.quantile(0.5).as_micros(),
            many.quantile(0.99).as_micros(),
            many.quantile(0.5).as_secs_f64() / few.quantile(0.5).as_secs_f64(),
        );
    }
}

fn start(jobs: usize) -> Full {
    let data = data_dir();
    let written = finished::write(data.path(), jobs);
    let began = Instant::now();
    let server = Server::start_on(data, 0);
    println!(
        "{jobs:>9} {:>16.2} {:>9.2} {:>13.1}",
        written.fold.as_secs_f64() * 1e6,
        began.elapsed().as_secs_f64(),
        server.resident() as f64 / 1e6
    );
    Full { server, written }
}

/// A path for the request of this number.
type PathOf = fn(&Written, usize) -> String;

const JSON: &str = "Accept: application/json\r\n";

/// What is asked: a name, the path, and headers.
const KINDS: [(&str, PathOf, &str); 9] = [
    ("a job", |log, n| format!("/compute/jobs/{}", spread(log, n)), JSON),
    (
        "a job's result",
        |log, n| format!("/compute/jobs/{}", spread(log, n)),
        "Accept: application/x-ue-cbpkg\r\n",
    ),
    ("the feed's first 100", |_, _| "/compute/jobs/completed?limit=100".into(), JSON),
    (
        "100 from the feed's middle",
        |log, n| format!("/compute/jobs/completed?limit=100&since={}", middle(log, n)),
        JSON,
    ),
    ("a queue", |_, n| format!("/compute/queues/{}", queue(n)), JSON),
    (
        "a queue's first 10 ends",
        |_, n| format!("/compute/queues/{}/completed?limit=10", queue(n)),
        JSON,
    ),
    (
        "10 from its feed's middle",
        |log, n| {
            let (queue, since) = (queue(n), middle(log, n));
            format!("/compute/queues/{queue}/completed?limit=10&since={since}")
        },
        JSON,
    ),
    ("a queue's first 10 jobs", |_, n| format!("/compute/jobs?limit=10&queue={}", queue(n)), JSON),
    (
        "10 from a queue's middle",
        |log, n| {
            let (queue, after) = (queue(n), middle(log, n));
            format!("/compute/jobs?limit=10&queue={queue}&after={after}")
        },
        JSON,
    ),
];

/// Some job, anywhere.
fn spread(log: &Written, number: usize) -> Lsn {
    // A prime step visits jobs far from each other.
    log.jobs[number * 7_919 % log.jobs.len()]
}

/// A position about the middle of the log, with a full page behind it.
fn middle(log: &Written, number: usize) -> Lsn {
    Lsn(log.last.0 / 4 + (number as u64 * 7_919) % (log.last.0 / 4))
}

fn ask(full: &Full, path: PathOf, headers: &str) -> Run {
    let address: SocketAddr = full.server.address;
    let requests = (0..REQUESTS)
        .map(|number| request("GET", &path(&full.written, number), headers, b""))
        .collect();
    load::run(address, 1, requests)
}
