//! Looking at jobs and changing them.

use ledgerun::domain::ChunkId;
use ledgerun::http::HttpConfig;
use ledgerun::wire::package::{self, Limits};
use serde_json::json;

use crate::client::{CB, JSON, PKG};
use crate::fixture::{action_id, action_json};
use crate::server::Server;

const LIMITS: Limits = Limits {
    root_bytes_max: 1 << 20,
    attachments_max: 100,
    total_bytes_max: 1 << 30,
    attachment_bytes_max: 1 << 30,
    raw_bytes_max: 1 << 30,
};

#[test]
fn the_engines_poll() {
    let server = Server::with(HttpConfig {
        poll_hold: std::time::Duration::from_millis(10),
        ..HttpConfig::default()
    });
    let worker = server.register();
    let action = action_json(1);
    let path = format!("/compute/jobs/{worker}/{}", action_id(&action));
    let poll = || server.get(&path).accept(PKG).send();
    poll().refused(404, "unknown_action");
    let lsn = server.submit(&action);
    assert_eq!(poll().expect(202).value()["state"], "pending");
    let big = vec![7; 600_000];
    let output = server.output(&[("a", b"same"), ("b", &big), ("c", b"same"), ("d", b"")]);
    server.complete(&output);

    let by_pair = poll().expect(200);
    assert_eq!(by_pair.media(), PKG);
    let package = package::parse(&by_pair.body, LIMITS).unwrap();
    assert_eq!(&package.root[..], &output.bytes()[..]);
    let hashes: Vec<_> = package.attachments.iter().map(|a| a.hash).collect();
    let expected = [&b"same"[..], &big, b""].map(|content| ChunkId::of(content).0);
    assert_eq!(hashes, expected, "one attachment for each distinct value");
    let by_lsn = server.get(&format!("/compute/jobs/{lsn}")).accept(PKG).send().expect(200);
    assert_eq!(by_lsn.body, by_pair.body);
}

#[test]
fn a_poll_is_held_until_the_end() {
    let server = Server::with(HttpConfig {
        poll_hold: std::time::Duration::from_mins(1),
        ..HttpConfig::default()
    });
    let worker = server.register();
    let action = action_json(1);
    server.submit(&action);
    let path = format!("/compute/jobs/{worker}/{}", action_id(&action));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.get(&path).accept(PKG).send().status);
        server.complete(&server.output(&[]));
        assert_eq!(waiting.join().unwrap(), 200);
    });
}

#[test]
fn every_other_end_has_its_status() {
    let server =
        Server::with(HttpConfig { poll_hold: std::time::Duration::ZERO, ..HttpConfig::default() });
    let worker = server.register();
    let path = |n| format!("/compute/jobs/{worker}/{}", action_id(&action_json(n)));
    let poll = |n| server.get(&path(n)).accept(PKG).send();

    server.submit(&action_json(1));
    server.fail("it fell over");
    let failed = poll(1);
    assert_eq!(failed.media(), CB);
    let failed = failed.refused(500, "job_failed");
    assert!(failed["error"].as_str().unwrap().contains("it fell over"), "{failed}");

    let cancelled = server.submit(&action_json(2));
    server.call("DELETE", &format!("/compute/jobs/{cancelled}")).send().expect(200);
    poll(2).refused(410, "job_cancelled");
    let by_lsn = server.get(&format!("/compute/jobs/{cancelled}")).accept(PKG).send();
    by_lsn.refused(410, "job_cancelled");
    server.submit(&action_json(2));
    poll(2).expect(202);

    let retired = server.submit(&action_json(3));
    server.submit(&action_json(4));
    server.call("DELETE", &format!("/compute/jobs/{retired}")).send().expect(200);
    let retire = server.post(&format!("/compute/jobs/{retired}/retire")).accept(JSON);
    retire.send().expect(200);
    poll(3).refused(404, "unknown_action");
    server.get(&format!("/compute/jobs/{retired}")).send().refused(404, "unknown_job");
    server.get("/compute/jobs/999999").send().refused(404, "unknown_job");
}

#[test]
fn details_tell_the_attempts() {
    let server = Server::start();
    let worker = server.register();
    let action = action_json(1);
    let lsn = server.submit(&action);
    let path = format!("/compute/jobs/{lsn}");
    let before = server.get(&path).send().expect(202).value();
    assert_eq!(before["state"], "pending");
    assert_eq!(before["attempts"], json!([]));
    server.complete(&server.output(&[("out", b"made")]));
    let done = server.get(&path).send().expect(200).value();
    assert_eq!(done["lsn"], lsn);
    assert_eq!(done["state"], "completed");
    assert_eq!(done["action"], action_id(&action).to_string());
    assert_eq!(done["worker"], worker.to_string());
    assert_eq!(
        (&done["queue"], &done["priority"], &done["retry_count"]),
        (&json!(null), &json!(2), &json!(0))
    );
    let attempt = &done["attempts"][0];
    assert_eq!(attempt["runner"], "local");
    assert_eq!(attempt["outcome"], "completed");
    assert_eq!((&attempt["exit_code"], &attempt["cpu_ms"]), (&json!(0), &json!(12)));
    assert_eq!((&attempt["peak_rss_bytes"], &attempt["sandbox"]), (&json!(3_456), &json!("none")));
    assert!(attempt["started_at"].as_str() <= attempt["ended_at"].as_str());
    assert_eq!(done["result"]["Values"][0]["RawHash"], ChunkId::of(b"made").to_string());
    let binary = server.get(&path).accept(CB).send().expect(200);
    assert_eq!(binary.value(), done, "one object, two spellings");

    let events = server.get(&format!("{path}/events")).send().expect(200).value();
    let kinds: Vec<String> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    assert_eq!(kinds, ["job_submitted", "attempt_assigned", "attempt_started", "attempt_finished"]);
}

#[test]
fn open_jobs_of_a_worker() {
    let server = Server::start();
    let worker = server.register();
    let (first, second) = (server.submit(&action_json(1)), server.submit(&action_json(2)));
    let path = format!("/compute/jobs/{worker}");
    let open = || server.get(&path).send().expect(200).value();
    assert_eq!(open()["pending"], json!([first, second]));
    server.begin();
    assert_eq!((&open()["pending"], &open()["running"]), (&json!([second]), &json!([first])));
    let unknown = format!("/compute/jobs/{}", "11".repeat(20));
    server.get(&unknown).send().refused(404, "unknown_worker");
}

#[test]
fn lists_are_narrowed_and_paged() {
    let server = Server::start();
    let worker = server.register();
    let all: Vec<u64> = (0..7).map(|n| server.submit(&action_json(n))).collect();
    server.complete(&server.output(&[]));
    let lsns = |query: &str| -> Vec<u64> {
        let list = server.get(&format!("/compute/jobs?{query}")).send().expect(200).value();
        list["jobs"].as_array().unwrap().iter().map(|job| job["lsn"].as_u64().unwrap()).collect()
    };
    assert_eq!(lsns(""), all);
    assert_eq!(lsns("state=completed"), all[..1]);
    assert_eq!(lsns("state=pending"), all[1..]);
    assert_eq!(lsns(&format!("worker={worker}&function=Test&after={}&limit=2", all[2])), all[3..5]);
    assert_eq!(lsns("function=Other"), [] as [u64; 0]);
    assert_eq!(lsns("queue=1"), [] as [u64; 0]);
    server.get("/compute/jobs?state=odd").send().refused(400, "bad_parameter");

    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let list = server.get(&format!("/compute/jobs?limit=3&after={after}")).send().value();
        let page = list["jobs"].as_array().unwrap();
        seen.extend(page.iter().map(|job| job["lsn"].as_u64().unwrap()));
        match list["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn changes_in_both_spellings() {
    let server = Server::start();
    server.register();
    let job = server.submit(&action_json(1));
    let path = format!("/compute/jobs/{job}");
    let post = |tail: &str| server.post(&format!("{path}{tail}")).accept(JSON);
    let priority = || server.get(&path).send().value()["priority"].clone();

    assert_eq!(post("").json(&json!({"priority": 9})).send().expect(200).value()["priority"], 9);
    assert_eq!(priority(), 9);
    post("?priority=-3").send().expect(200);
    assert_eq!(priority(), -3);
    post("/priority").json(&json!({"priority": 5})).send().expect(200);
    post("/priority?priority=6").send().expect(200);
    assert_eq!(priority(), 6);
    post("").json(&json!({"priority": 1, "cancel": true})).send().refused(400, "bad_field");
    post("").json(&json!({"priority": "high"})).send().refused(400, "bad_field");
    post("").json(&json!({"something": 1})).send().refused(400, "bad_field");
    post("").json(&json!({"priority": 3_000_000_000_i64})).send().refused(400, "bad_field");

    post("").send().refused(409, "job_is_pending");
    server.begin();
    post("/retract").send().expect(200);
    post("/retract").send().expect(200);
    post("").json(&json!({"cancel": true})).send().expect(200);
    assert_eq!(post("/cancel").send().expect(200).value()["state"], "cancelled");
    server.call("DELETE", &path).send().expect(200);
    post("/priority?priority=1").send().refused(409, "job_is_cancelled");
    post("/reschedule").send().refused(409, "job_is_cancelled");
}

#[test]
fn a_failed_job_is_rescheduled_up_to_its_limit() {
    let server = Server::start();
    server.register();
    let job = server.submit(&action_json(1));
    let path = format!("/compute/jobs/{job}");
    for (spelling, expected) in [("", 1), ("/reschedule", 2), ("", 3)] {
        server.fail("broken");
        let again = server.post(&format!("{path}{spelling}")).accept(JSON).send().expect(200);
        assert_eq!(again.value(), json!({"lsn": job, "retry_count": expected}));
    }
    server.fail("broken");
    let refused = server.post(&path).accept(JSON).send().refused(409, "retry_limit");
    assert_eq!(refused["limit"], 3);
    let details = server.get(&path).send().expect(200).value();
    assert_eq!(details["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(details["error"], "broken");
}

#[test]
fn an_explanation_says_what_a_job_waits_for() {
    let server = Server::start();
    server.register();
    let (first, second) = (server.submit(&action_json(1)), server.submit(&action_json(2)));
    let shared = server.submit(&action_json(2));
    let explain =
        |job: u64| server.get(&format!("/compute/jobs/{job}/explain")).send().expect(200).value();
    assert_eq!(explain(second)["position"], 2);
    assert_eq!(explain(shared)["shares_execution_of"], second);
    server.begin();
    assert_eq!(explain(first)["state"], "running");
    assert_eq!(explain(second)["position"], 1);
    for job in [first, second, shared] {
        assert!(explain(job)["because"].as_str().unwrap().len() > 10);
    }
}
