//! Chunks one by one.

use ledgerun::domain::ChunkId;
use ledgerun::wire::cb::Object;
use ledgerun::wire::compressed::{self, Limits, Packing};
use serde_json::json;

use crate::client::{CB, COMP, JSON, OCTETS};
use crate::server::Server;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

#[test]
fn raw_content_goes_in_and_comes_out() {
    let server = Server::start();
    for length in [0, 1, 4_096, 300_000, 5_000_000] {
        let content = content(length);
        let id = ChunkId::of(&content);
        let path = format!("/compute/chunks/{id}");
        server.get(&path).send().refused(404, "unknown_chunk");
        let put = || server.call("PUT", &path).body(OCTETS, &content);
        assert_eq!(put().send().expect(201).value(), json!({"chunk": id.to_string()}));
        put().send_chunked().expect(200);
        let got = server.get(&path).send().expect(200);
        assert_eq!((got.media(), &got.body), (OCTETS, &content));
        assert_eq!(got.header("etag"), format!("\"{id}\""));
        assert!(got.header("cache-control").contains("immutable"));
        let head = server.call("HEAD", &path).send().expect(200);
        assert_eq!((head.header("content-length"), head.body.len()), (&*length.to_string(), 0));
    }
}

#[test]
fn compressed_content_is_stored_raw() {
    let server = Server::start();
    let content = content(700_000);
    let id = ChunkId::of(&content);
    let path = format!("/apply/chunks/{id}");
    for (packing, status) in [(Packing::Lz4, 201), (Packing::Stored, 200)] {
        let packed = compressed::encode(&content, packing);
        server.call("PUT", &path).body(COMP, packed).send().expect(status);
    }
    assert_eq!(server.get(&path).send().expect(200).body, content);
    let packed = server.get(&path).accept(COMP).send().expect(200);
    assert_eq!(packed.media(), COMP);
    assert_eq!(compressed::decode(&packed.body, Limits::raw(1 << 20)).unwrap(), content);
}

#[test]
fn content_that_is_not_its_name_is_refused() {
    let server = Server::start();
    let content = content(10_000);
    let other = format!("/compute/chunks/{}", ChunkId::of(b"other"));
    let put = |media, body: &[u8]| server.call("PUT", &other).body(media, body).accept(JSON).send();
    put(OCTETS, &content).refused(400, "wrong_hash");
    let packed = compressed::encode(&content, Packing::Lz4);
    put(COMP, &packed).refused(400, "wrong_hash");
    let mut lying = packed.clone();
    lying[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
    put(COMP, &lying).refused(400, "malformed_body");
    put(COMP, &packed[..packed.len() - 1]).refused(400, "malformed_body");
    put(JSON, b"{}").refused(415, "unsupported_media_type");
    assert_eq!(server.store.stats().count, 0);
    server.call("PUT", "/compute/chunks/short").send().refused(404, "unknown_path");
}

#[test]
fn ranges_of_the_raw_form() {
    let server = Server::start();
    let content = content(200_000);
    let id = server.store.put_unnamed(&content).unwrap();
    let path = format!("/compute/chunks/{id}");
    let get = |range: &str| server.get(&path).header("range", range).send();
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=4095-4096", 4_095, 4_097),
        ("bytes=100000-", 100_000, 200_000),
        ("bytes=-5", 199_995, 200_000),
        ("bytes=10-999999", 10, 200_000),
    ] {
        let part = get(range).expect(206);
        assert_eq!(part.body, content[start..end], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {start}-{}/200000", end - 1));
    }
    let beyond = get("bytes=200000-");
    assert_eq!(beyond.header("content-range"), "bytes */200000");
    beyond.refused(416, "range_not_satisfiable");
    assert_eq!(get("bytes=0-1,4-5").expect(200).body, content);
    let changed = server.get(&path).header("range", "bytes=0-1").header("if-range", "\"x\"");
    changed.send().expect(200);
    let packed = server.get(&path).header("range", "bytes=0-1").accept(COMP);
    assert_eq!(packed.send().expect(200).body.len(), 200_064);
    let tag = format!("\"{id}\"");
    assert!(server.get(&path).header("if-none-match", tag).send().expect(304).body.is_empty());
}

#[test]
fn what_is_missing_and_what_was_not_named() {
    let server = Server::start();
    let held = server.post("/compute/chunks").body(OCTETS, b"held").send().expect(201).value();
    assert_eq!(held["chunk"], ChunkId::of(b"held").to_string());
    server.post("/compute/chunks").body(OCTETS, b"held").send().expect(200);

    let (held, missing) = (ChunkId::of(b"held"), ChunkId::of(b"missing"));
    let body = json!({"chunks": [missing.to_string(), held.to_string(), missing.to_string()]});
    let need = server.post("/compute/chunks").json(&body).send().expect(200).value();
    assert_eq!(need, json!({"need": [missing.to_string()]}));
    let object = Object::build(|o| {
        o.field("chunks").array(|a| {
            a.item().hash(held.0);
            a.item().binary_attachment(missing.0);
        });
    });
    let need = server.post("/compute/chunks").body(CB, object.bytes()).send().expect(200).object();
    let need: Vec<_> = need.get("need").unwrap().children().map(|f| f.as_hash().unwrap()).collect();
    assert_eq!(need, [missing.0]);
    let bad = server.post("/compute/chunks").json(&json!({"chunks": ["x"]})).send();
    assert!(bad.refused(400, "bad_field")["error"].as_str().unwrap().contains("chunks[0]"));
}

#[test]
fn a_full_disk_takes_nothing() {
    let server = Server::start();
    server.engine.set_has_room(false);
    let path = format!("/compute/chunks/{}", ChunkId::of(b"x"));
    server.call("PUT", &path).body(OCTETS, b"x").send().refused(507, "insufficient_storage");
    let job = server.post("/compute/jobs").json(&crate::fixture::action_json(1)).send();
    job.refused(507, "insufficient_storage");
    server.get("/compute/jobs").send().expect(200);
    server.engine.set_has_room(true);
    server.call("PUT", &path).body(OCTETS, b"x").send().expect(201);
}
