//! What must hold whoever is first: ends of queues against late submits, counters against results.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledgerun::clock::monotonic;
use ledgerun::domain::{
    Answer, Command, Host, Millis, NewQueue, Outcome, RunnerName, Timestamp, Usage,
};
use serde_json::{Value, json};

use crate::client::{JSON, Reply};
use crate::fixture::action_json;
use crate::server::Server;

const ROUNDS: u64 = 12;
const CLIENTS: u64 = 4;

/// Ends a test that would go on for ever because what it waits for doesn't come.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(monotonic())
    }

    /// True, for a while.
    fn lasts(&self) -> bool {
        assert!(self.0.elapsed() < Duration::from_secs(40), "it never came to be");
        true
    }
}

impl Server {
    /// Runs the next ready job, if there is one, to an empty output.
    fn complete_any(&self) -> bool {
        let assign = Command::Assign { runner: RunnerName::local(), host: Host::Linux };
        let Answer::Assigned(attempt) = self.execute(assign).answer else { return false };
        self.execute(Command::StartAttempt { attempt, sandbox: "none".into() });
        let output = self.output(&[]).inline().unwrap();
        let outcome = Outcome::Completed { output, cacheable: true, bytes: 7, stderr: None };
        self.execute(Command::FinishAttempt { attempt, outcome, usage: Usage::default() });
        true
    }
}

/// The jobs an answer acknowledged. A refusal names the state that forbids it.
fn accepted(reply: &Reply, states: &[&str]) -> Vec<u64> {
    if reply.status == 409 {
        let code = reply.value()["code"].as_str().unwrap().to_owned();
        assert!(states.iter().any(|state| code == format!("queue_is_{state}")), "{code}");
        return Vec::new();
    }
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.value();
    match answer["results"].as_array() {
        Some(results) => results.iter().filter_map(|item| item["lsn"].as_u64()).collect(),
        None => vec![answer["lsn"].as_u64().unwrap()],
    }
}

/// Several clients submit, one by one and in batches, until they are refused. Meanwhile jobs are run
/// and, when some were accepted, `end` is called. Gives back what was acknowledged.
fn submit_against(
    server: &Server,
    queue: &str,
    round: u64,
    states: &[&str],
    end: impl FnOnce(),
) -> BTreeSet<u64> {
    let begun = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let patience = &Patience::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let begun = &begun;
                scope.spawn(move || {
                    let mut mine = BTreeSet::new();
                    for n in (0..).take_while(|_| patience.lasts()) {
                        let n = (round * CLIENTS + client) * 100_000 + n;
                        let body = if client == 0 {
                            json!({"actions": [action_json(n), action_json(n + 50_000)]})
                        } else {
                            action_json(n)
                        };
                        let post = server.post(&format!("{queue}/jobs")).json(&body);
                        let jobs = accepted(&post.accept(JSON).send(), states);
                        begun.fetch_add(1, Ordering::Relaxed);
                        if jobs.is_empty() {
                            return mine;
                        }
                        mine.extend(jobs);
                    }
                    mine
                })
            })
            .collect();
        let runner = scope.spawn(|| {
            while patience.lasts() && !over.load(Ordering::Relaxed) {
                server.complete_any();
            }
        });
        while patience.lasts() && begun.load(Ordering::Relaxed) < CLIENTS * 2 {
            std::thread::yield_now();
        }
        end();
        let all = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        over.store(true, Ordering::Relaxed);
        runner.join().unwrap();
        all
    })
}

fn state_of(server: &Server, queue: &str, job: u64) -> String {
    let job = server.get(&format!("{queue}/jobs/{job}")).accept(JSON).send();
    job.value()["state"].as_str().unwrap().to_owned()
}

fn counts(queue: &Value) -> [u64; 3] {
    ["active_count", "completed_count", "cancelled_count"]
        .map(|count| queue[count].as_u64().unwrap())
}

#[test]
fn a_submit_that_races_with_a_cancel_is_refused_or_cancelled() {
    let server = Server::start();
    server.register();
    for round in 0..ROUNDS {
        let queue = server.queue(&json!({}));
        let mut answer = Value::Null;
        let jobs = submit_against(&server, &queue, round, &["cancelled"], || {
            answer = server.call("DELETE", &queue).send().expect(200).value();
        });
        let shown = server.show(&queue);
        assert_eq!(shown, answer, "the counts of the answer are final");
        let [active, completed, cancelled] = counts(&shown);
        assert_eq!((active, completed + cancelled), (0, jobs.len() as u64));
        assert!(jobs.len() as u64 >= CLIENTS, "no race: {jobs:?}");
        for job in jobs {
            let state = state_of(&server, &queue, job);
            assert!(["cancelled", "completed"].contains(&&*state), "job {job} is {state}");
        }
    }
}

#[test]
fn a_submit_that_races_with_a_drain_is_refused_or_finished() {
    let server = Server::start();
    server.register();
    for round in 0..ROUNDS {
        let queue = server.queue(&json!({}));
        let jobs = std::thread::scope(|scope| {
            // State and counters are of one moment.
            scope.spawn(|| {
                let patience = Patience::new();
                while patience.lasts() {
                    let shown = server.show(&queue);
                    let [active, ..] = counts(&shown);
                    match shown["state"].as_str().unwrap() {
                        "active" => {}
                        "draining" => assert!(active > 0, "{shown}"),
                        state => {
                            assert_eq!((state, active), ("complete", 0));
                            break;
                        }
                    }
                }
            });
            let jobs = submit_against(&server, &queue, round, &["draining", "complete"], || {
                server.post(&format!("{queue}/drain")).send().expect(200);
            });
            while server.complete_any() {}
            jobs
        });
        let shown = server.show(&queue);
        assert_eq!(shown["state"], "complete");
        assert_eq!(counts(&shown), [0, jobs.len() as u64, 0]);
        assert!(jobs.iter().all(|job| state_of(&server, &queue, *job) == "completed"));
    }
}

/// Expiry and submits go through the one writer, so an expired queue never has an open job.
#[test]
fn a_submit_that_races_with_expiry_is_refused_or_keeps_the_queue() {
    let server = Server::start();
    server.register();
    for round in 0..ROUNDS {
        let new = NewQueue { expire_after: Some(Millis(1)), ..NewQueue::default() };
        let Answer::QueueCreated { queue: id } = server.execute(Command::CreateQueue(new)).answer
        else {
            panic!("no queue was made")
        };
        let queue = format!("/compute/queues/{id}");
        let expired = AtomicBool::new(false);
        let jobs = std::thread::scope(|scope| {
            scope.spawn(|| {
                let patience = Patience::new();
                while patience.lasts() && !expired.load(Ordering::Relaxed) {
                    let quiet_since = Timestamp(0);
                    server.execute(Command::ExpireQueue { queue: id, quiet_since });
                    let shown = server.show(&queue);
                    assert!(shown["state"] == "active" || shown["active_count"] == 0, "{shown}");
                    expired.store(shown["state"] == "expired", Ordering::Relaxed);
                }
            });
            let mut jobs = 0;
            let patience = Patience::new();
            for n in (0..).take_while(|_| patience.lasts()) {
                let post = server.post(&format!("{queue}/jobs"));
                let post = post.json(&action_json(round * 100_000 + n)).accept(JSON).send();
                let Some(job) = accepted(&post, &["expired"]).pop() else { break };
                jobs += 1;
                server.call("DELETE", &format!("{queue}/jobs/{job}")).send().expect(200);
            }
            jobs
        });
        let shown = server.show(&queue);
        assert_eq!(shown["state"], "expired");
        assert_eq!(counts(&shown), [0, 0, jobs]);
    }
}

/// Whoever has seen a result, in the feed or by its job, sees it counted.
#[test]
fn counters_include_every_result_that_was_seen() {
    const JOBS: u64 = 300;
    let server = Server::start();
    server.register();
    let [queue, token] = server.remote_queue(&json!({}));
    let jobs: Vec<u64> = (0..JOBS).map(|n| server.submit_to(&queue, &action_json(n))).collect();
    let patience = Patience::new();
    std::thread::scope(|scope| {
        scope.spawn(|| while server.complete_any() {});
        scope.spawn(|| {
            let (mut since, mut seen) = (0, 0);
            while patience.lasts() && seen < JOBS {
                let page = server.show(&format!("{token}/completed?since={since}&wait=60"));
                since = page["next"].as_u64().unwrap();
                seen += page["completed"].as_array().unwrap().len() as u64;
                let shown = server.show(&token);
                let [active, completed, _] = counts(&shown);
                assert!(completed >= seen, "{seen} were seen, {completed} are counted");
                assert_eq!(active + completed, JOBS, "of one moment");
                assert_eq!(shown["is_complete"], active == 0);
            }
            assert_eq!(server.show(&queue)["is_complete"], true);
        });
        scope.spawn(|| {
            for (seen, job) in (1..).zip(&jobs) {
                // In this order they are run.
                while patience.lasts() && state_of(&server, &queue, *job) != "completed" {
                    std::thread::yield_now();
                }
                let [_, completed, _] = counts(&server.show(&queue));
                assert!(completed >= seen, "{seen} were seen, {completed} are counted");
            }
        });
    });
}
