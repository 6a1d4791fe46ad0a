//! What a service answers in special circumstances: with an access token, to strangers, without
//! room, on its way out, and when an input was lost.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use ledgerun::chunks;
use ledgerun::domain::{ChunkId, Millis};
use serde_json::json;

use crate::SETTINGS;
use crate::bodies::{Temper, VALUE, action};
use crate::client::{Client, OCTETS, PKG};
use crate::probes::carrying;
use crate::service::{Service, Starting};
use crate::table::{Gives, ROWS, Takes, Who};
use crate::visits::{Half, Mode, Visits};
use crate::world::{World, new_chunk, until};

const TOKEN: &str = "an-access-token-for-the-walk-0123456789";

/// Walks one data directory through all of it. Each service is killed.
pub(crate) fn all(visits: &Visits, data: &Path, world: &World, half: Half) {
    let clients = |url: &str| Mode::BOTH.map(|mode| Client::new(visits, url, half, mode));
    let full = Service::start(data, &[SETTINGS, &["--min-free-space", "1000000 TiB"]].concat());
    for client in clients(full.url()) {
        no_room(&client, world);
    }
    full.kill();
    let alone = tempfile::tempdir().unwrap();
    let in_the_way = alone.path().join("log.next");
    let alone = Service::start(alone.path(), SETTINGS);
    for client in clients(alone.url()) {
        // Something to fold; and nobody else reads its log.
        for _ in 0..2 {
            client.call("POST", "/compute/queues").send().expect(200);
        }
        let compact = |query: &str| {
            let path = format!("/compute/log/compact{query}");
            client.call("POST", &path).accept("*/*").send()
        };
        std::fs::write(&in_the_way, "").unwrap();
        compact("").refused(500, "not_compacted");
        std::fs::remove_file(&in_the_way).unwrap();
        compact("").expect(200);
    }
    alone.kill();
    let guarded = with_token(data);
    for client in clients(guarded.url()) {
        needs_token(&client, world);
    }
    for client in clients(guarded.url()) {
        with_the_token(&client.with_token(TOKEN), world);
    }
    guarded.kill();
    from_elsewhere(visits, data, world, half);
    lost_inputs(visits, data, world, half);
    let leaving = Service::start(data, &[SETTINGS, &["--shutdown-grace", "60s"]].concat());
    let clients = clients(leaving.url());
    for base in &world.bases {
        until(&clients[0], base, base.running, "running");
    }
    leaving.terminate();
    for client in &clients {
        stopping(client, world);
    }
    leaving.kill();
}

fn start(data: &Path, listen: &str, more: &[&str], token: Option<&str>) -> Service {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(data);
    command.args(SETTINGS).args(more).envs(token.map(|token| ("LEDGERUN_ACCESS_TOKEN", token)));
    match Starting::of(command).ready() {
        Ok(service) => service,
        Err(ended) => panic!("the service did not start: {}", ended.stderr),
    }
}

fn with_token(data: &Path) -> Service {
    start(data, "127.0.0.1:0", &[], Some(TOKEN))
}

/// A nearly full disk: nothing new is taken, and all can be read.
fn no_room(client: &Client<'_>, world: &World) {
    for row in ROWS.iter() {
        let request = world.eager(row);
        if row.statuses.contains(&507) {
            // The disk is looked at in the moment after the start.
            let begun = ledgerun::clock::monotonic();
            let full = || {
                let posted = client.call("PUT", &format!("/compute/chunks/{}", world.chunk().0));
                posted.bytes(crate::client::OCTETS, world.chunk().1).send().status == 507
            };
            while !full() {
                assert!(begun.elapsed().as_secs() < 20, "never full");
            }
            let call = carrying(client, row, request);
            let refused = if row.gives == Gives::Lines { call.accept("*/*") } else { call }.send();
            refused.refused(507, "insufficient_storage");
        } else if row.method == "GET" && row.takes == Takes::Nothing {
            client.call("GET", &request.target).accept("*/*").send().expect(200);
        }
    }
}

/// Without the access token, and with another one.
fn needs_token(client: &Client<'_>, world: &World) {
    let shown = ["", "Bearer another-token-0123456789abcdef", "Basic YTpi", TOKEN];
    for row in ROWS.iter() {
        for value in shown {
            let call = carrying(client, row, world.still(row)).header("authorization", value);
            let accept = if row.gives.is_plain() { "*/*" } else { client.mode.media() };
            let reply = call.accept(accept).send();
            if matches!(row.who, Who::Open | Who::QueueToken) {
                reply.expect(world.still(row).status);
            } else {
                assert!(reply.header("www-authenticate").starts_with("Bearer"), "{}", row.name());
                reply.refused(401, "unauthorized");
            }
        }
    }
    client.call("GET", "/compute/nothing").send().refused(401, "unauthorized");
}

fn with_the_token(client: &Client<'_>, world: &World) {
    for row in ROWS.iter() {
        let request = world.still(row);
        let status = request.status;
        let accept = if row.gives.is_plain() { "*/*" } else { client.mode.media() };
        carrying(client, row, request).accept(accept).send().expect(status);
    }
}

/// An address of this machine that isn't loopback.
fn own_address() -> Option<IpAddr> {
    // Nothing is sent: the system only chooses where it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Queues' numbers are for this machine's own clients, whatever headers say; tokens for all.
fn from_elsewhere(visits: &Visits, data: &Path, world: &World, half: Half) {
    let Some(ip) = own_address() else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this machine has no address but loopback, so nobody asks from elsewhere"
        );
        return;
    };
    let service = start(data, "0.0.0.0:0", &["--insecure-no-auth"], None);
    for mode in Mode::BOTH {
        let here = Client::new(visits, service.url(), half, mode);
        let address = SocketAddr::new(ip, here.address.port());
        let there = Client::new(visits, &format!("http://{address}"), half, mode);
        for row in ROWS.iter() {
            let accept = if row.gives.is_plain() { "*/*" } else { mode.media() };
            for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
                let call = carrying(&there, row, world.still(row)).accept(accept);
                let reply = call.header(header, "127.0.0.1").send();
                if row.who == Who::Loopback {
                    reply.refused(403, "not_loopback");
                } else {
                    reply.expect(world.still(row).status);
                }
            }
            let call = carrying(&here, row, world.still(row)).accept(accept);
            call.send().expect(world.still(row).status);
        }
    }
    service.kill();
}

/// A service that was told to stop and waits for what runs: it says so, takes no change, and can
/// be read.
fn stopping(client: &Client<'_>, world: &World) {
    let begun = ledgerun::clock::monotonic();
    loop {
        let reply = client.call("GET", "/compute/ready").send();
        if reply.status == 503 {
            assert_eq!(reply.value()["ready"], false);
            assert!(reply.value()["reason"].is_string());
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "never stops");
    }
    for row in ROWS.iter() {
        if row.path.starts_with("/health") {
            client.call("GET", &row.path).send().expect(503);
        } else if row.changes() {
            let accept = if row.gives.is_plain() { "*/*" } else { client.mode.media() };
            carrying(client, row, world.eager(row)).accept(accept).send().refused(503, "stopping");
        } else if row.method == "GET" && !row.statuses.contains(&503) {
            client.call("GET", &world.target(row)).accept("*/*").send().expect(200);
        }
    }
}

/// An input that is gone from the disk ends a job without a retry, so that it has one left to be
/// rescheduled with.
fn lost_inputs(visits: &Visits, data: &Path, world: &World, half: Half) {
    // Without slots, nothing runs before the input is gone.
    let mut settings = SETTINGS.to_vec();
    settings[1] = "0";
    let service = Service::start(data, &settings);
    let (mut jobs, mut lost) = (Vec::new(), Vec::new());
    for mode in Mode::BOTH {
        let client = Client::new(visits, service.url(), half, mode);
        for base in &world.bases {
            let (id, content) = new_chunk(&client);
            let function = &world.worker(Temper::Quick).function;
            let action = action(function, visits.number(), &[&content]);
            let job = client.post(&base.jobs(), &action).expect(200).value();
            jobs.push((mode, base, job["lsn"].as_u64().unwrap()));
            lost.push(id);
        }
    }
    service.kill();
    lose(data, &[&lost[..], &[ChunkId::of(VALUE)]].concat());
    let service = Service::start(data, SETTINGS);
    for client in Mode::BOTH.map(|mode| Client::new(visits, service.url(), half, mode)) {
        for base in &world.bases {
            let call = client.call("GET", &base.job(base.completed)).accept(PKG);
            call.send().refused(500, "result_incomplete");
        }
    }
    // Uploading it again is what mends that.
    let client = Client::new(visits, service.url(), half, Mode::Json);
    client.call("POST", "/compute/chunks").bytes(OCTETS, VALUE).send().expect(201);
    for base in &world.bases {
        client.call("GET", &base.job(base.completed)).accept(PKG).send().expect(200);
    }
    for (index, (mode, base, lsn)) in jobs.into_iter().enumerate() {
        let client = Client::new(visits, service.url(), half, mode);
        until(&client, base, lsn, "failed");
        let again = client.push(&format!("{}/reschedule", base.job(lsn))).expect(200).value();
        assert_eq!(again, json!({ "lsn": lsn, "retry_count": 1 }));
        let shown = until(&client, base, lsn, "failed");
        assert_eq!(shown["attempts"][1]["outcome"], "input_lost", "{shown}");
        assert!(shown["error"].as_str().unwrap().contains(&lost[index].to_string()), "{shown}");
        client.push(&base.job(lsn)).refused(409, "retry_limit");
    }
    service.kill();
}

/// Removes chunks behind the back of a service that isn't there.
fn lose(data: &Path, lost: &[ChunkId]) {
    let options = chunks::Options { grace: Millis(0), ..chunks::Options::default() };
    let store = chunks::Store::open(&data.join("chunks"), options).unwrap();
    let mark = store.begin_collection();
    store.collect(mark, &|id| !lost.contains(id), &|| false).unwrap();
    assert!(lost.iter().all(|id| !store.contains(id)), "they are still there");
}
