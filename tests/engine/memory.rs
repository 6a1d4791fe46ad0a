//! What the service holds in memory at its worst, as the system counts it.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};

use ledgerun::domain::ContentHash;

use crate::bytes;
use crate::wire::{CB, COMP, Connection, JSON, OCTETS, PKG, Reply, Request};
use crate::work;
use crate::wrong_inputs::Bench;

const AT_ONCE: usize = 5;
const LARGE_BYTES: usize = 64 << 20;

/// Bytes that hardly shrink: half of them are noise.
fn content(seed: usize) -> Vec<u8> {
    let mut noise = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; LARGE_BYTES];
    for part in bytes.chunks_mut(8_192) {
        noise.fill(&mut part[..4_096]);
    }
    bytes
}

/// Sends a request, and again when the service has no room just now, as it asks for.
fn patiently(bench: &Bench, request: &Request) -> Reply {
    for _ in 0..20 {
        let reply = bench.send(request);
        if reply.status != 503 {
            return reply;
        }
        assert_eq!(reply.header("retry-after"), "1");
    }
    panic!("there was never room for {} bytes", request.body.len());
}

/// Sends all requests at once, each on its own connection.
fn at_once(requests: &[Request], send: impl Fn(&Request) -> Reply + Sync) -> Vec<Reply> {
    let send = &send;
    std::thread::scope(|scope| {
        let answers: Vec<_> =
            requests.iter().map(|request| scope.spawn(move || send(request))).collect();
        answers.into_iter().map(|reply| reply.join().unwrap()).collect()
    })
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|reply| reply.status).collect()
}

/// A buffer of `raw` in blocks of 2^`exponent` bytes.
fn packed(raw: &[u8], exponent: u8) -> Vec<u8> {
    let (head, body) = bytes::blocks(raw, 4, exponent, lz4_flex::block::compress);
    [head.to_bytes(), body].concat()
}

#[test]
fn large_uploads_at_once() {
    let bench = Bench::start(&[]);
    bench.assert_small();
    let contents: Vec<_> = (0..AT_ONCE).map(content).collect();
    let patient = |request: &Request| patiently(&bench, request);
    let path = |raw: &[u8]| format!("/compute/chunks/{}", ContentHash::of(raw));

    // Blocks as large as the format has them: refused before they are in memory.
    let put = |raw: &Vec<u8>| Request::put(path(raw), COMP, packed(raw, 26));
    let replies = at_once(&contents.iter().map(put).collect::<Vec<_>>(), patient);
    assert_eq!(statuses(&replies), [400; AT_ONCE]);
    let said = replies[0].value();
    assert!(said["error"].as_str().unwrap().contains("above the limit"), "{said}");
    bench.assert_works("too large blocks");
    bench.assert_small();

    // The largest blocks that are taken.
    let put = |raw: &Vec<u8>| Request::put(path(raw), COMP, packed(raw, 23));
    let replies = at_once(&contents.iter().map(put).collect::<Vec<_>>(), patient);
    assert_eq!(
        statuses(&replies),
        [201; AT_ONCE],
        "{:?}",
        replies.iter().map(Reply::shown).collect::<Vec<_>>()
    );
    bench.assert_small();

    // Raw bytes of the same length, and packages of both.
    let mut requests = Vec::new();
    for (index, mut raw) in contents.into_iter().enumerate() {
        raw[0] ^= 1;
        requests.push(if index % 2 == 0 {
            Request::put(path(&raw), OCTETS, raw)
        } else {
            let action = work::action("Reverse", &[("Input", &raw)]);
            let packed = packed(&raw, 23);
            let package =
                bytes::package(action.object.bytes(), &[(ContentHash::of(&raw), &packed)]);
            Request::post("/compute/jobs", PKG, package)
        });
    }
    let replies = at_once(&requests, patient);
    assert_eq!(statuses(&replies), [201, 200, 201, 200, 201]);
    bench.assert_works("large uploads");
    bench.assert_small();

    // And out again, to clients that take their time.
    let address = bench.service.address();
    let mut readers = Vec::new();
    for request in requests.iter().step_by(2) {
        let mut connection = Connection::open(address);
        connection.write(&Request::get(&request.path).to_bytes(address)).unwrap();
        readers.push((connection, request));
    }
    bench.assert_works("downloads that wait");
    for (mut connection, request) in readers {
        assert!(connection.read().expect(200).body == request.body);
    }
    bench.assert_small();
}

#[test]
fn many_large_objects_at_once() {
    let bench = Bench::start(&[]);
    // As much as one body may hold: many small values, and one large one.
    let many = format!("{{\"actions\":[{}{{}}]}}", "{},".repeat(90_000));
    let long = format!("{{\"Function\":\"{}\"}}", "x".repeat((16 << 20) - 100));
    let wide = {
        let items = 5 << 20;
        let body =
            [&[0x04][..], &size(items * 2 + 4), &size(items), &[0x02, 0].repeat(items)].concat();
        let field = [&[0x84, 7][..], b"actions", &body[1..]].concat();
        [&[0x02][..], &size(field.len()), &field].concat()
    };
    let root = {
        let text = "x".repeat((16 << 20) - 100);
        ledgerun::wire::cb::Object::build(|object| object.field("Function").str(&text))
    };
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests.push(Request::post("/compute/jobs", JSON, many.clone()));
        requests.push(Request::post("/compute/jobs", JSON, long.clone()));
        requests.push(Request::post("/compute/jobs", CB, wide.clone()));
        requests.push(Request::post("/compute/jobs", PKG, bytes::package(root.bytes(), &[])));
    }
    // All kinds at once, and again with what the first round has left behind.
    for _ in 0..2 {
        for reply in at_once(&requests, |request| bench.send(request)) {
            // A batch of nothing but refusals, no action, too large a batch, or no room just now.
            assert!(
                [200, 400, 413, 503].contains(&reply.status),
                "{}: {}",
                reply.status,
                reply.shown()
            );
        }
        bench.assert_works("large objects");
        bench.assert_small();
    }
}

/// A length in four bytes.
fn size(length: usize) -> [u8; 4] {
    (u32::try_from(length).unwrap() | 0xe000_0000).to_be_bytes()
}

#[test]
fn many_connections_that_never_say_what_they_want() {
    let bench = Bench::start(&[]);
    let address = bench.service.address();
    // A long head that is still no reason to answer, on as many connections as a test may open.
    let mut head = Request::get("/compute/ready").head(address, "");
    head.truncate(head.len() - 2);
    head.extend(format!("X-Padding: {}", "x".repeat(12 << 10)).into_bytes());
    let mut open = Vec::new();
    for _ in 0..900 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = std::io::Write::write(&mut stream, &head[sent..]) {
            sent += count;
            if count == 0 || sent == head.len() {
                break;
            }
        }
        open.push(stream);
    }
    bench.assert_works("slow heads");
    bench.assert_small();
    for mut stream in open {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = stream.read(&mut [0; 16]);
    }
    bench.assert_works("heads that broke off");
}
