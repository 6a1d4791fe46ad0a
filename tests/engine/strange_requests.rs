//! Requests that are wrong before they are read: heads, lengths, and clients that go away.

use std::net::SocketAddr;

use ledgerun::domain::ContentHash;

use crate::bytes::{self, Entry};
use crate::wire::{CB, COMP, Connection, JSON, OCTETS, PKG, Reply, Request};
use crate::work;
use crate::wrong_inputs::Bench;

/// Sends a head with these framing lines and `body`, and reads what is said to that.
fn sent(address: SocketAddr, request: &Request, framing: &str, body: &[u8]) -> Reply {
    let mut connection = Connection::open(address);
    connection.write(&request.head(address, framing)).unwrap();
    // Who has been refused may find the other side closed.
    let _ = connection.write(body);
    connection.read()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) -> String {
    let body = reply.value();
    assert_eq!((reply.status, body["code"].as_str()), (status, Some(code)), "{body}");
    body["error"].as_str().unwrap().to_owned()
}

/// Every way to send a body, with the largest that is taken.
fn ways(bench: &Bench) -> [Request; 6] {
    let chunk = format!("/compute/chunks/{}", ContentHash::of(b"never"));
    [
        Request::post(bench.jobs(), CB, ""),
        Request::post(bench.jobs(), JSON, ""),
        Request::post(bench.jobs(), PKG, ""),
        Request::post("/compute/workers", PKG, ""),
        Request::put(&chunk, OCTETS, ""),
        Request::put(&chunk, COMP, ""),
    ]
}

#[test]
fn lengths_beyond_every_limit() {
    let bench = Bench::start(&["--object-bytes-max", "1 MiB", "--chunk-bytes-max", "2 MiB"]);
    let address = bench.service.address();
    for request in ways(&bench) {
        for length in [10_u64 << 30, 1 << 63, u64::MAX - 2] {
            let framing = format!("Content-Length: {length}\r\n");
            let reply = sent(address, &request, &framing, b"");
            let said = refused(&reply, 413, "body_too_large");
            assert!(said.contains("larger than"), "{said}");
            assert_eq!(reply.header("connection"), "close");
            bench.assert_works("a length beyond every limit");
        }
    }
    // What no number holds is no request at all.
    for length in ["18446744073709551616", "-1", "1e3", "5, 6"] {
        let framing = format!("Content-Length: {length}\r\n");
        let reply = sent(address, &Request::post(bench.jobs(), CB, ""), &framing, b"");
        assert_eq!(reply.status, 400, "{length}");
        bench.assert_works("a length that is none");
    }
    bench.assert_small();
}

#[test]
fn bodies_of_unknown_length_that_never_end() {
    let bench = Bench::start(&["--object-bytes-max", "1 MiB", "--chunk-bytes-max", "2 MiB"]);
    let address = bench.service.address();
    let piece =
        [format!("{:x}\r\n", 64 << 10).into_bytes(), vec![b' '; 64 << 10], b"\r\n".to_vec()];
    let body = piece.concat().repeat(40);
    for request in [
        Request::post(bench.jobs(), CB, ""),
        Request::post(bench.jobs(), JSON, ""),
        Request::put(format!("/compute/chunks/{}", ContentHash::of(b"never")), OCTETS, ""),
    ] {
        let reply = sent(address, &request, "Transfer-Encoding: chunked\r\n", &body);
        refused(&reply, 413, "body_too_large");
        bench.assert_works("a body without end");
    }
    // A package and a buffer that break off are told where, when nothing said how long they are.
    let worker = work::worker("", bytes::lz4);
    let package = worker.package();
    let half = &package[..package.len() / 2];
    let framed =
        [format!("{:x}\r\n", half.len()).into_bytes(), half.to_vec(), b"\r\n0\r\n\r\n".to_vec()];
    let request = Request::post(format!("/compute/workers/{}", worker.hash()), PKG, "");
    let reply = sent(address, &request, "Transfer-Encoding: chunked\r\n", &framed.concat());
    let said = refused(&reply, 400, "malformed_body");
    assert!(said.contains(&format!("package ends at byte {}", half.len())), "{said}");
    bench.assert_small();
}

#[test]
fn bodies_that_stop_half_way_time_out() {
    let bench = Bench::start(&["--body-timeout", "200ms"]);
    let address = bench.service.address();
    for request in ways(&bench) {
        let reply = sent(address, &request, "Content-Length: 1000\r\n", &[0xcc]);
        let said = refused(&reply, 408, "body_timeout");
        assert!(said.contains("0.2 s"), "{said}");
        bench.assert_works("half a body");
    }
}

#[test]
fn heads_that_are_none() {
    let bench = Bench::start(&[]);
    let address = bench.service.address();
    let flood = "X-Flood: 1\r\n".repeat(20_000);
    let reply = sent(address, &Request::get("/compute/ready"), &flood, b"");
    assert_eq!(reply.status, 431);
    bench.assert_works("a flood of headers");
    let long = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    let reply = sent(address, &Request::get("/compute/ready"), &long, b"");
    assert_eq!(reply.status, 431);
    bench.assert_works("a header of a MiB");
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this would be TLS\r\n\r\n"[..],
        b"GET /compute/ready\r\n\r\n\r\n",
        b"GET /compute/ready HTTP/9.9\r\n\r\n",
        b"GET /compute/ready HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /compute/ready HTTP/1.1\r\nname\0: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(address);
        connection.write(garbage).unwrap();
        if let Ok(reply) = connection.try_read() {
            assert!((400..506).contains(&reply.status), "{}", reply.status);
        }
        bench.assert_works("garbage");
    }
    bench.assert_small();
}

#[test]
fn clients_that_go_away() {
    let bench = Bench::start(&[]);
    let address = bench.service.address();
    let worker = work::worker("gone", bytes::lz4);
    let path = format!("/compute/workers/{}", worker.hash());
    let action = work::reverse("gone");

    // Asked for what is missing, they never come back with it.
    let told = bench.send(&Request::post(&path, CB, worker.object.bytes().to_vec())).expect(404);
    assert_eq!(told.value()["need"].as_array().unwrap().len(), 2);
    bench.send(&Request::post(bench.jobs(), CB, action.object.bytes().to_vec())).expect(404);
    bench.assert_works("a need that never comes");

    // Or they are gone at some byte of it.
    for (path, package) in [(&path, worker.package()), (&bench.jobs(), action.package())] {
        for length in [0, 7, 16, 60, 113, 300, package.len() / 2, package.len() - 1] {
            let request = Request::post(path, PKG, "");
            let mut connection = Connection::open(address);
            let framing = format!("Content-Length: {}\r\n", package.len());
            connection.write(&request.head(address, &framing)).unwrap();
            connection.write(&package[..length]).unwrap();
            drop(connection);
            bench.assert_works("a client that is gone");
        }
    }
    // None of it counts, not even the part that came whole.
    let told = bench.send(&Request::post(&path, CB, worker.object.bytes().to_vec())).expect(404);
    assert_eq!(told.value()["need"].as_array().unwrap().len(), 2);
    bench.send(&Request::get(&path)).expect(404);
    bench.send(&Request::get(format!("{}/{}", bench.jobs(), action.hash()))).expect(404);

    // And the next one that stays is served.
    bench.send(&Request::post(&path, PKG, worker.package())).expect(200);
    bench.send(&Request::post(bench.jobs(), PKG, action.package())).expect(200);
    let empty = bytes::message(&[Entry::root(worker.object.bytes())]);
    bench.send(&Request::post(&path, PKG, empty)).expect(200);
    bench.assert_small();
}
