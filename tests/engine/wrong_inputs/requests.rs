//! Paths, methods, types, queries and hosts that don't exist.

use super::{Bench, Wrong};
use crate::wire::{CB, JSON, OCTETS, Request};

fn hash(digits: usize) -> String {
    "0123456789".repeat(5)[..digits].to_owned()
}

#[test]
fn paths_methods_and_types() {
    let bench = Bench::start(&[]);
    let get = |path: &str| Request::get(path);
    let unknown = |path: String| Wrong::new(&path, get(&path)).is(404, "unknown_path");
    let known = hash(40);
    let mut table: Vec<_> = [
        "/compute".to_owned(),
        "/compute/".to_owned(),
        "/compute/nothing".to_owned(),
        "/compute/jobs/12x".to_owned(),
        "/compute/jobs/-1".to_owned(),
        "/compute/jobs/18446744073709551616".to_owned(),
        format!("/compute/jobs/{}", hash(39)),
        format!("/compute/workers/{}", hash(41)),
        format!("/compute/chunks/{}g", hash(39)),
        format!("/compute/jobs/{known}/{known}/{known}"),
        "/compute/../compute/ready/x".to_owned(),
        "/%2e%2e/etc/passwd".to_owned(),
    ]
    .into_iter()
    .map(unknown)
    .collect();
    table.extend([
        Wrong::new("no job", get("/compute/jobs/4711")).is(404, "unknown_job").says("4711"),
        Wrong::new("no worker", get(&format!("/compute/workers/{known}")))
            .is(404, "unknown_worker")
            .says(&known),
        Wrong::new("no action", get(&format!("{}/{known}", bench.jobs())))
            .is(404, "unknown_action")
            .says(&known),
        Wrong::new("nothing to change", Request::new("POST", "/compute/jobs/4711"))
            .is(404, "unknown_job"),
        Wrong::new("no wish", Request::post("/compute/jobs/2", JSON, "{}")).is(400, "bad_field"),
        Wrong::new("an old package type", Request::post(bench.jobs(), "application/x-ue-pkg", "x"))
            .is(415, "unsupported_media_type")
            .says("application/x-ue-pkg")
            .says("application/x-ue-cbpkg"),
        Wrong::new("raw bytes as action", Request::post(bench.jobs(), OCTETS, "x"))
            .is(415, "unsupported_media_type")
            .says("application/x-ue-cb"),
        Wrong::new(
            "a form",
            Request::post("/compute/workers", "application/x-www-form-urlencoded", "a=b"),
        )
        .is(415, "unsupported_media_type"),
        Wrong::new("an object as chunk", Request::put(format!("/compute/chunks/{known}"), CB, "x"))
            .is(415, "unsupported_media_type"),
        Wrong::new("a page", get("/compute/jobs").header("Accept", "text/html"))
            .is(406, "not_acceptable")
            .says("application/json"),
        Wrong::new("nothing at all", get("/compute/jobs").header("Accept", "*/*;q=0"))
            .is(406, "not_acceptable"),
    ]);
    bench.check(table);
    // The header `Allow` goes with a wrong method.
    for (method, path, allow) in [
        ("PATCH", "/compute/jobs".to_owned(), "GET, HEAD, POST"),
        ("DELETE", format!("/compute/chunks/{known}"), "GET, HEAD, PUT"),
        ("POST", format!("/apply/jobs/{known}/{known}"), "GET, HEAD"),
        ("PUT", "/health".to_owned(), "GET, HEAD"),
    ] {
        let reply = bench.send(&Request::new(method, path)).expect(405);
        assert_eq!(reply.header("allow"), allow);
        let body = reply.value();
        assert_eq!(body["code"], "method_not_allowed");
        assert!(body["error"].as_str().unwrap().contains(allow), "{body}");
        bench.assert_works(method);
    }
}

#[test]
fn queries() {
    let bench = Bench::start(&[]);
    let job = bench.jobs();
    let mut table = Vec::new();
    for (path, name, values) in [
        ("/compute/jobs", "limit", &["x", "-1", "1e3", ""][..]),
        ("/compute/jobs", "after", &["x", "-1", "18446744073709551616"]),
        ("/compute/jobs", "state", &["done", "Pending", ""]),
        ("/compute/jobs", "worker", &["x", "0123"]),
        ("/compute/jobs", "queue", &["x", "-1", "4294967296"]),
        ("/compute/jobs/completed", "since", &["x", "-1", "18446744073709551616"]),
        ("/compute/jobs/completed", "limit", &["x"]),
        ("/compute/jobs/completed", "wait", &["x", "-1", "NaN", "inf", "-inf"]),
        ("/compute/log", "from", &["x", "-1"]),
        ("/compute/log", "limit", &["x", "-1"]),
        ("/compute/log", "wait", &["-0.1", "1s"]),
    ] {
        for value in values {
            let request = Request::get(format!("{path}?{name}={value}"));
            let wrong = Wrong::new(format!("{path} {name}={value}"), request);
            table.push(wrong.is(400, "bad_parameter").says(format!("query parameter {name}")));
        }
    }
    let body = crate::work::reverse("never submitted").object.bytes().to_vec();
    for (name, value) in [
        ("priority", "high"),
        ("priority", "2147483648"),
        ("priority", "1.5"),
        ("priority", ""),
        ("cache", "maybe"),
    ] {
        let request = Request::post(format!("{job}?{name}={value}"), CB, body.clone());
        let wrong = Wrong::new(format!("{name}={value}"), request);
        table.push(wrong.is(400, "bad_parameter").says(name));
    }
    // The log is only spoken in lines, so its errors are asked for as they come.
    for wrong in &mut table {
        if wrong.request.path.starts_with("/compute/log") {
            wrong.request = wrong.request.clone().header("Accept", JSON);
        }
    }
    bench.check(table);
}

#[test]
fn hosts_and_pages_of_others() {
    let bench = Bench::start(&["--allowed-host", "build.example"]);
    let port = bench.service.address().port();
    let mut table = Vec::new();
    for host in
        ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "192.0.2.1"]
    {
        let request = Request::get("/compute/jobs").header("Host", host);
        table.push(Wrong::new(host, request).is(403, "foreign_host").says(host));
    }
    for origin in
        ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://localhost:1"]
    {
        let request = Request::post(bench.jobs(), JSON, "{}").header("Origin", origin);
        table.push(Wrong::new(origin, request).is(403, "foreign_origin").says(origin));
    }
    bench.check(table);
    for host in ["localhost", "build.example:1234", "[::1]:80", "127.0.0.2"] {
        bench.send(&Request::get("/compute/jobs").header("Host", host)).expect(200);
    }
    let own = format!("http://localhost:{port}");
    bench.send(&Request::get("/compute/jobs").header("Origin", own)).expect(200);
}
