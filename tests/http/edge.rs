//! What holds for every route.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use ledgerun::http::{AccessToken, HttpConfig, Limits};
use serde_json::json;

use crate::client::{CB, JSON, OCTETS, PKG};
use crate::server::Server;

#[test]
fn both_prefixes_and_the_probes_answer() {
    let server = Server::start();
    for path in ["/compute/ready", "/apply/ready"] {
        assert_eq!(server.get(path).send().expect(200).value(), json!({"ready": true}));
        let object = server.get(path).accept(CB).send().expect(200).object();
        assert_eq!(object.get("ready").unwrap().as_bool(), Some(true));
    }
    for path in ["/health", "/health/ready"] {
        assert_eq!(server.get(path).accept(CB).send().expect(200).text(), "OK\n");
    }
    let head = server.call("HEAD", "/compute/ready").send().expect(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, "14"));
}

#[test]
fn sysinfo_describes_machine_log_and_store() {
    let server = Server::start();
    server.register();
    let info = server.get("/compute/sysinfo").send().expect(200).value();
    assert_eq!(info["os"], std::env::consts::OS);
    assert!(info["logical_cores"].as_u64().unwrap() > 0);
    assert!(info["memory_total_bytes"].as_u64().unwrap() > 0);
    assert_eq!(info["log"]["last_lsn"], info["log"]["durable_lsn"]);
    assert_eq!(info["log"]["first_lsn"], 1);
    assert_eq!(info["chunks"]["count"], 1);
}

#[test]
fn a_starting_service_says_so_and_answers_nothing_from_empty_views() {
    let (server, parts) = Server::booting(HttpConfig::default());
    let ready = server.get("/compute/ready").send().expect(503);
    assert_eq!(ready.value()["ready"], false);
    assert_eq!(server.get("/health/ready").send().expect(503).header("retry-after"), "1");
    server.get("/compute/jobs/7").send().refused(503, "starting");
    server.post("/compute/jobs").json(&json!({})).send().refused(503, "starting");
    drop(parts);
}

#[test]
fn unknown_paths_and_methods_have_reasons() {
    let server = Server::start();
    server.get("/compute/nothing").send().refused(404, "unknown_path");
    server.get("/").send().refused(404, "unknown_path");
    let reply = server.call("PATCH", "/compute/jobs").send();
    assert_eq!(reply.header("allow"), "GET, HEAD, POST");
    reply.refused(405, "method_not_allowed");
    server.get("/compute/jobs").accept("text/html").send().refused(406, "not_acceptable");
    server
        .post("/compute/jobs")
        .body("text/plain", "x")
        .accept(JSON)
        .send()
        .refused(415, "unsupported_media_type");
}

#[test]
fn a_404_to_an_engine_post_is_an_object_whatever_made_it() {
    let server = Server::start();
    for path in ["/compute/jobs/zzz", "/apply/workers/0/1", "/compute/jobs/99/cancel"] {
        for accept in [None, Some(PKG), Some("text/html"), Some("*/*")] {
            if path.ends_with("cancel") && accept.is_some_and(|accept| accept != "*/*") {
                continue; // 406, before the job is looked for
            }
            let call = server.post(path).body(CB, [2, 0]);
            let call = if let Some(accept) = accept { call.accept(accept) } else { call };
            let reply = call.send().expect(404);
            assert!(reply.object().get("error").is_some(), "{path} {accept:?}");
        }
        assert_eq!(server.post(path).send().expect(404).media(), CB, "{path} without a body");
        let json = server.post(path).json(&json!({})).send().expect(404);
        assert_eq!(json.media(), JSON, "{path} with a JSON body");
    }
}

#[test]
fn bodies_over_their_limit_are_refused_before_they_are_read() {
    let limits = Limits { object_bytes: 1_000, chunk_bytes: 2_000, ..Limits::default() };
    let server = Server::with(HttpConfig { limits, ..HttpConfig::default() });
    let huge = 10_000_000_000;
    let post = |path| server.post(path).body(CB, "").accept(JSON);
    post("/compute/jobs").send_announcing(huge).refused(413, "body_too_large");
    post("/compute/workers").send_announcing(1_001).refused(413, "body_too_large");
    let package = server.post("/compute/workers").body(PKG, "").accept(JSON);
    package.send_announcing(huge).refused(413, "body_too_large");
    let chunk = format!("/compute/chunks/{}", "0".repeat(40));
    let put = |body: &[u8]| server.call("PUT", &chunk).body(OCTETS, body);
    put(b"").send_announcing(2_001).refused(413, "body_too_large");
    // Of unknown length: counted.
    put(&[0; 9_000]).send_chunked().refused(413, "body_too_large");
    post("/compute/jobs")
        .body(CB, vec![b' '; 100_000])
        .send_chunked()
        .refused(413, "body_too_large");
    // Sent in full although it is refused: the answer still arrives.
    post("/compute/jobs").body(CB, vec![0; 3_000_000]).send().refused(413, "body_too_large");
    server.get("/compute/ready").send().expect(200);
}

#[test]
fn more_bodies_than_memory_is_set_aside_for_are_told_to_come_back() {
    let server = Server::with(HttpConfig { buffered_bytes_max: 4_096, ..HttpConfig::default() });
    let reply = server.post("/compute/jobs").body(CB, vec![0; 10_000]).accept(JSON).send();
    assert_eq!(reply.header("retry-after"), "1");
    reply.refused(503, "over_capacity");
    // What was set aside is given back.
    for _ in 0..3 {
        let small = server.post("/compute/jobs").body(CB, vec![0; 3_000]).accept(JSON).send();
        small.refused(400, "malformed_body");
    }
}

#[test]
fn malformed_bytes_are_named() {
    let server = Server::start();
    let post =
        |media, body: &[u8]| server.post("/compute/jobs").body(media, body).accept(JSON).send();
    let wrong = post(CB, b"\x02\x7f").refused(400, "malformed_body");
    assert!(wrong["error"].as_str().unwrap().contains("byte 1"), "{wrong}");
    let wrong = post(JSON, b"{\n\"Function\": nul").refused(400, "malformed_body");
    assert!(wrong["error"].as_str().unwrap().contains("line 2"), "{wrong}");
    let wrong = post(JSON, b"{\"Function\": 7}").refused(400, "malformed_body");
    assert!(wrong["error"].as_str().unwrap().contains("Function"), "{wrong}");
    post(JSON, b"[]").refused(400, "malformed_body");
    post(PKG, b"not a package at all").refused(400, "malformed_body");
    post(CB, b"").refused(400, "malformed_body");
    server.post("/compute/jobs").accept(JSON).send().refused(400, "malformed_body");
    let nested = "[".repeat(10_000);
    post(JSON, format!("{{\"Constants\":{nested}").as_bytes()).refused(400, "malformed_body");
    for query in ["priority=x", "priority=99999999999", "cache=maybe"] {
        let path = format!("/compute/jobs?{query}");
        server.post(&path).json(&json!({})).send().refused(400, "bad_parameter");
    }
}

#[test]
fn a_silent_client_is_given_up() {
    let quick = Duration::from_millis(200);
    let server = Server::with(HttpConfig {
        body_timeout: quick,
        idle_timeout: quick,
        ..HttpConfig::default()
    });
    let half = server.post("/compute/jobs").body(CB, "").accept(JSON);
    half.send_announcing(100).refused(408, "body_timeout");
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /compute/ready HT").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn foreign_hosts_and_pages_are_refused() {
    let server = Server::start();
    let get = || server.get("/compute/jobs");
    get().header("host", "evil.example").send().refused(403, "foreign_host");
    get().header("origin", "https://evil.example").send().refused(403, "foreign_origin");
    get().header("host", "localhost").send().expect(200);
    get().header("origin", format!("http://{}", server.address)).send().expect(200);
    let post = server.post("/compute/jobs/1/cancel").header("origin", "null");
    post.accept(JSON).send().refused(403, "foreign_origin");
}

#[test]
fn requests_are_the_cause_of_what_they_led_to() {
    let server = Server::start();
    server.register();
    let action = crate::fixture::action_json(1);
    let post = |session: &str, request: &str| {
        let post = server.post("/compute/jobs").json(&action).accept(JSON);
        post.header("UE-Session", session).header("UE-Request", request).send().expect(200)
    };
    post("0123456789abcdef01234567", "42");
    post("short", "123456789012345678901");
    let log = server.get("/compute/log?from=2").send().expect(200);
    assert_eq!(log.media(), "application/x-ndjson");
    let lines: Vec<serde_json::Value> =
        log.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["cause"], json!({"session": "0123456789abcdef01234567", "request": 42}));
    assert_eq!(lines[1]["cause"], json!({}));
}

#[test]
fn an_access_token_is_needed_for_everything_but_probes() {
    let access_token = Some(AccessToken::new("open sesame, please"));
    let server = Server::with(HttpConfig { access_token, ..HttpConfig::default() });
    for path in ["/health", "/health/ready", "/compute/ready", "/apply/ready"] {
        server.get(path).send().expect(200);
    }
    server.call("PUT", "/health").send().refused(405, "method_not_allowed");
    for (method, path) in [
        ("GET", "/compute/jobs"),
        ("GET", "/compute/log"),
        ("GET", "/compute/sysinfo"),
        ("PATCH", "/compute/jobs"),
        ("GET", "/nowhere"),
    ] {
        let reply = server.call(method, path).send();
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"ledgerun\"");
        reply.refused(401, "unauthorized");
        let reply = server.call(method, path).header("authorization", "Bearer guess").send();
        assert!(reply.header("www-authenticate").contains("invalid_token"), "{reply:?}");
        reply.refused(401, "unauthorized");
    }
    let right = "Bearer open sesame, please";
    server.get("/compute/jobs").header("authorization", right).send().expect(200);
    let unknown = server.get("/nowhere").header("authorization", right);
    unknown.send().refused(404, "unknown_path");
    // A body is no reason to lose the answer, nor is any of it kept.
    let post = server.post("/compute/jobs").body(CB, vec![0; 3_000_000]);
    assert!(post.send().expect(401).object().get("code").is_some());
}
