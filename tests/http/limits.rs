//! Clients that take more than their part, and what the others notice of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ledgerun::clock::monotonic;
use ledgerun::domain::ChunkId;
use ledgerun::http::HttpConfig;

use crate::client::{CB, JSON, OCTETS};
use crate::fixture::action_json;
use crate::server::Server;

/// Longer than anything here takes, and than any limit that must not be what ends it.
const LONG: Duration = Duration::from_mins(1);

fn open(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(server: &Server, head: &str) -> TcpStream {
    let mut stream = open(server);
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn poll(server: &Server) -> TcpStream {
    ask(
        server,
        "GET /compute/jobs/completed?since=9999&wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
}

/// Everything until the service closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut with something unread ends by a reset.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The head of an answer and the first byte of its body.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.windows(5).any(|part| part.starts_with(b"\r\n\r\n")) {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn idle_connections_give_way_to_new_ones() {
    let server = Server::with(HttpConfig { connections_max: 4, ..HttpConfig::default() });
    // One after another, each known to be idle by its answer.
    let mut idle: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = ask(&server, "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
            assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
            stream
        })
        .collect();
    let mut kept = idle.pop().unwrap();
    server.get("/health").send().expect(200);
    assert_eq!(rest(&mut idle[0]), "K\n", "nothing but the end of its answer");
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert!(rest(&mut kept).contains("200 OK"));
}

#[test]
fn the_oldest_long_poll_is_answered_early_when_there_are_too_many() {
    let server = Server::with(HttpConfig { polls_max: Some(2), ..HttpConfig::default() });
    let began = monotonic();
    let mut polls: Vec<TcpStream> = (0..4).map(|_| poll(&server)).collect();
    // Which of them came in first is not for this end to say.
    let mut answered = 0;
    while answered < 2 {
        polls.retain_mut(|stream| {
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let waits = stream.peek(&mut [0]).is_err();
            if !waits {
                let page = answer(stream);
                assert!(page.starts_with("HTTP/1.1 200"), "{page}");
                answered += 1;
            }
            waits
        });
        assert!(began.elapsed() < LONG / 2);
    }
    for stream in &mut polls {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "the younger ones wait on");
    }
}

#[test]
fn long_polls_give_way_when_connections_are_short() {
    let server = Server::with(HttpConfig { connections_max: 3, ..HttpConfig::default() });
    let began = monotonic();
    let mut polls: Vec<TcpStream> = (0..3).map(|_| poll(&server)).collect();
    server.get("/health").send().expect(200);
    assert!(began.elapsed() < LONG / 2);
    let mut pages = 0;
    for stream in &mut polls {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut page = Vec::new();
        if stream.read_to_end(&mut page).is_ok() {
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains("connection: close") && page.ends_with('}'), "{page}");
            pages += 1;
        }
    }
    assert!(pages > 0, "whoever gives way is answered");
}

#[test]
fn a_head_must_be_whole_in_time() {
    let head_timeout = Duration::from_millis(300);
    let server = Server::with(HttpConfig { head_timeout, ..HttpConfig::default() });
    let began = monotonic();
    let mut stream = ask(&server, "GET /health HTTP/1.1\r\nx: ");
    while stream.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < LONG / 2, "it may go on for ever");
    }
    assert!(began.elapsed() >= head_timeout);
    // A connection without a request is another matter.
    let mut idle = open(&server);
    std::thread::sleep(2 * head_timeout);
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert!(rest(&mut idle).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_body_that_dribbles_is_given_up() {
    let body_timeout = Duration::from_millis(500);
    let config = HttpConfig { body_timeout, min_rate: 1 << 20, ..HttpConfig::default() };
    let server = Server::with(config);
    let began = monotonic();
    let mut stream = ask(
        &server,
        "POST /compute/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 100000\r\n\r\n",
    );
    stream.set_nonblocking(true).unwrap();
    let mut first = [0; 12];
    // A byte is never long in coming.
    while stream.peek(&mut first).is_err() {
        let _ = stream.write_all(b"x");
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < LONG / 2, "it may go on for ever");
    }
    assert_eq!(&first, b"HTTP/1.1 408");
    assert!(began.elapsed() >= body_timeout);
}

/// A chunk that no socket buffers.
fn large(server: &Server) -> (String, usize) {
    let content = vec![7; 32 << 20];
    server.store.put_unnamed(&content).unwrap();
    (format!("/compute/chunks/{}", ChunkId::of(&content)), content.len())
}

fn download(server: &Server, path: &str) -> TcpStream {
    ask(server, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

#[test]
fn a_reader_that_dribbles_is_cut_off() {
    let config = HttpConfig {
        answer_timeout: Duration::from_millis(300),
        min_rate: 1 << 30,
        ..HttpConfig::default()
    };
    let server = Server::with(config);
    let (path, length) = large(&server);
    let mut stream = download(&server, &path);
    let began = monotonic();
    let mut total = 0;
    let mut piece = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        total += count;
        if began.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(total < length, "all {total} bytes came");
    // Whoever takes what comes gets it all, whatever the machine does meanwhile.
    let patient = Server::start();
    let (path, length) = large(&patient);
    assert_eq!(patient.get(&path).accept(OCTETS).send().expect(200).body.len(), length);
}

#[test]
fn answers_nobody_takes_give_their_memory_to_others() {
    // Room for one.
    let config = HttpConfig { answer_bytes_max: 200 << 10, ..HttpConfig::default() };
    let server = Server::with(config);
    let (path, length) = large(&server);
    let mut first = download(&server, &path);
    answer(&mut first);
    let began = monotonic();
    assert_eq!(server.get(&path).accept(OCTETS).send().expect(200).body.len(), length);
    assert!(began.elapsed() < LONG / 2, "long before its time is over");
    let mut bytes = Vec::new();
    let _ = first.read_to_end(&mut bytes);
    assert!(bytes.len() < length, "the first one was cut off");
}

fn submission(server: &Server, length: usize) -> TcpStream {
    let head = format!(
        "POST /compute/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: {CB}\r\n\
         accept: {JSON}\r\ncontent-length: {length}\r\n\r\n"
    );
    ask(server, &head)
}

#[test]
fn what_is_announced_takes_no_memory_from_others() {
    let server = Server::with(HttpConfig { buffered_bytes_max: 1 << 20, ..HttpConfig::default() });
    server.register();
    let claims: Vec<TcpStream> = (0..20).map(|_| submission(&server, 900 << 10)).collect();
    server.submit(&action_json(1));
    let large = server.post("/compute/jobs").body(CB, vec![0; 400 << 10]).accept(JSON);
    large.send().refused(400, "malformed_body");
    drop(claims);
}

#[test]
fn bodies_that_stop_give_their_memory_to_others() {
    let server = Server::with(HttpConfig { buffered_bytes_max: 1 << 20, ..HttpConfig::default() });
    server.register();
    let mut stopped = submission(&server, 700 << 10);
    stopped.write_all(&vec![0; 650 << 10]).unwrap();
    // Small ones have memory of their own, until large ones find theirs.
    server.submit(&action_json(1));
    let began = monotonic();
    loop {
        let large = server.post("/compute/jobs").body(CB, vec![0; 400 << 10]).accept(JSON).send();
        if large.status != 503 {
            large.refused(400, "malformed_body");
            break;
        }
        assert!(began.elapsed() < LONG / 4, "there is never any room");
        std::thread::sleep(Duration::from_millis(50));
    }
    rest(&mut stopped);
}

#[test]
fn an_upload_that_stops_gives_way_to_others() {
    let server = Server::with(HttpConfig { upload_bytes_max: 0, ..HttpConfig::default() });
    let chunk = format!("/compute/chunks/{}", "0".repeat(40));
    let mut stopped = ask(
        &server,
        &format!(
            "PUT {chunk} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {OCTETS}\r\n\
             content-length: 1000000000\r\n\r\nsome"
        ),
    );
    let content = vec![1; 20 << 20];
    let put = |content: &[u8]| {
        let path = format!("/compute/chunks/{}", ChunkId::of(content));
        let began = monotonic();
        server.call("PUT", &path).body(OCTETS, content).send().expect(201);
        began.elapsed()
    };
    put(b"a small one has room of its own");
    assert!(put(&content) < LONG / 4, "long before the first one's time is over");
    rest(&mut stopped);
}

#[test]
fn heads_that_cannot_be_read_have_reasons_too() {
    let server = Server::start();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (head, status, code) in [
        ("nonsense\0\r\n\r\n", 400, "malformed_head"),
        ("GET /a b HTTP/1.1\r\n\r\n", 400, "malformed_head"),
        ("GET / HTTP/7.0\r\n\r\n", 400, "malformed_head"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed_head"),
        ("POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n", 400, "malformed_head"),
        (&large, 431, "head_too_large"),
        (&many, 431, "head_too_large"),
        (&long, 431, "head_too_large"),
    ] {
        let mut stream = open(&server);
        // The service may have seen enough before the end.
        let _ = stream.write_all(head.as_bytes());
        let said = rest(&mut stream);
        let shown = &head[..head.len().min(40)];
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {said}");
        assert!(said.contains("\r\nx-ledgerun-lsn: 0\r\n"), "{shown:?}: {said}");
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], code, "{shown:?}: {body}");
    }
    // Refusals of our own stay as they are.
    server.get("/nowhere").send().refused(404, "unknown_path");
    server.post("/compute/jobs").body(CB, "x").accept(JSON).send().refused(400, "malformed_body");
}
