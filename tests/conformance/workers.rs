//! Workers, chunks, the log, and what the service says about itself.

use ledgerun::domain::ChunkId;
use ledgerun::wire::compressed::{self, Limits, Packing, encode};
use serde_json::{Value, json};

use crate::bodies::{Body, Temper, Worker, action};
use crate::client::{COMP, Client, JSON, OCTETS, PKG, shape};
use crate::visits::Mode;
use crate::world::{World, new_chunk};

/// Walks the rows of workers, chunks and the system.
pub(crate) fn all(client: &Client<'_>, world: &World) {
    system(client);
    registered(client, world);
    refused(client, world);
    retired(client, world);
    uploads(client);
    downloads(client);
    log(client);
}

fn system(client: &Client<'_>) {
    assert_eq!(client.get("/compute/ready").expect(200).value(), json!({ "ready": true }));
    let shapes = Mode::BOTH.map(|mode| {
        let info = client.call("GET", "/compute/sysinfo").accept(mode.media()).send().expect(200);
        client.visits.ask("/compute/sysinfo", mode.media());
        let info = info.value();
        assert_eq!(info["log"]["last_lsn"], info["log"]["durable_lsn"]);
        assert_eq!(info["runners"][0]["slots"], 8);
        shape(&info)
    });
    assert_eq!(shapes[0], shapes[1]);
}

/// First what is missing is told, then it is known.
fn registered(client: &Client<'_>, world: &World) {
    let worker = Worker::new(Temper::Quick, &format!("N{}", client.visits.number()));
    let (all, own) = ("/compute/workers", format!("/compute/workers/{}", worker.id()));
    let script = ChunkId::of(&worker.contents[0]);
    for target in [all, &own] {
        let refused = client.post(target, &worker.descriptor).refused(404, "missing_chunks");
        assert_eq!(refused["need"], json!([script.to_string()]), "what it has is not asked for");
    }
    client.get(&own).refused(404, "unknown_worker");
    let other = format!("/compute/workers/{}", world.worker(Temper::Quick).id());
    client.post(&other, &worker.descriptor).refused(400, "wrong_id");
    let put = format!("/compute/chunks/{script}");
    client.call("PUT", &put).bytes(OCTETS, worker.contents[0].clone()).send().expect(201);
    for target in [&own, all, &own.to_ascii_uppercase().replace("/COMPUTE/WORKERS", all)] {
        let known = client.post(target, &worker.descriptor).expect(200).value();
        assert_eq!(known, json!({ "worker": worker.id() }));
        let call = client.call("POST", target).bytes(PKG, worker.package());
        assert_eq!(call.send().expect(200).value(), known);
    }
    let shown = client.get(&own).expect(200).value();
    assert_eq!((&shown["name"], &shown["path"]), (&worker.descriptor.json["name"], &json!("work")));
    if client.mode == Mode::Binary {
        let bytes = client.call("GET", &own).send().body;
        assert_eq!(bytes, worker.descriptor.object.bytes()[..], "byte for byte");
    }
    let list = client.get(all).expect(200).value();
    let listed = list["workers"].as_array().unwrap().iter();
    let listed = listed.clone().find(|listed| listed["worker"] == worker.id()).unwrap();
    assert_eq!(listed["functions"], worker.descriptor.json["functions"]);
}

/// Descriptors that would leave their folder, or don't fit together.
fn refused(client: &Client<'_>, world: &World) {
    let quick = &world.worker(Temper::Quick).descriptor.json;
    for name in
        ["/etc/work", "../work", "a/../../work", "C:\\work", "a\\..\\work", "a\0b", "", "value"]
    {
        let mut json = quick.clone();
        json["executables"][0]["name"] = json!(name);
        let path = if name == "value" { "work" } else { name };
        json["path"] = json!(path);
        let refused = client.post("/compute/workers", &Body::plain(json));
        refused.refused(400, "malformed_body");
    }
    let mut json = quick.clone();
    json["path"] = json!("elsewhere");
    client.post("/compute/workers", &Body::plain(json)).refused(400, "malformed_body");
}

fn retired(client: &Client<'_>, world: &World) {
    for temper in [Temper::Endless, Temper::Foreign] {
        let busy = format!("/compute/workers/{}", world.worker(temper).id());
        let refused = client.delete(&busy).refused(409, "worker_busy");
        assert!(refused["open_jobs"].as_u64() >= Some(3), "{refused}");
    }
    let worker = Worker::new(Temper::Quick, &format!("R{}", client.visits.number()));
    let own = format!("/compute/workers/{}", worker.id());
    client.delete(&own).refused(404, "unknown_worker");
    let register = || client.call("POST", &own).bytes(PKG, worker.package()).send().expect(200);
    register();
    for _ in 0..2 {
        let gone = client.delete(&own).expect(200).value();
        assert_eq!(gone, json!({ "worker": worker.id(), "retired": true }));
    }
    client.get(&own).refused(404, "unknown_worker");
    let job = format!("/compute/jobs/{}", worker.id());
    client.post(&job, &worker.action(1)).refused(424, "unknown_worker");
    client.post("/compute/jobs", &action(&worker.function, 1, &[])).refused(424, "no_worker");
    register();
    client.get(&own).expect(200);
}

fn uploads(client: &Client<'_>) {
    let number = client.visits.number();
    let content = |name: &str| format!("{name} {number} ").repeat(50).into_bytes();
    for (media, packed) in [(OCTETS, false), (COMP, true)] {
        let pack = |raw: &[u8]| if packed { encode(raw, Packing::Lz4) } else { raw.to_vec() };
        let raw = content(media);
        let id = ChunkId::of(&raw);
        let target = format!("/compute/chunks/{id}");
        for status in [201, 200] {
            let put = client.call("PUT", &target).bytes(media, pack(&raw)).send().expect(status);
            assert_eq!(put.value(), json!({ "chunk": id.to_string() }));
        }
        let wrong = client.call("PUT", &target).bytes(media, pack(b"something else")).send();
        wrong.refused(400, "wrong_hash");
        let unnamed = [&raw[..], b"unnamed"].concat();
        for status in [201, 200] {
            let call = client.call("POST", "/compute/chunks").bytes(media, pack(&unnamed));
            let posted = call.send().expect(status).value();
            assert_eq!(posted, json!({ "chunk": ChunkId::of(&unnamed).to_string() }));
        }
    }
    let (held, _) = new_chunk(client);
    let missing = ChunkId::of(&content("missing"));
    let asked = Body::chunks(&[missing, held, missing]);
    let need = client.post("/compute/chunks", &asked).expect(200).value();
    assert_eq!(need, json!({ "need": [missing.to_string()] }));
    for (wrong, field) in [(json!({ "chunks": ["x"] }), "chunks[0]"), (json!({}), "chunks")] {
        let refused = client.post("/compute/chunks", &Body::plain(wrong));
        let refused = refused.refused(400, "bad_field");
        assert!(refused["error"].as_str().unwrap().contains(field), "{refused}");
    }
}

fn downloads(client: &Client<'_>) {
    let (id, content) = new_chunk(client);
    let target = format!("/compute/chunks/{id}");
    let raw = client.get_as(OCTETS, &target).expect(200);
    assert_eq!((&raw.body, raw.header("etag")), (&content, format!("\"{id}\"").as_str()));
    assert!(raw.header("cache-control").contains("immutable"));
    let packed = client.get_as(COMP, &target).expect(200).body;
    assert_eq!(compressed::decode(&packed, Limits::raw(1 << 20)).unwrap(), content);
    for media in [OCTETS, COMP] {
        let head = client.call("HEAD", &target).accept(media).send().expect(200);
        let length = if media == COMP { packed.len() } else { content.len() };
        assert_eq!(head.header("content-length"), length.to_string());
    }
    let get = || client.call("GET", &target).accept(OCTETS);
    let part = get().header("range", "bytes=2-5").send().expect(206);
    assert_eq!(part.body, content[2..6]);
    assert_eq!(part.header("content-range"), format!("bytes 2-5/{}", content.len()));
    let beyond = get().header("range", "bytes=9999-").send();
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", content.len()));
    assert_eq!(beyond.status, 416);
    let same = get().header("if-none-match", format!("\"{id}\"")).send().expect(304);
    assert!(same.body.is_empty());
    let upper = target.replace(&id.to_string(), &id.to_string().to_ascii_uppercase());
    assert_eq!(client.get_as(OCTETS, &upper).expect(200).body, content);
    let unknown = format!("/compute/chunks/{}", "9".repeat(40));
    let refused = client.call("GET", &unknown).accept("*/*").send();
    refused.refused(404, "unknown_chunk");
    client.visits.ask(&unknown, OCTETS);
}

fn log(client: &Client<'_>) {
    let read = |query: &str| -> Vec<Value> {
        let reply = client.get_as(JSON, &format!("/compute/log{query}")).expect(200);
        let text = reply.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for query in ["", "?from=1", "?from=5&limit=7", "?limit=3&wait=0.01", "?from=9999999&wait=0.01"]
    {
        let lines = read(query);
        let first = if query.contains("from=5") { 5 } else { 1 };
        for (expected, line) in (first..).zip(&lines) {
            assert_eq!(line["lsn"], expected, "{query}");
        }
        let count = match query {
            "?from=5&limit=7" => Some(7),
            "?limit=3&wait=0.01" => Some(3),
            "?from=9999999&wait=0.01" => Some(0),
            _ => None,
        };
        assert!(count.is_none_or(|count| count == lines.len()), "{query}");
    }
    for query in ["from=x", "limit=x", "wait=x"] {
        let call = client.call("GET", &format!("/compute/log?{query}")).accept(JSON);
        call.send().refused(400, "bad_parameter");
    }
}
