//! What holds for every row: spellings, names, methods, bodies, hosts.

use std::collections::BTreeSet;

use crate::client::{CB, COMP, Call, Client, JSON, OCTETS, PKG, alias};
use crate::table::{Gives, ROWS, Row, Takes, looks_back, methods};
use crate::visits::Mode;
use crate::world::{Payload, Request, World};

/// Asks every row in every way that has nothing to do with what it is for.
pub(crate) fn all(client: &Client<'_>, world: &World) {
    for (index, row) in ROWS.iter().enumerate() {
        match row.gives {
            Gives::Object | Gives::ObjectOrPackage => spellings(client, world, row),
            Gives::Text => text(client, row),
            Gives::Bytes => bytes(client, world, row),
            Gives::Lines => lines(client, world, row),
            Gives::Archive => archive(client, world, row),
            Gives::Stream => stream(client, world, row),
        }
        client.visits.note_negotiated(client.half, client.mode, index);
        if row.gives != Gives::Text {
            let call = carrying(client, row, world.still(row));
            call.accept("image/png").send().refused(406, "not_acceptable");
        }
        if row.takes != Takes::Nothing {
            bodies(client, world, row);
        }
        strangers(client, world, row);
        if row.method == "GET" && looks_back(&row.path) {
            times(client, world, row);
        }
    }
    other_methods(client, world);
    unknown(client, world);
}

/// A call with the body of a request, in the client's spelling.
pub(crate) fn carrying<'c, 'w>(
    client: &'c Client<'w>,
    row: &Row,
    request: Request,
) -> Call<'c, 'w> {
    let call = client.call(row.method, &request.target);
    match request.body {
        Payload::None => call,
        Payload::Object(body) => call.body(&body),
        Payload::Bytes(bytes) => call.bytes(OCTETS, bytes),
    }
}

/// One answer, spelled as `Accept` says, without it as the body was.
fn spellings(client: &Client<'_>, world: &World, row: &Row) {
    let Request { status, .. } = world.still(row);
    let asked = || carrying(client, row, world.still(row));
    let is_object = matches!(world.still(row).body, Payload::Object(_));
    let own = match (is_object, row.path.ends_with("{worker}/{action}")) {
        (true, _) => client.mode.media(),
        (false, true) => PKG,
        (false, false) => JSON,
    };
    let live = row.path.ends_with("/sysinfo");
    let mut told = BTreeSet::new();
    for (accept, media) in [
        ("", own),
        ("*/*", own),
        ("image/png, */*;q=0.1", own),
        (CB, CB),
        (JSON, JSON),
        ("APPLICATION/JSON; charset=utf-8", JSON),
        ("application/json;q=0.4, application/x-ue-cb;q=0.6", CB),
        ("application/x-ue-cb;q=0.4, application/json;q=0.6", JSON),
        ("application/json;q=0, application/x-ue-cb", CB),
        ("application/*;q=0.5, application/json", JSON),
    ] {
        let reply = asked().accept(accept).send().expect(status);
        assert_eq!(reply.media(), media, "{} for Accept: {accept}", row.name());
        if media != PKG {
            told.insert(if live { crate::client::shape(&reply.value()) } else { reply.text() });
        }
    }
    let by_alias = Request { target: alias(&world.still(row).target), ..world.still(row) };
    let reply = carrying(client, row, by_alias).send().expect(status);
    told.insert(if live { crate::client::shape(&reply.value()) } else { reply.text() });
    // What runs may have moved on, but nothing here does.
    assert_eq!(told.len(), 1, "{} has several answers: {told:#?}", row.name());
    if row.method == "GET" {
        client.call("HEAD", &world.target(row)).send().expect(status);
    }
}

/// The present, asked for as the past; the beginning; what is still to come.
fn times(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    let at = |lsn: &str| {
        let target = format!("{target}?at={lsn}");
        client.call("GET", &target).accept(client.mode.media()).send()
    };
    let now = client.call("GET", &target).accept(client.mode.media()).send();
    let then = at(&now.lsn().to_string());
    assert_eq!((then.status, then.text()), (now.status, now.text()), "{target}");
    assert_eq!(then.lsn(), now.lsn(), "{target}");
    let ahead = at("18446744073709551615").refused(400, "lsn_in_future");
    assert!(ahead["last_lsn"].as_u64() >= Some(now.lsn()), "{ahead}");
    for wrong in ["", "x", "-1", "18446744073709551616"] {
        let refused = at(wrong).refused(400, "bad_parameter");
        assert!(refused["error"].as_str().unwrap().contains("parameter at"), "{refused}");
    }
    // Before everything there is nothing, but lists are there and empty.
    let empty = at("0");
    let is_list = !row.path.contains('{') || row.path == "/compute/jobs/completed";
    assert_eq!(empty.status, if is_list { 200 } else { 404 }, "{target}: {}", empty.text());
    assert_eq!(empty.lsn(), 0);
}

fn text(client: &Client<'_>, row: &Row) {
    for accept in ["", "*/*", CB, "image/png"] {
        let reply = client.call("GET", &row.path).accept(accept).send().expect(200);
        assert_eq!((reply.media(), reply.text().as_str()), ("text/plain", "OK\n"));
    }
    client.call("HEAD", &row.path).send().expect(200);
}

fn bytes(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    for (accept, media) in [
        ("", OCTETS),
        ("*/*", OCTETS),
        (OCTETS, OCTETS),
        (COMP, COMP),
        ("application/octet-stream;q=0.1, application/x-ue-comp", COMP),
    ] {
        let reply = client.call("GET", &target).accept(accept).send().expect(200);
        assert_eq!(reply.media(), media, "Accept: {accept}");
        let other = client.call("GET", &alias(&target)).accept(accept).send().expect(200);
        assert_eq!(other.body, reply.body);
    }
    client.call("HEAD", &target).accept(OCTETS).send().expect(200);
}

fn lines(client: &Client<'_>, world: &World, row: &Row) {
    if row.path == "/compute/log/compact" {
        return nothing_to_fold(client, row);
    }
    if row.method == "POST" {
        return verdict(client, world, row);
    }
    let target = format!("{}?limit=3", world.target(row));
    for accept in ["", "*/*", JSON, "application/x-ndjson"] {
        let reply = client.call("GET", &target).accept(accept).send().expect(200);
        assert_eq!(reply.media(), "application/x-ndjson", "Accept: {accept}");
        let other = client.call("GET", &alias(&target)).accept(accept).send().expect(200);
        assert_eq!(other.body, reply.body);
    }
    client.call("HEAD", &target).accept(JSON).send().expect(200);
}

/// Nothing is before the first record, and none is older than the world.
fn nothing_to_fold(client: &Client<'_>, row: &Row) {
    let report = |query: &str, accept: &str, path: &str| {
        let target = format!("{path}?{query}");
        let reply = client.call(row.method, &target).accept(accept).send().expect(200);
        assert_eq!(reply.media(), "application/x-ndjson", "Accept: {accept}");
        let report: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(report["report"]["compacted"], false, "{report}");
        assert_eq!(report["report"]["first_lsn"], 1, "{report}");
    };
    for accept in ["", "*/*", JSON, "application/x-ndjson"] {
        report("before=1", accept, &row.path);
        report("keep=1000000", accept, &alias(&row.path));
    }
    for wrong in ["before=x", "before=-1", "keep=", "keep=-1", "keep=1e300"] {
        let target = format!("{}?{wrong}", row.path);
        let refused =
            client.call(row.method, &target).accept("*/*").send().refused(400, "bad_parameter");
        let name = wrong.split('=').next().unwrap();
        assert!(refused["error"].as_str().unwrap().contains(name), "{refused}");
    }
}

/// Lines that end with a verdict, which is as good as it was.
fn verdict(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    for (accept, target) in [("", &target), (JSON, &target), ("*/*", &alias(&target))] {
        let reply = client.call(row.method, target).accept(accept).send().expect(200);
        assert_eq!(reply.media(), "application/x-ndjson", "Accept: {accept}");
        let last = reply.body.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
        let last: serde_json::Value = serde_json::from_slice(last).unwrap();
        assert_eq!(last["report"]["good"], true, "{last}");
    }
}

fn archive(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    for accept in ["", "*/*", OCTETS, "application/json;q=0.1, application/octet-stream"] {
        let reply = client.call("GET", &target).accept(accept).send().expect(200);
        assert_eq!((reply.media(), &reply.body), (OCTETS, &world.archive), "Accept: {accept}");
        let other = client.call("GET", &alias(&target)).accept(accept).send().expect(200);
        assert_eq!(other.body, reply.body);
    }
    client.call("HEAD", &target).accept(OCTETS).send().expect(200);
}

fn stream(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    for accept in ["", "*/*", OCTETS] {
        let reply = client.call("POST", &target).accept(accept).send().expect(200);
        assert_eq!((reply.media(), &reply.body[..8]), (OCTETS, b"LRUNBAK1".as_slice()), "{accept}");
    }
    let known =
        client.call("POST", &alias(&target)).accept(OCTETS).bytes(OCTETS, vec![7; 16]).send();
    known.expect(200);
    let none = client.call("POST", &format!("{target}?after=99999999"));
    let none = none.accept(OCTETS).send().expect(200);
    assert!(none.body.starts_with(b"LRUNBAK1"));
    let wrong = client.call("POST", &format!("{target}?after=x")).accept(OCTETS).send();
    wrong.refused(400, "bad_parameter");
}

/// Bodies of other types, too large, or not what their type says.
fn bodies(client: &Client<'_>, world: &World, row: &Row) {
    let target = world.target(row);
    let accept = if row.gives.is_plain() { "*/*" } else { client.mode.media() };
    let call = || client.call(row.method, &target).accept(accept);
    call().bytes("text/plain", "text").send().refused(415, "unsupported_media_type");
    call().bytes("", "text").send().refused(415, "unsupported_media_type");
    let objects = matches!(row.takes, Takes::Fields | Takes::Parcel | Takes::ChunksOrContent);
    let (gib, mib) = (1_u64 << 30, 1_u64 << 20);
    if objects {
        let announced = call().header("content-type", client.mode.media()).announcing(17 * mib);
        announced.send().refused(413, "body_too_large");
        let wrong = match client.mode {
            Mode::Json => b"{\"a\": [1, }".to_vec(),
            // An object of nine bytes of which three came.
            Mode::Binary => vec![3, 9, 1],
        };
        let refused = call().bytes(client.mode.media(), wrong).send();
        let refused = refused.refused(400, "malformed_body");
        let told = refused["error"].as_str().unwrap();
        assert!(told.contains(|c: char| c.is_ascii_digit()), "where is it wrong? {told}");
        let array = call().bytes(JSON, "[1]").send();
        array.refused(400, "malformed_body");
    }
    if row.name() == "POST /compute/jobs" {
        // Text of two bytes each, and values of dozens.
        let many = format!("{{\"a\": [{}1]}}", "1,".repeat(700_000));
        let refused = call().bytes(JSON, many).send();
        refused.refused(413, "too_many_values");
    }
    if row.takes == Takes::Parcel {
        let announced = call().header("content-type", PKG).announcing(9 * gib);
        announced.send().refused(413, "body_too_large");
        let refused = call().bytes(PKG, vec![7; 40]).send().refused(400, "malformed_body");
        let told = refused["error"].as_str().unwrap();
        assert!(told.contains(|c: char| c.is_ascii_digit()), "where is it wrong? {told}");
        call().send().refused(400, "malformed_body");
    }
    if row.takes == Takes::Archive {
        let announced = call().header("content-type", OCTETS).announcing(65 * gib);
        announced.send().refused(413, "body_too_large");
        let object = call().bytes(client.mode.media(), "{}").send();
        object.refused(415, "unsupported_media_type");
    }
    if row.takes == Takes::Known {
        let announced = call().header("content-type", OCTETS).announcing(17 * mib);
        announced.send().refused(413, "body_too_large");
        call().bytes(OCTETS, vec![7; 9]).send().refused(400, "malformed_body");
    }
    if matches!(row.takes, Takes::Content | Takes::ChunksOrContent) {
        let announced = call().header("content-type", OCTETS).announcing(9 * gib);
        announced.send().refused(413, "body_too_large");
        call().bytes(COMP, vec![7; 80]).send().refused(400, "malformed_body");
    }
}

/// Pages of somebody else's, and names that lead here.
fn strangers(client: &Client<'_>, world: &World, row: &Row) {
    let accept = if row.gives.is_plain() { "*/*" } else { client.mode.media() };
    let asked = || carrying(client, row, world.still(row)).accept(accept);
    let status = world.still(row).status;
    let port = client.address.port();
    let refusals = [
        ("host", "ledgerun.example".to_owned(), "foreign_host"),
        ("host", format!("192.0.2.7:{port}"), "foreign_host"),
        ("origin", "http://ledgerun.example".to_owned(), "foreign_origin"),
        ("origin", "null".to_owned(), "foreign_origin"),
    ];
    for (header, value, code) in refusals {
        asked().header(header, value).send().refused(403, code);
    }
    for (header, value) in [
        ("host", "localhost".to_owned()),
        ("host", format!("[::1]:{port}")),
        ("origin", format!("http://localhost:{port}")),
    ] {
        asked().header(header, value).send().expect(status);
    }
}

/// Methods that a path doesn't have.
fn other_methods(client: &Client<'_>, world: &World) {
    let mut paths = BTreeSet::new();
    for row in ROWS.iter().filter(|row| paths.insert(row.path.clone())) {
        let allowed = methods(&row.path);
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            if allowed.contains(method) {
                continue;
            }
            let reply = client.call(method, &world.target(row)).send();
            let told: BTreeSet<_> = reply.header("allow").split(", ").collect();
            assert_eq!(told, allowed, "{method} {}", row.path);
            reply.refused(405, "method_not_allowed");
        }
    }
}

/// Paths that lead nowhere. The engine reads a 404 to a POST without looking at its type.
fn unknown(client: &Client<'_>, world: &World) {
    let get = |target: &str| client.call("GET", target).send();
    for target in ["/compute", "/compute/nothing", "/compute/jobs/x", "/compute/jobs/1/2", "/x"] {
        get(target).refused(404, "unknown_path");
    }
    let body = &world.worker(crate::bodies::Temper::Quick).descriptor;
    let queue = &world.bases[2].prefix;
    let below = format!("{queue}/jobs/x");
    for target in ["/compute/jobs/x", "/compute/workers/x", "/apply/workers/1/2", &below] {
        let post = |media, mode| client.call("POST", target).bytes(media, body.spelled(mode));
        for (accept, sent, media) in [
            ("", Mode::Binary, CB),
            ("", Mode::Json, JSON),
            ("*/*", Mode::Binary, CB),
            (JSON, Mode::Binary, JSON),
            (CB, Mode::Json, CB),
            (PKG, Mode::Json, CB),
            ("text/html", Mode::Json, CB),
        ] {
            let reply = post(sent.media(), sent).accept(accept).send();
            assert_eq!(reply.media(), media, "{target}: Accept {accept:?}, body {sent:?}");
            reply.refused(404, "unknown_path");
        }
    }
}
