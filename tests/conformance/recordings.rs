//! Recordings and their archives.

use serde_json::{Value, json};

use crate::bodies::Body;
use crate::client::{Client, OCTETS};
use crate::world::World;

/// Walks the rows of recordings.
pub(crate) fn all(client: &Client<'_>, world: &World) {
    lived(client, world);
    listed(client, world);
    carried(client, world);
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
    assert_eq!((&shown["state"], &shown["open_jobs"]), (&json!("settling"), &json!(1)));
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
    assert_eq!((&refused["recording"], &refused["open_jobs"]), (&json!(world.settling), &json!(1)));
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
