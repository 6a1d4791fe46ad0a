//! Submitting jobs.

use ledgerun::domain::ChunkId;
use ledgerun::wire::cb::Object;
use ledgerun::wire::package;
use serde_json::{Value, json};

use crate::client::{CB, JSON, PKG};
use crate::fixture::{action_id, action_json, action_object, action_with};
use crate::server::Server;

#[test]
fn json_and_binary_are_one_action() {
    let server = Server::start();
    let worker = server.register();
    let action = action_json(1);
    let first = server.post("/compute/jobs").json(&action).send().expect(200);
    let id = action_id(&action).to_string();
    let answer = first.value();
    assert_eq!(answer["action"], id);
    assert_eq!(answer["worker"], worker.to_string());
    assert_eq!(answer["state"], "pending");
    assert_eq!(answer["lsn"].as_u64().unwrap(), first.lsn());

    let path = format!("/apply/jobs/{worker}?priority=-7");
    let second = server.post(&path).body(CB, action_object(&action).bytes()).send().expect(200);
    assert_eq!(second.value()["action"], id);
    assert!(second.lsn() > first.lsn());
    let job = server.get(&format!("/compute/jobs/{}", second.lsn())).accept(JSON).send();
    assert_eq!(job.expect(202).value()["priority"], -7);
}

#[test]
fn the_engines_dance() {
    let server = Server::start();
    let worker = server.register();
    let inputs: [(&str, &[u8]); 3] = [("a", b"first"), ("b", b"second"), ("c", b"first")];
    let object = action_object(&action_with(&inputs));
    let path = format!("/compute/jobs/{worker}?priority=2");
    server.store.put_unnamed(b"second").unwrap();

    let need = server.post(&path).body(CB, object.bytes()).send().expect(404).object();
    let need: Vec<_> = need.get("need").unwrap().children().map(|f| f.as_hash().unwrap()).collect();
    assert_eq!(need, [ChunkId::of(b"first").0], "the missing ones, each once");
    let package = package::write(object.bytes(), &[b"first"]).unwrap();
    let answer = server.post(&path).body(PKG, package).send().expect(200).value();
    assert_eq!(answer["action"], object.hash().to_string());
    // Nothing needed, all sent: what the engine does when it negotiates nothing.
    let package = package::write(object.bytes(), &[b"first", b"second"]).unwrap();
    server.post(&path).body(PKG, package).send().expect(200);
    // A package that still lacks something.
    let lacking = action_object(&action_with(&[("x", b"one"), ("y", b"two")]));
    let package = package::write(lacking.bytes(), &[b"one"]).unwrap();
    let refused = server.post(&path).body(PKG, package).send().refused(404, "missing_chunks");
    assert_eq!(refused["need"], json!([ChunkId::of(b"two").to_string()]));
}

#[test]
fn an_unknown_worker_is_never_404() {
    let server = Server::start();
    let unknown = "11".repeat(20);
    let action = action_with(&[("a", b"absent")]);
    for call in [
        server.post(&format!("/compute/jobs/{unknown}")).json(&action),
        server.post(&format!("/compute/jobs/{unknown}")).body(CB, action_object(&action).bytes()),
    ] {
        assert_eq!(call.send().refused(424, "unknown_worker")["worker"], unknown);
    }
    let none = server.post("/compute/jobs").json(&action).send().refused(424, "no_worker");
    assert_eq!(none["function"], "Test");
}

#[test]
fn a_batch_takes_what_is_good() {
    let server = Server::start();
    let worker = server.register();
    let mut other = action_json(3);
    other["Function"] = json!("Unheard");
    let actions = json!([
        action_json(1), {"Function": 7}, action_with(&[("a", b"absent")]), other, action_json(2),
    ]);
    let check = |reply: crate::client::Reply| {
        let results = reply.expect(200).value()["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), 5);
        let first = results[0]["lsn"].as_u64().unwrap();
        assert_eq!(results[4]["lsn"].as_u64().unwrap(), first + 1, "consecutive");
        assert_eq!(results[0]["action"], action_id(&action_json(1)).to_string());
        assert_eq!(results[4]["worker"], worker.to_string());
        let codes: Vec<&Value> = results[1..4].iter().map(|item| &item["code"]).collect();
        assert_eq!(codes, ["malformed_body", "missing_chunks", "no_worker"]);
        assert!(results[1]["error"].as_str().unwrap().contains("actions[1].Function"));
        assert_eq!(results[2]["need"], json!([ChunkId::of(b"absent").to_string()]));
    };
    check(server.post("/compute/jobs").json(&json!({"actions": actions})).send());

    let objects =
        [action_json(1), action_json(9), action_with(&[("a", b"absent")]), other, action_json(2)];
    let batch = Object::build(|o| {
        o.field("actions").array(|a| {
            for (index, action) in objects.iter().enumerate() {
                if index == 1 {
                    a.item().object(|o| o.field("Function").u64(7));
                } else {
                    a.item().embed(&action_object(action));
                }
            }
        });
    });
    check(server.post("/compute/jobs").body(CB, batch.bytes()).send());
    let package = package::write(batch.bytes(), &[b"absent"]).unwrap();
    let results = server.post("/compute/jobs").body(PKG, package).send().expect(200).value();
    assert!(results["results"][2]["lsn"].is_u64(), "its chunk came along: {results}");
}

#[test]
fn batches_have_a_limit() {
    let limits = ledgerun::http::Limits { batch_actions: 3, ..Default::default() };
    let server = Server::with(ledgerun::http::HttpConfig {
        limits,
        ..ledgerun::http::HttpConfig::default()
    });
    server.register();
    let batch = |n: u64| json!({"actions": (0..n).map(action_json).collect::<Vec<_>>()});
    server.post("/compute/jobs").json(&batch(3)).send().expect(200);
    server.post("/compute/jobs").json(&batch(4)).send().refused(413, "batch_too_large");
    server.post("/compute/jobs").json(&batch(0)).send().expect(200);
    server.post("/compute/jobs").json(&json!({"actions": 7})).send().refused(400, "malformed_body");
}

#[test]
fn a_large_action_is_kept_in_the_store() {
    let server = Server::start();
    server.register();
    let mut action = action_json(1);
    action["Constants"]["Test"]["Text"] = json!("x".repeat(50_000));
    let lsn = server.submit(&action);
    let id = ChunkId(action_id(&action).0);
    assert!(server.store.contains(&id));
    let events = server.get(&format!("/compute/jobs/{lsn}/events")).send().expect(200).value();
    assert_eq!(events["events"][0]["event"]["job_submitted"]["object"]["chunk"], id.to_string());
}

#[test]
fn a_result_is_used_again_unless_told_otherwise() {
    let server = Server::start();
    server.register();
    let action = action_json(1);
    server.submit(&action);
    server.complete(&server.output(&[("out", b"made")]));
    let again = server.post("/compute/jobs").json(&action).send().expect(200).value();
    assert_eq!((&again["cached"], &again["state"]), (&json!(true), &json!("completed")));
    let fresh = server.post("/compute/jobs?cache=skip").json(&action).send().expect(200).value();
    assert_eq!((&fresh["cached"], &fresh["state"]), (&Value::Null, &json!("pending")));
}
