//! Recordings and their archives.

use serde_json::{Value, json};

use crate::bodies::Body;
use crate::bodies::Temper;
use crate::client::{Client, OCTETS};
use crate::world::{World, new_replay, until_replayed};

/// Walks the rows of recordings.
pub(crate) fn all(client: &Client<'_>, world: &World) {
    lived(client, world);
    listed(client, world);
    carried(client, world);
    replayed(client, world);
}

fn path(recording: &Value) -> String {
    format!("/compute/record/{recording}")
}

/// From its start to its end.
fn lived(client: &Client<'_>, world: &World) {
    client.push("/compute/record/stop").refused(409, "not_recording");
    for body in [json!({ "name": "nightly" }), json!({})] {
        let started = client.post("/compute/record/start", &Body::plain(body.clone())).expect(200);
        let started = started.value();
        let (id, shown) = (&started["recording"], path(&started["recording"]));
        assert_eq!(started["start_lsn"], *id);
        let refused = client.push("/compute/record/start").refused(409, "recording_active");
        assert_eq!(refused["recording"], *id);
        client.delete(&shown).refused(409, "recording_active");
        let archive = format!("{shown}/archive");
        client.call("GET", &archive).accept("*/*").send().refused(409, "recording_active");
        let now = client.call("GET", &shown).send().expect(200).value();
        assert_eq!((&now["state"], &now["name"]), (&json!("recording"), &body["name"]));
        let stopped = client.push("/compute/record/stop").expect(200).value();
        assert_eq!((&stopped["recording"], &stopped["jobs"]), (id, &json!(0)));
        assert_eq!(client.get(&shown).expect(200).value()["state"], "complete");
        client.delete(&shown).expect(200);
        client.delete(&shown).refused(404, "unknown_recording");
        client.get(&shown).refused(404, "unknown_recording");
    }
    let long = Body::plain(json!({ "name": "n".repeat(257) }));
    assert_eq!(client.post("/compute/record/start", &long).refused(400, "too_long")["limit"], 256);
    let shown = client.get(&path(&json!(world.settling))).expect(200).value();
    assert_eq!((&shown["state"], &shown["open_jobs"]), (&json!("settling"), &json!(2)));
}

fn listed(client: &Client<'_>, world: &World) {
    let whole = client.get("/compute/record?limit=1000").expect(200).value();
    let ids = |list: &Value| -> Vec<u64> {
        let recordings = list["recordings"].as_array().unwrap();
        recordings.iter().map(|recording| recording["recording"].as_u64().unwrap()).collect()
    };
    assert!(ids(&whole).contains(&world.recorded) && ids(&whole).contains(&world.settling));
    let after = client.get(&format!("/compute/record?after={}", world.recorded)).expect(200);
    assert_eq!(ids(&after.value())[0], world.settling);
    for bad in ["after=x", "limit=x"] {
        client.get(&format!("/compute/record?{bad}")).refused(400, "bad_parameter");
    }
}

/// Out and in again.
fn carried(client: &Client<'_>, world: &World) {
    let archive = |id: u64, query: &str| {
        let target = format!("/compute/record/{id}/archive{query}");
        client.visits.ask(&target, OCTETS);
        client.call("GET", &target).accept("*/*").send()
    };
    for query in ["", "?wait=0", "?wait=3.5"] {
        assert_eq!(archive(world.recorded, query).expect(200).body, world.archive);
    }
    let refused = archive(world.settling, "?wait=0").refused(409, "recording_open");
    assert_eq!((&refused["recording"], &refused["open_jobs"]), (&json!(world.settling), &json!(2)));
    archive(world.settling, "?wait=0.01").refused(409, "recording_open");
    archive(world.recorded, "?wait=x").refused(400, "bad_parameter");
    archive(1, "").refused(404, "unknown_recording");

    let import =
        |bytes: Vec<u8>| client.call("POST", "/compute/record/import").bytes(OCTETS, bytes);
    let shown = client.get(&path(&json!(world.recorded))).expect(200).value();
    let taken = import(world.archive.clone()).send().expect(200).value();
    for same in ["jobs", "chunks", "bytes"] {
        assert_eq!(taken[same], shown[same], "{same}");
    }
    let taken = taken["recording"].as_u64().unwrap();
    assert_eq!(archive(taken, "").expect(200).body, world.archive);
    let there = client.get(&path(&json!(taken))).expect(200).value();
    assert_eq!((&there["imported"], &there["start_lsn"]), (&json!(true), &shown["start_lsn"]));
    let half = world.archive[..world.archive.len() / 2].to_vec();
    let refused = import(half).send().refused(400, "damaged_archive");
    assert!(refused["position"].as_u64().unwrap() <= world.archive.len() as u64 / 2);
    client.delete(&path(&json!(taken))).expect(200);
}

/// Run again, to the end and not.
fn replayed(client: &Client<'_>, world: &World) {
    let shown = client.untraced(|| {
        let replay = new_replay(client, world.recorded, json!({ "repeat": 1 }));
        until_replayed(client, replay)
    });
    assert_eq!((&shown["matched"], &shown["total"]), (&json!(2), &json!(2)), "{shown}");
    for list in ["mismatched", "failed", "newly_passing"] {
        assert_eq!(shown[list], json!([]), "{list}");
    }
    let over = format!("/compute/replays/{}", shown["replay"]);
    assert_eq!(client.get(&over).expect(200).value()["state"], "done");
    client.delete(&over).expect(200);
    let list = client.get("/compute/replays").expect(200).value();
    let list = list["replays"].as_array().unwrap().clone();
    assert!(list.iter().any(|replay| replay["replay"] == json!(world.replayed)));

    let running = new_replay(client, world.recorded, json!({ "speed": 1e-9 }));
    let running = client.call("GET", &format!("/compute/replays/{running}")).send().expect(200);
    let running = running.value();
    let recording = path(&json!(world.recorded));
    let refused = client.delete(&recording).refused(409, "recording_in_use");
    assert_eq!(refused["recording"], json!(world.recorded));
    let jobs = format!("/compute/queues/{}/jobs", running["queue"]);
    let action = world.worker(Temper::Quick).action(client.visits.number());
    client.post(&jobs, &action).refused(409, "queue_of_replay");
    let ended = client.delete(&format!("/compute/replays/{}", running["replay"])).expect(200);
    assert_eq!(ended.value()["recording"], json!(world.recorded));
    client.untraced(|| until_replayed(client, running["replay"].as_u64().unwrap()));

    for (method, below) in [("GET", ""), ("DELETE", "")] {
        let target = format!("/compute/replays/1{below}");
        client.call(method, &target).send().refused(404, "unknown_replay");
    }
    let again = |id: u64, plan: Value| {
        client.post(&format!("/compute/record/{id}/replay"), &Body::plain(plan))
    };
    again(1, json!({})).refused(404, "unknown_recording");
    again(world.settling, json!({})).refused(409, "recording_open");
    for wrong in [json!({ "speed": 0 }), json!({ "only": true }), json!({ "stride": "x" })] {
        again(world.recorded, wrong).refused(400, "bad_field");
    }
}
