//! Queues by number and by token: their making, their life, their end.

use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::{QueueId, QueueState};
use ledgerun::wire::cb::Object;
use serde_json::{Value, json};

use crate::client::{CB, JSON, PKG};
use crate::fixture::{action_json, action_object, action_with};
use crate::server::Server;

impl Server {
    /// Makes a queue for this machine and gives its path.
    pub fn queue(&self, settings: &Value) -> String {
        let made = self.post("/compute/queues").json(settings).send().expect(200).value();
        format!("/compute/queues/{}", made["queue_id"])
    }

    /// Makes a queue for the network; its paths by number and by token.
    pub fn remote_queue(&self, settings: &Value) -> [String; 2] {
        let made = self.post("/compute/queues/remote").json(settings).send().expect(200).value();
        let token = made["queue_token"].as_str().unwrap();
        [format!("/compute/queues/{}", made["queue_id"]), format!("/compute/queues/{token}")]
    }

    /// Submits an action to the queue at this path and gives its LSN.
    pub fn submit_to(&self, queue: &str, action: &Value) -> u64 {
        let reply = self.post(&format!("{queue}/jobs")).json(action).accept(JSON).send();
        reply.expect(200).value()["lsn"].as_u64().unwrap()
    }

    pub fn show(&self, path: &str) -> Value {
        self.get(path).send().expect(200).value()
    }
}

/// What a new queue shows when nothing was said.
fn fresh(id: u64) -> Value {
    json!({
        "queue_id": id, "state": "active", "active_count": 0, "completed_count": 0,
        "failed_count": 0, "abandoned_count": 0, "cancelled_count": 0, "queued_count": 0,
        "running_count": 0, "is_complete": true, "name": null, "metadata": null, "max_retries": 3,
        "expire_after_idle_s": 900, "max_running": null, "remote": false,
    })
}

fn without_time(mut queue: Value) -> Value {
    let at = queue.as_object_mut().unwrap().remove("created_at").unwrap();
    assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
    queue
}

#[test]
fn a_queue_is_what_was_asked_for() {
    let server = Server::start();
    let made = server.post("/compute/queues").send().expect(200).value();
    assert_eq!(made, json!({"queue_id": 1}), "a body isn't needed");
    assert_eq!(without_time(server.show("/compute/queues/1")), fresh(1));
    assert_eq!(server.queue(&json!({})), "/compute/queues/2");

    let settings = json!({
        "max_retries": 7, "name": "nächtlich", "metadata": {"a": [1, {"b": "c"}], "d": 1.5},
        "expire_after_idle_s": 0, "max_running": 2,
    });
    let expected = |id| {
        let mut expected = fresh(id);
        for (key, value) in settings.as_object().unwrap() {
            expected[key] = value.clone();
        }
        expected
    };
    let path = server.queue(&settings);
    assert_eq!(without_time(server.show(&path)), expected(3));
    // The same in the other spelling, and what was shown may be sent back.
    let object = Object::build(|o| {
        o.field("max_retries").i64(7);
        o.field("name").str("nächtlich");
        o.field("metadata").object(|m| {
            m.field("a").array(|a| {
                a.item().i64(1);
                a.item().object(|b| b.field("b").str("c"));
            });
            m.field("d").f64(1.5);
        });
        o.field("expire_after_idle_s").i64(0);
        o.field("max_running").i64(2);
    });
    let made = server.post("/apply/queues").body(CB, object.bytes()).send().expect(200).object();
    assert_eq!(made.get("queue_id").unwrap().as_u64(), Some(4));
    let shown = server.get("/compute/queues/4").accept(CB).send().expect(200);
    assert_eq!(without_time(shown.value()), expected(4));
    let path = server.queue(&shown.value());
    assert_eq!(without_time(server.show(&path)), expected(5));

    // Below zero is the default, zero is none.
    let path = server.queue(&json!({"max_retries": -1, "max_running": 0, "name": null}));
    assert_eq!(without_time(server.show(&path)), fresh(6));
    let path = server.queue(&json!({"max_retries": 0}));
    assert_eq!(server.show(&path)["max_retries"], 0);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let server = Server::start();
    let table = [
        ("max_retries", json!("3")),
        ("max_retries", json!(1.5)),
        ("max_retries", json!(true)),
        ("name", json!(3)),
        ("metadata", json!([1])),
        ("metadata", json!("x")),
        ("expire_after_idle_s", json!(-1)),
        ("expire_after_idle_s", json!("15m")),
        ("expire_after_idle_s", json!(0.5)),
        ("max_running", json!(-2)),
        ("max_running", json!({})),
    ];
    for (field, value) in table {
        for path in ["/compute/queues", "/compute/queues/remote"] {
            let refused = server.post(path).json(&json!({(field): value})).send();
            let refused = refused.refused(400, "bad_field");
            assert!(refused["error"].as_str().unwrap().contains(field), "{refused}");
        }
    }
    let long = json!({"name": "x".repeat(2_000)});
    server.post("/compute/queues").json(&long).send().refused(400, "too_long");
    let fits = json!({"metadata": {"x": "y".repeat(2_000)}});
    server.post("/compute/queues").json(&fits).send().expect(200);
    let large = json!({"metadata": {"x": "y".repeat(2_048)}});
    let refused = server.post("/compute/queues").json(&large).send().refused(400, "too_long");
    assert_eq!(refused["limit"], 2_048);
    server.post("/compute/queues").json(&json!([])).send().refused(400, "malformed_body");
    server.post("/compute/queues").body(PKG, b"x").send().refused(415, "unsupported_media_type");
    for path in ["/compute/queues", "/compute/queues/remote"] {
        server.post(path).accept("text/html").send().refused(406, "not_acceptable");
    }
    server.engine.set_has_room(false);
    server.post("/compute/queues").send().refused(507, "insufficient_storage");
    server.engine.set_has_room(true);
    let list = server.show("/compute/queues");
    assert_eq!(list["queues"].as_array().unwrap().len(), 1, "nothing was made by a refusal");
}

#[test]
fn a_token_opens_its_queue_and_no_other() {
    let server = Server::start();
    let made = server.post("/compute/queues/remote").send().expect(200).value();
    let token = made["queue_token"].as_str().unwrap().to_owned();
    assert_eq!((token.len(), &made["queue_id"]), (24, &json!(1)));
    let binary = server.post("/apply/queues/remote").accept(CB).send().expect(200).object();
    let other = binary.get("queue_token").unwrap().as_object_id().unwrap();
    assert_ne!(other.to_string(), token);

    let by_token = server.show(&format!("/compute/queues/{token}"));
    assert_eq!(by_token, server.show("/compute/queues/1"));
    assert_eq!(by_token["remote"], true);
    assert_eq!(by_token, server.show(&format!("/apply/queues/{}", token.to_uppercase())));
    let list = server.get("/compute/queues").send().expect(200).text();
    assert!(!list.contains(&token), "{list}");
    let log = server.get("/compute/log").send().expect(200).text();
    assert!(!log.contains(&token) && log.contains("queue_created"), "{log}");

    let guessed = format!("/compute/queues/{}", "0".repeat(24));
    let refused = server.get(&guessed).send().refused(404, "unknown_queue");
    assert!(!refused.to_string().contains(&"0".repeat(24)));
    server.post(&format!("{guessed}/drain")).send().refused(404, "unknown_queue");
    server.call("DELETE", &guessed).send().refused(404, "unknown_queue");
    // As with all jobs: a client that reads it unseen must find an object.
    let jobs = format!("{guessed}/jobs");
    let refused = server.post(&jobs).body(CB, action_object(&action_json(1)).bytes()).send();
    assert_eq!(refused.media(), CB);
    refused.refused(404, "unknown_queue");
    for path in ["/compute/queues/77", "/compute/queues/0", "/compute/queues/4294967296"] {
        server.get(path).send().refused(404, "unknown_queue");
        let refused = server.post(&format!("{path}/jobs")).send();
        assert_eq!(refused.media(), CB);
        refused.refused(404, "unknown_queue");
        server.get(&format!("{path}/jobs/1")).send().refused(404, "unknown_queue");
    }
    server.post("/compute/queues/1").send().refused(405, "method_not_allowed");
}

#[test]
fn lists_of_queues_are_paged() {
    let server = Server::start();
    assert_eq!(server.show("/compute/queues"), json!({"queues": [], "next": null}));
    for n in 1..=5 {
        server.queue(&json!({"name": format!("queue {n}"), "metadata": {"n": n}}));
    }
    let page = |query: &str| {
        let page = server.show(&format!("/compute/queues?{query}"));
        let queues = page["queues"].as_array().unwrap().iter();
        let ids: Vec<u64> = queues.map(|queue| queue["queue_id"].as_u64().unwrap()).collect();
        (ids, page["next"].as_u64())
    };
    assert_eq!(page(""), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(page("limit=2"), (vec![1, 2], Some(2)));
    assert_eq!(page("limit=2&after=2"), (vec![3, 4], Some(4)));
    assert_eq!(page("limit=2&after=4"), (vec![5], None));
    assert_eq!(page("limit=5"), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(page("after=99"), (vec![], None));
    assert_eq!(page("after=0&limit=0"), (vec![1], Some(1)));
    server.get("/compute/queues?after=x").send().refused(400, "bad_parameter");
    let binary = server.get("/compute/queues").accept(CB).send().expect(200);
    assert_eq!(binary.value(), server.show("/compute/queues"), "one object, two spellings");
    assert_eq!(binary.value()["queues"][4]["metadata"]["n"], 5);
}

#[test]
fn a_drained_queue_finishes_what_it_has() {
    let server = Server::start();
    server.register();
    let [queue, token] = server.remote_queue(&json!({}));
    let job = server.submit_to(&queue, &action_json(1));
    let drained = server.post(&format!("{token}/drain")).send().expect(200).value();
    assert_eq!((&drained["state"], &drained["active_count"]), (&json!("draining"), &json!(1)));
    assert_eq!(server.post(&format!("{queue}/drain")).send().expect(200).value(), drained);
    let late = |body: &Value| server.post(&format!("{token}/jobs")).json(body).accept(JSON).send();
    let refused = late(&action_json(2)).refused(409, "queue_is_draining");
    assert_eq!((&refused["queue"], &refused["state"]), (&json!(1), &json!("draining")));
    late(&json!({"actions": [action_json(2)]})).refused(409, "queue_is_draining");
    // Before anything is asked for that would be of no use.
    late(&action_with(&[("a", b"missing")])).refused(409, "queue_is_draining");
    server.complete(&server.output(&[]));
    let done = server.show(&queue);
    assert_eq!((&done["state"], &done["completed_count"]), (&json!("complete"), &json!(1)));
    late(&action_json(2)).refused(409, "queue_is_complete");
    server.post(&format!("{queue}/drain")).send().expect(200);
    server.get(&format!("{queue}/jobs/{job}")).send().expect(200);
}

#[test]
fn a_cancelled_queue_takes_its_jobs_along() {
    let server = Server::start();
    server.register();
    let [queue, token] = server.remote_queue(&json!({}));
    let done = server.submit_to(&queue, &action_json(1));
    server.complete(&server.output(&[]));
    let running = server.submit_to(&queue, &action_json(2));
    server.begin();
    let pending = server.submit_to(&queue, &action_json(3));
    let before = server.show(&queue);
    assert_eq!((&before["running_count"], &before["queued_count"]), (&json!(1), &json!(1)));
    let cancelled = server.call("DELETE", &token).send().expect(200);
    let shown = cancelled.value();
    for (field, expected) in [
        ("state", json!("cancelled")),
        ("active_count", json!(0)),
        ("completed_count", json!(1)),
        ("cancelled_count", json!(2)),
        ("running_count", json!(0)),
        ("is_complete", json!(true)),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    assert_eq!(server.call("DELETE", &queue).send().expect(200).value(), shown, "once is enough");
    for job in [running, pending] {
        let job = server.get(&format!("{queue}/jobs/{job}")).send().expect(200).value();
        assert_eq!(job["state"], "cancelled");
        assert!(job["completed_lsn"].as_u64().unwrap() <= cancelled.lsn());
    }
    server.get(&format!("{token}/jobs/{done}")).accept(PKG).send().expect(200);
    let late =
        server.post(&format!("{token}/jobs")).body(CB, action_object(&action_json(4)).bytes());
    late.send().refused(409, "queue_is_cancelled");
    server.post(&format!("{token}/drain")).send().refused(409, "queue_is_cancelled");
}

#[test]
fn retries_follow_the_queue() {
    let server = Server::start();
    server.register();
    let queue = server.queue(&json!({"max_retries": 1}));
    let job = server.submit_to(&queue, &action_json(1));
    let again = || server.post(&format!("{queue}/jobs/{job}/reschedule")).accept(JSON).send();
    server.fail("broken");
    assert_eq!(server.show(&queue)["failed_count"], 1);
    assert_eq!(again().expect(200).value(), json!({"lsn": job, "retry_count": 1}));
    let shown = server.show(&queue);
    assert_eq!((&shown["failed_count"], &shown["active_count"]), (&json!(0), &json!(1)));
    server.fail("broken");
    again().refused(409, "retry_limit");
}

#[test]
fn a_queue_that_is_asked_about_is_not_idle() {
    let server = Server::start();
    let [number, token] = server.remote_queue(&json!({"expire_after_idle_s": 1}));
    let id: QueueId = number.rsplit('/').next().unwrap().parse().unwrap();
    // By no request, which would itself keep it.
    let state = || server.engine.read(|published| published.views.queue_state(id).unwrap());
    let page = server.show(&format!("{token}/completed?wait=2.2"));
    assert_eq!(page["completed"], json!([]));
    assert_eq!(state(), QueueState::Active);
    let quiet = monotonic();
    while state() != QueueState::Expired {
        assert!(quiet.elapsed() < Duration::from_secs(30), "it never expired");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(quiet.elapsed() > Duration::from_millis(900), "the wait counted as idle");
    assert_eq!(server.show(&token)["state"], "expired");
    let late = server.post(&format!("{token}/jobs")).json(&action_json(1)).accept(JSON).send();
    late.refused(409, "queue_is_expired");
    server.post(&format!("{token}/drain")).send().refused(409, "queue_is_expired");
}
