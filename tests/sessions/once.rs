//! Many clients, each with a queue of its own, through kills of the service: every completion is
//! collected exactly once, and none of anybody else's.
//!
//! The whole of it, 1,000 jobs for each client, takes some minutes:
//! `LEDGERUN_TEST_SESSION_JOBS=1000 cargo test --release --test sessions exactly_once -- --nocapture`

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use ledgerun::domain::ChunkId;
use ledgerun::wire::output::OutputBuilder;
use serde_json::{Value, json};

use crate::eventually;
use crate::http::{Http, Reply, Unknown};
use crate::service::Service;

const CLIENTS: u64 = 64;
const KILLS: usize = 3;
/// Actions a client submits at once.
const BATCH: u64 = 16;

const BUILD_SYSTEM: &str = "4c1f8f8e-3c0b-4a53-9d5e-0e5b6f6f0a01";
const VERSION: &str = "6d0f1a57-2f0f-4a0e-9e50-0b8a4fd6c102";

#[expect(clippy::disallowed_methods, reason = "how much a test does is the caller's choice")]
fn jobs_each() -> u64 {
    let set = std::env::var("LEDGERUN_TEST_SESSION_JOBS").ok();
    set.map_or(8, |jobs| jobs.parse().unwrap())
}

/// What one client has.
struct Session {
    queue: u64,
    token: String,
    /// Jobs that the service said it had taken.
    acknowledged: BTreeSet<u64>,
    /// Completions in the order they were collected: the record that ended it, the job.
    collected: Vec<(u64, u64)>,
}

/// Where the service is now.
struct Address(RwLock<String>);

impl Address {
    /// Asks until there is an answer of a service that takes work.
    fn ask(&self, ask: impl Fn(&Http) -> Result<Reply, Unknown>) -> Value {
        loop {
            let http = Http::new(&self.0.read().unwrap());
            while let Ok(reply) = ask(&http) {
                if reply.status != 503 {
                    return reply.expect(200);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A worker whose process writes one constant and ends.
fn register(http: &Http, value: &[u8]) -> String {
    let answer = OutputBuilder::new().build().into_bytes();
    let octal = answer.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:03o}"));
    let script = format!("#!/bin/sh\n# {value:?}\nprintf '{octal}' >Build.output\n");
    let id = ChunkId::of(script.as_bytes()).to_string();
    assert!(http.put_chunk(&id, script.clone().into_bytes()).unwrap().status < 300);
    let descriptor = json!({
        "name": "noop",
        "path": "noop",
        "host": "Linux",
        "buildsystem_version": BUILD_SYSTEM,
        "executables": [{ "name": "noop", "hash": id, "size": script.len() }],
        "functions": [{ "name": "Noop", "version": VERSION }],
    });
    let reply = http.post("/compute/workers", &descriptor).unwrap().expect(200);
    reply["worker"].as_str().unwrap().to_owned()
}

fn actions(client: u64, numbers: std::ops::Range<u64>) -> Value {
    let action = |number: u64| {
        json!({
            "Function": "Noop",
            "FunctionVersion": VERSION,
            "BuildSystemVersion": BUILD_SYSTEM,
            "Constants": { "Client": client, "Number": number },
        })
    };
    json!({ "actions": numbers.map(action).collect::<Vec<_>>() })
}

impl Session {
    fn open(address: &Address) -> Self {
        let made = address.ask(|http| http.post("/compute/queues/remote", &json!({})));
        Self {
            queue: made["queue_id"].as_u64().unwrap(),
            token: made["queue_token"].as_str().unwrap().to_owned(),
            acknowledged: BTreeSet::new(),
            collected: Vec::new(),
        }
    }

    /// An answer that gets lost makes it submit again: more jobs, but none less.
    fn submit(&mut self, address: &Address, worker: &str, actions: &Value) {
        let path = format!("/compute/queues/{}/jobs/{worker}", self.token);
        let answer = address.ask(|http| http.post(&path, actions));
        for result in answer["results"].as_array().unwrap() {
            self.acknowledged.insert(result["lsn"].as_u64().unwrap_or_else(|| panic!("{result}")));
        }
    }

    /// Collects a page, and remembers nothing but how far it came.
    fn collect(&mut self, address: &Address) -> usize {
        let since = self.collected.last().map_or(0, |(completed, _)| *completed);
        let token = &self.token;
        let path = format!("/compute/queues/{token}/completed?since={since}&limit=10&wait=1");
        let page = address.ask(|http| http.get(&path));
        let page = page["completed"].as_array().unwrap();
        for job in page {
            assert_eq!(job["queue"], self.queue, "{job}");
            assert_eq!(job["state"], "completed", "{job}");
            let number = |field: &str| job[field].as_u64().unwrap();
            self.collected.push((number("completed_lsn"), number("lsn")));
        }
        page.len()
    }

    fn status(&self, address: &Address) -> Value {
        address.ask(|http| http.get(&format!("/compute/queues/{}", self.token)))
    }
}

/// One client from its first request to its last completion.
fn client(number: u64, address: &Address, worker: &str, progress: &AtomicUsize) -> Session {
    let jobs = jobs_each();
    let mut session = Session::open(address);
    let mut next = 0;
    while next < jobs {
        let upto = jobs.min(next + BATCH);
        session.submit(address, worker, &actions(number, next..upto));
        next = upto;
        progress.fetch_add(session.collect(address), Ordering::Relaxed);
    }
    loop {
        let done = session.status(address)["is_complete"] == true;
        let found = session.collect(address);
        progress.fetch_add(found, Ordering::Relaxed);
        if done && found == 0 {
            return session;
        }
    }
}

fn start(data: &Path) -> Service {
    Service::start(data, &["--slots", "4"])
}

#[test]
fn exactly_once_for_each_of_many_clients() {
    let data = tempfile::tempdir().unwrap();
    let service = start(data.path());
    let worker = register(&Http::new(service.url()), data.path().as_os_str().as_encoded_bytes());
    let address = Address(RwLock::new(service.url().to_owned()));
    let progress = AtomicUsize::new(0);
    let total = usize::try_from(CLIENTS * jobs_each()).unwrap();
    let sessions: Vec<Session> = std::thread::scope(|scope| {
        let (address, worker, progress) = (&address, &worker, &progress);
        let clients =
            (0..CLIENTS).map(|n| scope.spawn(move || client(n, address, worker, progress)));
        let clients: Vec<_> = clients.collect();
        let mut service = service;
        for kill in 1..=KILLS {
            let wanted = total * kill / (KILLS + 1);
            while progress.load(Ordering::Relaxed) < wanted {
                assert!(!clients.iter().all(ScopedJoinHandle::is_finished), "before kill {kill}");
                std::thread::sleep(Duration::from_millis(5));
            }
            service.kill();
            service = start(data.path());
            service.url().clone_into(&mut address.0.write().unwrap());
        }
        let sessions = clients.into_iter().map(|client| client.join().unwrap()).collect();
        service.kill();
        sessions
    });
    let service = start(data.path());
    service.url().clone_into(&mut address.0.write().unwrap());
    check(&sessions, &address);
}

fn check(sessions: &[Session], address: &Address) {
    let mut everybody = BTreeSet::new();
    let (mut jobs, mut repeated) = (0, 0);
    for session in sessions {
        let collected: Vec<u64> = session.collected.iter().map(|(_, job)| *job).collect();
        for job in &collected {
            assert!(everybody.insert(*job), "job {job} was collected twice");
        }
        let missing: Vec<_> =
            session.acknowledged.iter().filter(|job| !collected.contains(job)).collect();
        assert!(missing.is_empty(), "never collected: {missing:?}");
        assert!(session.acknowledged.len() as u64 >= jobs_each());
        let status = session.status(address);
        assert_eq!(status["completed_count"], collected.len(), "{status}");
        for none in ["active_count", "failed_count", "abandoned_count", "cancelled_count"] {
            assert_eq!(status[none], 0, "{status}");
        }
        // The feed from its beginning is what was collected in pieces.
        let path = format!("/compute/queues/{}/completed?limit=10000", session.token);
        let feed = address.ask(|http| http.get(&path));
        let feed = feed["completed"].as_array().unwrap();
        let feed: Vec<u64> = feed.iter().map(|job| job["lsn"].as_u64().unwrap()).collect();
        assert_eq!(feed, collected);
        jobs += collected.len();
        repeated += collected.len() - session.acknowledged.len();
    }
    let told = format!("{CLIENTS} clients, {KILLS} kills: {jobs} jobs once, {repeated} unheard\n");
    std::io::stdout().write_all(told.as_bytes()).unwrap();
    eventually("nothing is left", || {
        let counts = address.ask(|http| http.get("/compute/jobs?state=pending"));
        counts["jobs"].as_array().unwrap().is_empty().then_some(())
    });
}
