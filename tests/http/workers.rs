//! Registering workers.

use ledgerun::domain::{ChunkId, WorkerId};
use ledgerun::wire::package;
use serde_json::json;

use crate::client::{CB, JSON, PKG};
use crate::fixture::{EXECUTABLE, action_json, worker_json, worker_object};
use crate::server::Server;

#[test]
fn the_engines_dance() {
    let server = Server::start();
    let object = worker_object();
    let worker = WorkerId(object.hash());
    let path = format!("/apply/workers/{worker}");
    server.get(&path).accept(CB).send().refused(404, "unknown_worker");

    let need = server.post(&path).body(CB, object.bytes()).send().expect(404).object();
    let need: Vec<_> = need.get("need").unwrap().children().map(|f| f.as_hash().unwrap()).collect();
    assert_eq!(need, [ChunkId::of(EXECUTABLE).0]);

    let package = package::write(object.bytes(), &[EXECUTABLE]).unwrap();
    let reply = server.post(&path).body(PKG, package).send().expect(200);
    assert_eq!(reply.object().get("worker").unwrap().as_hash(), Some(worker.0));
    let known = server.get(&path).accept(CB).send().expect(200);
    assert_eq!(&known.body[..], &object.bytes()[..], "byte for byte what was registered");
    // Once more changes nothing.
    let before = server.engine.durable();
    server.post(&path).body(CB, object.bytes()).send().expect(200);
    assert_eq!(server.engine.durable(), before);
}

#[test]
fn json_and_binary_are_one_worker() {
    let server = Server::start();
    let missing = server.post("/compute/workers").json(&worker_json()).send();
    let missing = missing.refused(404, "missing_chunks");
    assert_eq!(missing["need"], json!([ChunkId::of(EXECUTABLE).to_string()]));
    let worker = server.register();
    assert_eq!(worker, WorkerId(worker_object().hash()));

    let shown = server.get(&format!("/compute/workers/{worker}")).send().expect(200).value();
    assert_eq!(shown["executables"], worker_json()["executables"]);
    let list = server.get("/compute/workers").send().expect(200).value();
    assert_eq!(list["workers"][0]["worker"], worker.to_string());
    assert_eq!(list["workers"][0]["functions"], worker_json()["functions"]);
}

#[test]
fn the_path_must_be_the_bodys_hash() {
    let server = Server::start();
    let other = "00".repeat(20);
    let object = worker_object();
    let post = || server.post(&format!("/compute/workers/{other}")).accept(JSON);
    let package = package::write(object.bytes(), &[EXECUTABLE]).unwrap();
    for wrong in [
        post().body(CB, object.bytes()).send(),
        post().json(&worker_json()).send(),
        post().body(PKG, package).send(),
    ] {
        let text = wrong.refused(400, "wrong_id")["error"].as_str().unwrap().to_owned();
        assert!(text.contains(&other) && text.contains(&object.hash().to_string()), "{text}");
    }
    assert!(!server.store.contains(&ChunkId::of(EXECUTABLE)), "nothing was stored");
}

#[test]
fn packages_are_verified_before_anything_is_kept() {
    let server = Server::start();
    let object = worker_object();
    let good = package::write(object.bytes(), &[EXECUTABLE]).unwrap();
    let post = |body: &[u8]| server.post("/compute/workers").body(PKG, body).accept(JSON).send();

    let stray = package::write(object.bytes(), &[EXECUTABLE, b"stray"]).unwrap();
    let wrong = post(&stray).refused(400, "malformed_body");
    assert!(
        wrong["error"].as_str().unwrap().contains(&ChunkId::of(b"stray").to_string()),
        "{wrong}"
    );
    post(&good[..good.len() - 1]).refused(400, "malformed_body");
    post(&[&good[..], b"x"].concat()).refused(400, "malformed_body");
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    post(&damaged).refused(400, "malformed_body");
    assert_eq!(server.store.stats().count, 0);
    assert_eq!(server.get("/compute/workers").send().value()["workers"], json!([]));

    let packaged = server.post("/compute/workers").body(PKG, &good).accept(JSON);
    packaged.send_chunked().expect(200);
}

#[test]
fn dangerous_names_are_refused() {
    let server = Server::start();
    server.store.put_unnamed(EXECUTABLE).unwrap();
    for name in ["/etc/passwd", "../x", "a/../../x", "C:/x", "a\\b", "bin/\u{0}run", ""] {
        let mut worker = worker_json();
        worker["executables"][0]["name"] = json!(name);
        worker["path"] = json!(name);
        let reply = server.post("/compute/workers").json(&worker).send();
        reply.refused(400, "malformed_body");
    }
    let mut worker = worker_json();
    worker["path"] = json!("bin/other");
    server.post("/compute/workers").json(&worker).send().refused(400, "malformed_body");
}

#[test]
fn a_retired_worker_takes_no_job() {
    let server = Server::start();
    let worker = server.register();
    let path = format!("/compute/workers/{worker}");
    let job = server.submit(&action_json(1));
    let busy = server.call("DELETE", &path).send().refused(409, "worker_busy");
    assert_eq!(busy["open_jobs"], 1);
    server.call("DELETE", &format!("/compute/jobs/{job}")).send().expect(200);
    server.call("DELETE", &path).send().expect(200);
    let refused = server.post("/compute/jobs").json(&action_json(2)).send();
    refused.refused(424, "no_worker");
    let unknown = format!("/compute/workers/{}", "11".repeat(20));
    server.call("DELETE", &unknown).send().refused(404, "unknown_worker");
}
