//! Looking back: every answer is given again, whatever has happened since.

use std::collections::BTreeMap;
use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::{Command, WorkerId};
use ledgerun::http::{HttpConfig, ROUTES};
use serde_json::json;

use crate::client::{CB, JSON, PKG};
use crate::fixture::{action_id, action_json};
use crate::server::Server;

/// What was answered to a path and an `Accept`.
type Told = BTreeMap<(String, &'static str), (u16, String)>;

/// A server and all that it ever answered, by LSN.
struct Witness {
    server: Server,
    worker: WorkerId,
    jobs: Vec<u64>,
    queues: Vec<String>,
    told: BTreeMap<u64, Told>,
}

impl Witness {
    /// Every read there is, of everything that was ever made and of what is still to come.
    fn paths(&self) -> Vec<(String, &'static str)> {
        let worker = self.worker;
        let mut paths = Vec::new();
        let mut add = |path: String| paths.push((path, JSON));
        add("/compute/workers".into());
        add(format!("/compute/workers/{worker}"));
        add("/compute/queues?limit=2".into());
        add("/compute/queues?after=1".into());
        let actions = (0..4).map(|n| action_id(&action_json(n)));
        for action in actions {
            add(format!("/compute/jobs/{worker}/{action}"));
        }
        let queues = self.queues.iter().map(|queue| (format!("{queue}/completed"), queue.clone()));
        let outside = ("/compute/jobs/completed".to_owned(), "/compute".to_owned());
        for (feed, base) in queues.chain([outside]) {
            if base != "/compute" {
                add(base.clone());
            }
            add(feed.clone());
            add(format!("{feed}?since=9&limit=2"));
            add(format!("{base}/jobs"));
            add(format!("{base}/jobs?after=5&limit=3"));
            add(format!("{base}/jobs/{worker}"));
            for state in ["pending", "running", "completed", "failed", "cancelled"] {
                add(format!("{base}/jobs?state={state}"));
            }
        }
        let next = self.jobs.last().map_or(1, |job| job + 1);
        for job in self.jobs.iter().copied().chain([next]) {
            for tail in ["", "/events", "/explain"] {
                add(format!("/compute/jobs/{job}{tail}"));
                add(format!("{}/jobs/{job}{tail}", self.queues[1]));
            }
        }
        let spelled = [("/compute/jobs".to_owned(), CB), ("/compute/queues".to_owned(), CB)];
        let results = self.jobs.iter().map(|job| (format!("/compute/jobs/{job}"), PKG));
        paths.extend(spelled.into_iter().chain(results));
        paths
    }

    fn ask(&self, path: &str, accept: &'static str) -> (u16, String, u64) {
        let reply = self.server.get(path).accept(accept).send();
        let text = if reply.media() == PKG { hex::encode(&reply.body) } else { reply.text() };
        (reply.status, text, reply.lsn())
    }

    /// Asks everything in the present and remembers the answers.
    fn remember(&mut self) {
        let mut told = Told::new();
        let now = self.server.engine.durable().0;
        for (path, accept) in self.paths() {
            let (status, text, lsn) = self.ask(&path, accept);
            assert_eq!(lsn, now, "nothing happens meanwhile");
            told.insert((path, accept), (status, text));
        }
        self.told.insert(now, told);
    }

    /// Asks everything that was answered at `lsn` again.
    #[track_caller]
    fn look_back(&self, lsn: u64) {
        for ((path, accept), (status, text)) in &self.told[&lsn] {
            let sign = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{sign}at={lsn}");
            let (now_status, now_text, now_lsn) = self.ask(&path, accept);
            assert_eq!((now_status, &now_text), (*status, text), "GET {path} as {accept}");
            assert_eq!(now_lsn, lsn, "GET {path}");
        }
    }
}

/// A history with a bit of everything. Each step is followed by a look at all of it.
fn history(witness: &mut Witness) {
    let numbered = witness.server.queue(&json!({"name": "first", "metadata": {"a": 1}}));
    witness.queues.push(numbered);
    let remote = witness.server.remote_queue(&json!({"max_running": 2}));
    witness.queues.extend(remote);
    witness.remember();
    let submit = |witness: &mut Witness, at: usize, n: u64| {
        let queue = witness.queues.get(at).cloned();
        let job = match queue {
            Some(queue) => witness.server.submit_to(&queue, &action_json(n)),
            None => witness.server.submit(&action_json(n)),
        };
        witness.jobs.push(job);
        witness.remember();
        job
    };
    let first = submit(witness, 0, 0);
    let second = submit(witness, 1, 1);
    let third = submit(witness, 9, 2);
    submit(witness, 2, 1);
    let change = |witness: &mut Witness, path: String| {
        witness.server.post(&path).accept(JSON).send().expect(200);
        witness.remember();
    };
    change(witness, format!("/compute/jobs/{third}/priority?priority=5"));
    witness.server.complete(&witness.server.output(&[("out", b"of the third")]));
    witness.remember();
    let attempt = witness.server.begin();
    witness.remember();
    change(witness, format!("/compute/jobs/{first}/retract"));
    witness.server.fail("no luck");
    witness.remember();
    let _ = attempt;
    witness.server.fail("again");
    witness.remember();
    for job in witness.jobs.clone() {
        let reply = witness.server.post(&format!("/compute/jobs/{job}/reschedule")).send();
        if reply.status == 200 {
            witness.remember();
        }
    }
    witness.server.complete(&witness.server.output(&[("out", &[7; 5_000])]));
    witness.remember();
    submit(witness, 9, 2);
    change(witness, format!("/compute/jobs/{third}/retire"));
    submit(witness, 0, 3);
    change(witness, format!("{}/drain", witness.queues[0]));
    witness.server.call("DELETE", &witness.queues[2].clone()).send().expect(200);
    witness.remember();
    for job in [first, second] {
        witness.server.call("DELETE", &format!("/compute/jobs/{job}")).send();
        witness.server.post(&format!("/compute/jobs/{job}/retire")).send();
        witness.remember();
    }
}

#[test]
fn every_answer_is_given_again() {
    let server = Server::looking_back();
    let worker = server.register();
    let mut witness =
        Witness { server, worker, jobs: Vec::new(), queues: Vec::new(), told: BTreeMap::new() };
    // Each queue is asked for from before it was made.
    history(&mut witness);
    // The queue goes, its token with it; the worker, too.
    let token = witness.queues[2].clone();
    for job in witness.jobs.clone() {
        witness.server.call("DELETE", &format!("/compute/jobs/{job}")).send();
        witness.server.post(&format!("/compute/jobs/{job}/retire")).send();
    }
    let queue = witness.server.engine.read(|now| now.views.queues(None).nth(1).unwrap().queue);
    witness.server.execute(Command::RetireQueue { queue });
    witness.server.get(&token).send().refused(404, "unknown_queue");
    let path = format!("/compute/workers/{worker}");
    witness.server.call("DELETE", &path).send().expect(200);
    let steps: Vec<u64> = witness.told.keys().copied().collect();
    assert!(steps.len() > 15, "{steps:?}");
    for lsn in steps.iter().rev() {
        witness.look_back(*lsn);
    }
    witness.look_back(steps[steps.len() / 2]);
    // What was made after an LSN was not there.
    let before = steps[0] - 1;
    witness.server.get(&format!("{token}?at={before}")).send().refused(404, "unknown_queue");
    let early = format!("/compute/jobs/{}?at={before}", witness.jobs[0]);
    witness.server.get(&early).send().refused(404, "unknown_job");
}

#[test]
fn every_read_takes_it_and_nothing_else_does() {
    let server = Server::start();
    let lsn = server.register();
    let mut taking = 0;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let path = route
            .pattern
            .replace("{worker}", &lsn.to_string())
            .replace("{action}", &"1".repeat(40))
            .replace("{hash}", &"1".repeat(40))
            .replace("{token}", &"1".repeat(24))
            .replace("{queue}", "1")
            .replace("{lsn}", "1");
        let roots = ["/compute/workers", "/compute/jobs", "/compute/queues"];
        let reply = server.get(&format!("{path}?at=x")).send();
        if roots.iter().any(|root| path.starts_with(root)) {
            reply.refused(400, "bad_parameter");
            server.get(&format!("{path}?at=99")).send().refused(400, "lsn_in_future");
            taking += 1;
        } else {
            assert!(!reply.text().contains("parameter at"), "{path}: {}", reply.text());
        }
    }
    assert!(taking > 20);
    let ahead = server.get("/compute/jobs?at=7").send().refused(400, "lsn_in_future");
    assert_eq!(ahead["last_lsn"], 1);
    server.post("/compute/jobs?at=0").json(&action_json(1)).send().expect(200);
}

#[test]
fn nobody_waits_for_the_past() {
    let poll_hold = Duration::from_mins(1);
    let server = Server::with(HttpConfig { poll_hold, ..HttpConfig::default() });
    let worker = server.register();
    let job = server.submit(&action_json(1));
    let begun = monotonic();
    let feed = server.get(&format!("/compute/jobs/completed?wait=60&at={job}")).send();
    assert_eq!(feed.expect(200).value(), json!({"completed": [], "next": 0}));
    let action = action_id(&action_json(1));
    let poll = server.get(&format!("/compute/jobs/{worker}/{action}?at={job}")).accept(PKG);
    poll.send().expect(202);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// What the views knew stays known when the bytes behind it are gone.
#[test]
fn collected_results_are_told_apart_from_lost_ones() {
    let server = Server::looking_back();
    server.register();
    let job = server.submit(&action_json(1));
    let large: Vec<(String, Vec<u8>)> =
        (0..200_u8).map(|n| (format!("value {n}"), vec![n; 100])).collect();
    let values: Vec<(&str, &[u8])> =
        large.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let output = server.output(&values);
    assert!(output.inline().is_none(), "too large for a record");
    server.complete(&output);
    let at = server.engine.durable();
    let then = |accept: &'static str| {
        server.get(&format!("/compute/jobs/{job}?at={at}")).accept(accept).send()
    };
    let whole = then(JSON).expect(200).value();
    assert!(whole["result"].is_object());
    then(PKG).expect(200);
    server.post(&format!("/compute/jobs/{job}/retire")).send().expect(200);
    assert_eq!(then(JSON).expect(200).value(), whole, "still there");
    let begun = server.store.begin_collection();
    server.store.collect(begun, &|_| false, &|| false).unwrap();
    let mut left = then(JSON).expect(200).value();
    assert!(left.get("result").is_none(), "{left}");
    left["result"] = whole["result"].clone();
    assert_eq!(left, whole);
    then(PKG).refused(410, "chunk_gone");
}
