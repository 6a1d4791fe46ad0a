//! Looking back: what an answer about the past costs beside the same about the present.

use std::time::{Duration, Instant};

use ledgerun::domain::Lsn;

use crate::finished;
use crate::load::{self, Run, request};
use crate::server::{Server, data_dir};

/// Jobs retired before asking, each a record, so that there is a past that the service has seen.
const RETIRED: usize = 10_000;
/// Requests of the kinds that cost little.
const MANY: usize = 2_000;
/// Requests that each need another state: lately, and long ago.
const RECENT: u64 = 200;
const OLD: u64 = 40;

/// Latencies with so many finished jobs, four records each.
pub(crate) fn run() {
    println!("\n# Looking back, against the same query of the present");
    for jobs in [10_000, 100_000] {
        measure(jobs + RETIRED);
    }
}

fn measure(jobs: usize) {
    let data = data_dir();
    let log = finished::write(data.path(), jobs);
    let server = Server::start_on(data, 0);
    let (gone, kept) = log.jobs.split_at(RETIRED);
    let retire =
        gone.iter().map(|job| request("POST", &format!("/compute/jobs/{job}/retire"), "", b""));
    load::run(server.address, 16, retire.collect());
    let last = log.last.0 + RETIRED as u64;
    println!("\n{} jobs, {last} records, {:.0} MB resident", kept.len(), resident(&server));

    let ask = |path: &dyn Fn(u64) -> String, requests: u64| -> Run {
        let requests = (0..requests).map(|number| request("GET", &path(number), "", b""));
        load::run(server.address, 1, requests.collect())
    };
    let job = |number: u64| kept[number as usize * 7_919 % kept.len()];
    let present = |number| format!("/compute/jobs/{}/explain", job(number));
    ask(&present, MANY as u64);
    let live = ask(&present, MANY as u64);
    let told = |name: &str, run: &Run| {
        let (half, most) = (run.quantile(0.5), run.quantile(0.99));
        let ratio = half.as_secs_f64() / live.quantile(0.5).as_secs_f64();
        println!("{name:<44} p50 {:>9} p99 {:>9} ratio {ratio:>9.1}", us(half), us(most));
    };
    told("the present", &live);
    let fixed = Lsn(last - 1_000);
    let paging = |number| format!("{}?at={fixed}", present(number));
    ask(&paging, 10);
    told("one LSN, page after page", &ask(&paging, MANY as u64));
    // Backwards, so that none is made from the one before.
    let recent = |number| format!("{}?at={}", present(number), last - 1 - number * 17);
    told("another of the last 4,000 LSNs each time", &ask(&recent, RECENT));

    let old = |number: u64| {
        let at = log.last.0 / 2 + (number * 7_919 * 13) % (log.last.0 / 2);
        format!("/compute/jobs?limit=10&at={at}")
    };
    let began = Instant::now();
    ask(&|_| format!("/compute/jobs?limit=10&at={}", log.last.0 - 1), 1);
    println!("the first who looks before the start: {}", us(began.elapsed()));
    ask(&old, OLD);
    told("another LSN of the second half each time", &ask(&|number| old(number + OLD), OLD));
    println!("{:.0} MB resident after it", resident(&server));
}

fn us(time: Duration) -> String {
    format!("{} us", time.as_micros())
}

fn resident(server: &Server) -> f64 {
    server.resident() as f64 / 1e6
}
