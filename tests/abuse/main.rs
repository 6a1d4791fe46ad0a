//! An hour's worth of abuse in half a minute, against the real program: slow senders, half-open
//! connections, ten thousand long polls, guessed tokens, garbage, huge claims and readers that don't
//! read, all at once, while eight good clients submit and collect jobs.
//!
//! A longer run, with latencies worth looking at:
//!
//! ```text
//! LEDGERUN_ABUSE_SECONDS=300 cargo test --release --test abuse -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests, and figures to look at"
)]

mod attacks;
mod good;
#[path = "../support/service.rs"]
mod service;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::config::variable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::attacks::Attack;
use crate::good::Latencies;
use crate::service::Service;

/// What the service may hold in memory, in bytes. What is not optimised holds more for each
/// connection, and here a worker of over a hundred megabytes was uploaded to it first.
const MEMORY_MAX: u64 = if cfg!(debug_assertions) { 256 << 20 } else { 200_000_000 };

/// How long good clients are measured without any abuse.
const IDLE: Duration = Duration::from_secs(5);

/// Connections of the test that are no long polls, and files.
const FILES_BESIDE: u64 = 3_000;

pub(crate) const TOKEN: &str = "a-token-that-nobody-guesses";

/// Long polls that this machine's limit on open files allows, up to ten thousand.
fn polls() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard.saturating_sub(FILES_BESIDE).clamp(100, 10_000)).unwrap()
}

/// The most memory the service has had so far, in bytes, as the system counts it.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn good_clients_are_served_whatever_others_do() {
    let seconds = variable("LEDGERUN_ABUSE_SECONDS").map_or(12, |text| text.parse().unwrap());
    let polls = polls();
    let waiting = polls * 9 / 10;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let data = dir.path().join("data");
    let token_file = token.to_str().unwrap();
    // Patience that ends while the test runs.
    let args = ["--access-token-file", token_file, "--slots", "2", "--log", "error"];
    let args = [&args[..], &["--body-timeout", "4s", "--answer-timeout", "4s"]].concat();
    let service = Service::start(&data, &args);
    good::register(&service, &token);
    let large = good::upload_large(service.url());

    let (idle, mut acknowledged) = good::work(service.url(), IDLE, 0);
    let calm = peak(service.pid());

    let attack = Attack::start(service.url(), polls, large);
    let began = monotonic();
    // Those that find no place come again and again.
    while attack.counts.polls_waiting.load(Ordering::Relaxed) < waiting {
        assert!(began.elapsed() < Duration::from_mins(1), "the polls don't get in: {attack:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (abused, more) = good::work(service.url(), Duration::from_secs(seconds), 1);
    acknowledged.extend(more);
    let counts = Arc::clone(&attack.counts);
    println!("{} jobs; {counts:?}", acknowledged.len());
    let memory = peak(service.pid());
    println!("peak memory: {} MiB before, {} MiB after", calm >> 20, memory >> 20);
    report(&idle, &abused);
    attack.assert_all_happened(waiting);
    assert!(memory < MEMORY_MAX, "{memory} bytes");

    service.kill();
    drop(attack);
    let service = Service::start(&data, &args);
    good::assert_held(service.url(), &acknowledged);
}

/// Prints what good clients noticed. How the two compare is for a quiet machine to say: on a busy
/// one either may be anything.
fn report(idle: &Latencies, abused: &Latencies) {
    let ratio = abused.percentile(99).as_secs_f64() / idle.percentile(99).as_secs_f64();
    println!("idle:  {idle}");
    println!("abuse: {abused}");
    println!("p99 under abuse is {ratio:.1} times that of idle");
}
