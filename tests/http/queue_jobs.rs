//! The jobs below queues: the same routes as of all jobs, narrowed to one queue.

use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::{ChunkId, Host, RunnerName};
use ledgerun::http::{HttpConfig, RunnerSummary};
use ledgerun::wire::package;
use serde_json::json;

use crate::client::{CB, JSON, PKG};
use crate::fixture::{action_id, action_json, action_object, action_with};
use crate::server::Server;

#[test]
fn jobs_are_submitted_to_a_queue_in_every_way() {
    let server = Server::start();
    let worker = server.register().to_string();
    for queue in server.remote_queue(&json!({"max_retries": 1})) {
        let jobs = format!("{queue}/jobs");
        let before = server.show(&queue)["active_count"].as_u64().unwrap();
        let by_function = server.submit_to(&queue, &action_json(1));
        let to_worker = format!("{jobs}/{worker}?priority=-7&cache=skip");
        let object = action_object(&action_json(2));
        let to_worker = server.post(&to_worker).body(CB, object.bytes()).send().expect(200);
        let with_input = action_object(&action_with(&[("a", queue.as_bytes())]));
        let refused = server.post(&jobs).body(CB, with_input.bytes()).send().expect(404).object();
        assert_eq!(refused.get("need").unwrap().count(), 1);
        let package = package::write(with_input.bytes(), &[queue.as_bytes()]).unwrap();
        server.post(&jobs).body(PKG, package).send().expect(200);
        let batch = json!({"actions": [action_json(3), {"Function": "?"}, action_json(4)]});
        let batch = server.post(&jobs).json(&batch).send().expect(200).value();
        assert_eq!(batch["results"][1]["code"], "malformed_body");
        assert!(batch["results"][2]["lsn"].is_u64());

        let job = server.get(&format!("{jobs}/{}", to_worker.lsn())).accept(JSON).send();
        let job = job.expect(202).value();
        let id: u64 = server.show(&queue)["queue_id"].as_u64().unwrap();
        assert_eq!((&job["priority"], &job["queue"]), (&json!(-7), &json!(id)));
        let same = server.get(&format!("/compute/jobs/{by_function}")).send().expect(202).value();
        assert_eq!(same["queue"], id, "the jobs of queues are among all jobs");
        assert_eq!(server.show(&queue)["queued_count"], before + 5);
        let unknown = format!("{jobs}/{}", "11".repeat(20));
        server
            .post(&unknown)
            .json(&action_json(1))
            .accept(JSON)
            .send()
            .refused(424, "unknown_worker");
        server.get(&unknown).send().refused(404, "unknown_worker");
        server.call("DELETE", &format!("/compute/jobs/{by_function}")).send().expect(200);
        assert_eq!(server.show(&queue)["active_count"], before + 4);
        assert!(server.store.missing(&[ChunkId::of(queue.as_bytes())]).is_empty());
    }
}

/// Every route of one job, with what it answers to the owner of a pending one.
const OF_A_JOB: [(&str, &str, u16); 8] = [
    ("GET", "", 202),
    ("GET", "/events", 200),
    ("GET", "/explain", 200),
    ("POST", "/priority?priority=3", 200),
    ("POST", "?priority=4", 200),
    ("POST", "/retract", 200),
    ("POST", "/cancel", 200),
    ("DELETE", "", 200),
];

#[test]
fn jobs_of_others_do_not_exist() {
    let server = Server::start();
    server.register();
    let owner = server.remote_queue(&json!({}));
    let stranger = server.remote_queue(&json!({}));
    let outside = server.submit(&action_json(1));
    let job = server.submit_to(&owner[1], &action_json(2));
    for (method, tail, _) in OF_A_JOB.into_iter().chain([
        ("POST", "/reschedule", 0),
        ("POST", "/retire", 0),
        ("POST", "", 0),
    ]) {
        for (queue, job) in [
            (&stranger[0], job),
            (&stranger[1], job),
            (&owner[0], outside),
            (&owner[1], outside),
            (&owner[1], 1),
            (&owner[1], 999_999),
        ] {
            let path = format!("{queue}/jobs/{job}{tail}");
            let refused = server.call(method, &path).send();
            assert_eq!(refused.media(), if method == "POST" { CB } else { JSON }, "{path}");
            refused.refused(404, "unknown_job");
        }
    }
    for queue in &owner {
        let job = server.submit_to(queue, &action_json(2));
        for (method, tail, status) in OF_A_JOB {
            let path = format!("{queue}/jobs/{job}{tail}");
            let reply = server.call(method, &path).accept(JSON).send();
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        }
    }
    let open = |queue: &str| server.show(&format!("{queue}/jobs?state=pending"))["jobs"].clone();
    assert_eq!(open(&stranger[0]), json!([]));
    assert_eq!(server.show(&stranger[0])["active_count"], 0);
}

#[test]
fn a_retired_job_is_still_its_queues() {
    let server = Server::start();
    server.register();
    let [own, other] = [server.queue(&json!({})), server.queue(&json!({}))];
    let job = server.submit_to(&own, &action_json(1));
    server.complete(&server.output(&[]));
    let retire =
        |queue: &str| server.post(&format!("{queue}/jobs/{job}/retire")).accept(JSON).send();
    retire(&other).refused(404, "unknown_job");
    assert_eq!(retire(&own).expect(200).value(), json!({"lsn": job, "retired": true}));
    retire(&own).expect(200);
    retire(&other).refused(404, "unknown_job");
    server.get(&format!("{own}/jobs/{job}")).send().refused(404, "unknown_job");
    assert_eq!(server.show(&own)["completed_count"], 1, "it goes on counting");
    assert_eq!(server.show(&format!("{own}/completed"))["completed"], json!([]));
}

#[test]
fn lists_and_feeds_show_one_queue() {
    let server = Server::start();
    let worker = server.register().to_string();
    let [first, token] = server.remote_queue(&json!({}));
    let second = server.queue(&json!({}));
    server.submit(&action_json(0));
    let own: Vec<u64> = (1..4).map(|n| server.submit_to(&token, &action_json(n))).collect();
    server.submit_to(&second, &action_json(9));
    let lsns = |path: &str, list: &str| -> Vec<u64> {
        let page = server.show(path);
        page[list].as_array().unwrap().iter().map(|job| job["lsn"].as_u64().unwrap()).collect()
    };
    for queue in [&first, &token] {
        assert_eq!(lsns(&format!("{queue}/jobs"), "jobs"), own);
        assert_eq!(lsns(&format!("{queue}/jobs?queue=1&limit=2"), "jobs"), own[..2]);
        assert_eq!(lsns(&format!("{queue}/jobs?function=Other"), "jobs"), [] as [u64; 0]);
        let asked = server.get(&format!("{queue}/jobs?queue=2")).send();
        asked.refused(400, "bad_parameter");
        let open = server.show(&format!("{queue}/jobs/{worker}"));
        assert_eq!(open, json!({"worker": worker, "pending": own, "running": []}));
        assert_eq!(
            server.show(&format!("{queue}/completed?since=7")),
            json!({"completed": [], "next": 7})
        );
    }
    for _ in 0..5 {
        server.complete(&server.output(&[("x", b"made")]));
    }
    for queue in [&first, &token] {
        let page = server.show(&format!("{queue}/completed"));
        assert_eq!(lsns(&format!("{queue}/completed"), "completed"), own);
        assert!(page["completed"].as_array().unwrap().iter().all(|job| job["queue"] == 1));
        let next = page["next"].as_u64().unwrap();
        assert_eq!(
            lsns(&format!("{queue}/completed?since={}&wait=0.1", next - 1), "completed"),
            own[2..]
        );
        let shown = server.show(queue);
        assert_eq!((&shown["completed_count"], &shown["is_complete"]), (&json!(3), &json!(true)));
        let result = server.get(&format!("{queue}/jobs/{}", own[0])).accept(PKG).send().expect(200);
        assert_eq!(result.media(), PKG);
        // By an action there is no poll below a queue.
        let poll = format!("{queue}/jobs/{worker}/{}", action_id(&action_json(1)));
        server.get(&poll).send().refused(404, "unknown_path");
    }
    assert_eq!(server.show("/compute/jobs/completed")["completed"].as_array().unwrap().len(), 5);
}

#[test]
fn a_long_poll_is_woken_by_its_own_queue() {
    let server = Server::start();
    server.register();
    let [own, other] = [server.queue(&json!({})), server.queue(&json!({}))];
    server.submit_to(&other, &action_json(1));
    let started = monotonic();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| server.show(&format!("{own}/completed?wait=60"))))
            .collect();
        // Another's end and a cancel elsewhere answer nobody; the own end answers all.
        server.complete(&server.output(&[]));
        let idle = server.show(&format!("{own}/completed?wait=0.05"));
        assert_eq!(idle["completed"], json!([]));
        let job = server.submit_to(&own, &action_json(2));
        server.complete(&server.output(&[]));
        for waiting in waiting {
            let page = waiting.join().unwrap();
            assert_eq!(page["completed"][0]["lsn"], job, "{page}");
        }
    });
    // What one record ends together comes together, also to one who waits.
    std::thread::scope(|scope| {
        let jobs: Vec<u64> = (10..14).map(|n| server.submit_to(&own, &action_json(n))).collect();
        let since = server.show(&format!("{own}/completed"))["next"].clone();
        let path = format!("{own}/completed?since={since}&wait=60");
        let server = &server;
        let waiting = scope.spawn(move || server.show(&path));
        server.call("DELETE", &own).send().expect(200);
        let page = waiting.join().unwrap();
        let listed = page["completed"].as_array().unwrap().iter();
        assert_eq!(listed.map(|job| job["lsn"].as_u64().unwrap()).collect::<Vec<_>>(), jobs);
    });
    assert!(started.elapsed() < Duration::from_secs(40), "nobody was woken");
}

#[test]
fn an_explanation_tells_of_the_queues_limit() {
    let server = Server::with(HttpConfig {
        runners: vec![RunnerSummary {
            name: RunnerName::local(),
            host: Host::Linux,
            slots: 4,
            sandbox: Vec::new(),
        }],
        poll_hold: Duration::ZERO,
        ..HttpConfig::default()
    });
    server.register();
    let queue = server.queue(&json!({"max_running": 1}));
    let jobs: Vec<u64> = (0..3).map(|n| server.submit_to(&queue, &action_json(n))).collect();
    server.submit(&action_json(7));
    let explain = |n: usize| server.show(&format!("{queue}/jobs/{}/explain", jobs[n]));
    assert_eq!((&explain(1)["waits_for"], &explain(1)["position"]), (&json!("slot"), &json!(2)));
    server.begin();
    if explain(0)["waits_for"] == "slot" {
        server.begin();
    }
    assert_eq!(explain(0)["waits_for"], "process");
    let waits = explain(2);
    assert_eq!((&waits["waits_for"], &waits["position"]), (&json!("queue_limit"), &json!(2)));
    assert!(waits["because"].as_str().unwrap().contains("as many jobs at once"), "{waits}");
    // Somebody else who wants the same pays for it.
    let shared = server.submit(&action_json(1));
    assert_eq!(explain(1)["waits_for"], "slot");
    assert_eq!(server.show(&format!("/compute/jobs/{shared}/explain"))["waits_for"], "slot");
}
