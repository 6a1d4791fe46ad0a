//! Recordings: their life, what is counted of them, who may delete them.

use ledgerun::domain::{ChunkId, Command, Lsn, NewReplay, ObjectRef};
use ledgerun::wire::cb::Object;
use serde_json::{Value, json};

use crate::client::{CB, JSON, PKG};
use crate::fixture::{EXECUTABLE, action_json, action_object, action_with, worker_object};
use crate::server::Server;

pub const INPUT: &[u8] = b"the input of an action";

impl Server {
    /// Begins to record and gives the recording's name.
    pub fn record(&self) -> u64 {
        let started = self.post("/compute/record/start").send().expect(200).value();
        assert_eq!(started["recording"], started["start_lsn"]);
        started["recording"].as_u64().unwrap()
    }

    /// Records no more.
    pub fn stop_recording(&self) -> Value {
        self.post("/compute/record/stop").send().expect(200).value()
    }

    /// Records jobs with every end there is, one of them by a result from before, and gives the
    /// recording's name.
    pub fn session(&self) -> u64 {
        let worker = self.register();
        let before = self.submit(&action_json(1));
        self.complete(&self.output(&[("Early", b"a value from before")]));
        self.store.put_unnamed(INPUT).unwrap();
        let queue = self.queue(&json!({"name": "recorded", "max_retries": 0}));
        let named = json!({"name": "a session"});
        let started = self.post("/compute/record/start").json(&named).send().expect(200).value();
        let cached = self.submit(&action_json(1));
        assert_eq!(self.show(&format!("/compute/jobs/{cached}"))["cached"], true);
        self.submit(&action_with(&[("In", INPUT)]));
        self.complete(&self.output(&[("One", b"a value"), ("Two", &[7; 3_000])]));
        self.submit_to(&queue, &action_json(2));
        self.fail("its input was lost");
        let cancelled = self.submit(&action_json(3));
        self.post(&format!("/compute/jobs/{cancelled}/cancel")).send().expect(200);
        self.submit_to(&queue, &action_json(4));
        self.call("DELETE", &queue).send().expect(200);
        let stopped = self.stop_recording();
        assert_eq!((&stopped["recording"], &stopped["jobs"]), (&started["recording"], &json!(5)));
        assert!(before > 0 && !worker.to_string().is_empty());
        stopped["recording"].as_u64().unwrap()
    }
}

#[test]
fn a_recording_begins_ends_and_is_forgotten() {
    let server = Server::start();
    assert_eq!(server.show("/compute/record"), json!({"recordings": [], "next": null}));
    let refused = server.post("/compute/record/stop").send().refused(409, "not_recording");
    assert!(refused.get("recording").is_none(), "{refused}");

    let started = server.post("/compute/record/start").json(&json!({"name": "nächtlich"})).send();
    assert_eq!(started.lsn(), 1);
    assert_eq!(started.expect(200).value(), json!({"recording": 1, "start_lsn": 1}));
    let refused = server.post("/compute/record/start").send().refused(409, "recording_active");
    assert_eq!(refused["recording"], 1);
    let refused = server.call("DELETE", "/compute/record/1").send();
    assert_eq!(refused.refused(409, "recording_active")["recording"], 1);
    let mut shown = server.show("/compute/record/1");
    let at = shown.as_object_mut().unwrap().remove("started_at").unwrap();
    assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
    let expected = json!({
        "recording": 1, "name": "nächtlich", "state": "recording", "imported": false,
        "start_lsn": 1, "stop_lsn": null, "jobs": 0, "open_jobs": 0, "stopped_at": null,
        "imported_at": null, "workers": [], "chunks": 0, "bytes": 0,
    });
    assert_eq!(shown, expected);

    let stopped = server.post("/compute/record/stop").send();
    assert_eq!(stopped.lsn(), 2);
    let expected = json!({
        "recording": 1, "start_lsn": 1, "stop_lsn": 2, "jobs": 0, "chunks": 0, "bytes": 0,
    });
    assert_eq!(stopped.expect(200).value(), expected);
    server.post("/compute/record/stop").send().refused(409, "not_recording");
    let shown = server.show("/compute/record/1");
    assert_eq!((&shown["state"], &shown["stop_lsn"]), (&json!("complete"), &json!(2)));
    assert!(shown["stopped_at"].as_str().unwrap() >= at.as_str().unwrap());

    // The same in the other spelling and by the other name; a name isn't needed.
    let object = Object::build(|o| o.field("name").str("other"));
    let started = server.post("/apply/record/start").body(CB, object.bytes()).send().expect(200);
    assert_eq!(started.object().get("recording").unwrap().as_u64(), Some(3));
    let stopped = server.post("/apply/record/stop").accept(CB).send().expect(200).object();
    assert_eq!(stopped.get("stop_lsn").unwrap().as_u64(), Some(4));
    for body in [json!({}), json!({"name": null})] {
        server.post("/compute/record/start").json(&body).send().expect(200);
        let recording = server.stop_recording()["recording"].clone();
        assert_eq!(server.show(&format!("/compute/record/{recording}"))["name"], Value::Null);
    }

    let list = server.get("/apply/record").accept(CB).send().expect(200).value();
    let names: Vec<_> = list["recordings"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, [&json!("nächtlich"), &json!("other"), &Value::Null, &Value::Null]);
    let page = server.show("/compute/record?after=1&limit=2");
    assert_eq!((page["recordings"].as_array().unwrap().len(), &page["next"]), (2, &json!(5)));

    let deleted = server.call("DELETE", "/compute/record/1").send().expect(200).value();
    assert_eq!(deleted, json!({"recording": 1}));
    for (method, path) in [
        ("DELETE", "/compute/record/1"),
        ("GET", "/compute/record/1"),
        ("GET", "/compute/record/1/archive"),
        ("GET", "/compute/record/2"),
        ("GET", "/compute/record/18446744073709551615"),
    ] {
        let refused = server.call(method, path).send().refused(404, "unknown_recording");
        assert_eq!(path.split('/').nth(3), Some(refused["recording"].to_string().as_str()));
    }
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let server = Server::start();
    for (body, code) in [
        (json!({"name": 7}), "bad_field"),
        (json!({"name": ["x"]}), "bad_field"),
        (json!({"name": "x".repeat(257)}), "too_long"),
        (json!([]), "malformed_body"),
    ] {
        server.post("/compute/record/start").json(&body).send().refused(400, code);
    }
    let refused = server.post("/compute/record/start").body(PKG, b"x").send();
    refused.refused(415, "unsupported_media_type");
    for path in ["/compute/record/start", "/compute/record/stop"] {
        server.post(path).accept("text/html").send().refused(406, "not_acceptable");
    }
    server.get("/compute/record?after=x").send().refused(400, "bad_parameter");
    server.get("/compute/record?limit=-1").send().refused(400, "bad_parameter");
    server.get("/compute/record/x").send().refused(404, "unknown_path");
    server.post("/compute/record").send().refused(405, "method_not_allowed");
    server.engine.set_has_room(false);
    server.post("/compute/record/start").send().refused(507, "insufficient_storage");
    server.engine.set_has_room(true);
    assert_eq!(server.engine.durable(), Lsn(0), "nothing of it is in the log");
}

#[test]
fn jobs_and_their_chunks_are_counted_once() {
    let server = Server::start();
    let recording = server.session();
    let descriptor = worker_object();
    assert!(descriptor.inline().is_some(), "it is no chunk");
    // The executable, the input, the value from before and two values; objects ride in records.
    let contents: [&[u8]; 5] = [EXECUTABLE, INPUT, b"a value from before", b"a value", &[7; 3_000]];
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    let shown = server.show(&format!("/compute/record/{recording}"));
    let worker = server.show("/compute/workers")["workers"][0]["worker"].clone();
    assert_eq!(shown["workers"], json!([worker]));
    assert_eq!((&shown["jobs"], &shown["open_jobs"]), (&json!(5), &json!(0)));
    assert_eq!((&shown["chunks"], &shown["bytes"]), (&json!(5), &json!(bytes)), "{shown}");
    assert_eq!(shown["name"], "a session");

    // Of one under way it is what is in it by now, and of a job that has not ended what is known.
    let large = json!({"X": "y".repeat(3_000)});
    let mut action = action_json(50);
    action["Constants"] = large;
    let object = action_object(&action);
    assert!(object.inline().is_none());
    let active = server.record();
    server.submit(&action);
    let shown = server.show(&format!("/compute/record/{active}"));
    let expected = (json!(1), json!(1), json!(2), json!(EXECUTABLE.len() + object.bytes().len()));
    let of = |shown: &Value| {
        let field = |name: &str| shown[name].clone();
        (field("jobs"), field("open_jobs"), field("chunks"), field("bytes"))
    };
    assert_eq!(of(&shown), expected);
    let stopped = server.stop_recording();
    assert_eq!((&stopped["chunks"], &stopped["bytes"]), (&expected.2, &expected.3));
    let path = format!("/compute/record/{active}");
    assert_eq!(server.show(&path)["state"], "settling");
    server.complete(&server.output(&[("Late", b"late")]));
    let shown = server.show(&path);
    assert_eq!(shown["state"], "complete");
    let bytes = EXECUTABLE.len() + object.bytes().len() + b"late".len();
    assert_eq!(of(&shown), (json!(1), json!(0), json!(3), json!(bytes)));
    assert!(server.store.contains(&ChunkId::of(b"late")));
    server.get(&path).accept(JSON).send().expect(200);
}

#[test]
fn a_recording_that_is_replayed_is_not_deleted() {
    let server = Server::start();
    let recording = server.session();
    let plan = ObjectRef::Inline(ledgerun::domain::Blob(b"{}".to_vec().into()));
    let new = NewReplay { recording: Lsn(recording), plan, total: 5 };
    let replay = server.execute(Command::StartReplay(new)).last;
    let path = format!("/compute/record/{recording}");
    let refused = server.call("DELETE", &path).send().refused(409, "recording_in_use");
    assert_eq!(refused["recording"], recording);
    assert_eq!(refused["replay"], replay.0);
    server.execute(Command::EndReplay { replay, reason: None });
    server.call("DELETE", &path).send().expect(200);
}
