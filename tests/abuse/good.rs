//! Clients that want their jobs done.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ledgerun::client::{Client, SubmitOptions};
use ledgerun::clock::monotonic;
use ledgerun::domain::{ChunkId, Lsn};
use serde_json::{Value, json};

use crate::TOKEN;
use crate::service::Service;

const CLIENTS: usize = 8;

/// Between two jobs of a client.
const PAUSE: Duration = Duration::from_millis(100);

/// How long requests took.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.percentile(50), self.percentile(99), self.percentile(100));
        write!(f, "{} requests, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}", self.0.len())
    }
}

fn client(url: &str) -> Client {
    Client::new(url).unwrap().with_token(Some(TOKEN.into()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Registers the built-in worker, by the command line.
pub(crate) fn register(service: &Service, token: &Path) {
    let mut add = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
    add.args(["--host", service.url(), "--token-file"]).arg(token);
    add.args(["worker", "add", "--builtin"]).stdout(Stdio::null());
    assert!(add.status().unwrap().success());
}

/// Stores content larger than what sockets buffer.
pub(crate) fn upload_large(url: &str) -> ChunkId {
    let content = vec![7; 32 << 20];
    let id = ChunkId::of(&content);
    runtime().block_on(client(url).put_chunk(id, content.into())).unwrap();
    id
}

fn action(round: usize, client: usize, number: usize) -> Value {
    json!({
        "Function": "Exec", "FunctionVersion": "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
        "BuildSystemVersion": "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10",
        "Constants": {"Exec": {"Argv": ["true", round.to_string(), client.to_string(), number.to_string()]}},
    })
}

/// Submits jobs and collects them for so long. Gives the times that requests took, and all jobs
/// that were acknowledged. Nothing may fail.
pub(crate) fn work(url: &str, time: Duration, round: usize) -> (Latencies, Vec<Lsn>) {
    let parts: Vec<(Vec<Duration>, Vec<Lsn>)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || runtime().block_on(one(url, time, round, number))))
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut times: Vec<Duration> = parts.iter().flat_map(|(times, _)| times.clone()).collect();
    times.sort_unstable();
    (Latencies(times), parts.into_iter().flat_map(|(_, jobs)| jobs).collect())
}

async fn one(url: &str, time: Duration, round: usize, number: usize) -> (Vec<Duration>, Vec<Lsn>) {
    let client = client(url);
    let (mut times, mut jobs) = (Vec::new(), Vec::new());
    let began = monotonic();
    while began.elapsed() < time || jobs.is_empty() {
        let action = action(round, number, jobs.len());
        let sent = monotonic();
        let job = client.submit(&action, SubmitOptions::default()).await.unwrap().lsn;
        times.push(sent.elapsed());
        jobs.push(job);
        collect(&client, job).await;
        let sent = monotonic();
        let seen = client.job(job).await.unwrap();
        times.push(sent.elapsed());
        assert_eq!(seen["state"], "completed", "{seen}");
        tokio::time::sleep(PAUSE).await;
    }
    (times, jobs)
}

/// Waits for a job by the feed, as long as it takes.
async fn collect(client: &Client, job: Lsn) {
    let mut since = job;
    loop {
        let page = client.completed(since, 1_000, Duration::from_secs(30)).await.unwrap();
        if page.completed.iter().any(|ended| ended.lsn == job) {
            return;
        }
        since = page.next;
    }
}

/// Everything acknowledged is still there.
pub(crate) fn assert_held(url: &str, jobs: &[Lsn]) {
    runtime().block_on(async {
        let client = client(url);
        for job in jobs {
            let held = client.job(*job).await;
            assert!(held.is_ok(), "job {job} was acknowledged: {held:?}");
        }
    });
}
