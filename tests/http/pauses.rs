//! One connection, many requests: close together, far apart, in pieces, and polls between them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::server::Server;

/// Longer than a connection is kept ready for the next request.
const PAUSE: Duration = Duration::from_millis(300);

/// A client that keeps its connection.
struct Line(TcpStream);

impl Line {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(stream)
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// The next answer: its status and its body.
    fn answer(&mut self) -> (u16, serde_json::Value) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n")
}

fn post(body: &str) -> String {
    format!(
        "POST /compute/chunks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const READY: &str = "/compute/ready";
const POLL: &str = "/compute/jobs/completed?since=9999&wait=0.2";

#[test]
fn a_connection_outlives_its_pauses() {
    let server = Server::start();
    let mut line = Line::open(&server);
    let hash = "7".repeat(40);
    for _ in 0..3 {
        line.send(&get(READY));
        assert_eq!(line.answer().0, 200);
        line.send(&post(&format!("{{\"chunks\":[\"{hash}\"]}}")));
        assert_eq!(line.answer().1["need"][0], hash.as_str());
        thread::sleep(PAUSE);
    }
}

#[test]
fn requests_sent_together_are_answered_in_order() {
    let server = Server::start();
    let mut line = Line::open(&server);
    for _ in 0..2 {
        line.send(&(get(READY) + &get("/compute/jobs/7") + &get(READY)));
        let statuses = [line.answer().0, line.answer().0, line.answer().0];
        assert_eq!(statuses, [200, 404, 200]);
        thread::sleep(PAUSE);
    }
    // The second half of a request comes after the pause.
    let (first, second) = (get(READY), get("/compute/jobs/7"));
    let (begun, left) = second.split_at(9);
    line.send(&(first + begun));
    assert_eq!(line.answer().0, 200);
    thread::sleep(PAUSE);
    line.send(left);
    assert_eq!(line.answer().0, 404);
}

#[test]
fn what_follows_a_long_poll_waits_for_it() {
    let server = Server::start();
    let mut line = Line::open(&server);
    for _ in 0..2 {
        line.send(&(get(POLL) + &get(READY) + &get(POLL)));
        assert_eq!(line.answer().1["next"], 9999);
        assert_eq!(line.answer().1["ready"], true);
        assert_eq!(line.answer().1["next"], 9999);
    }
    // A poll that is wrong is refused at once.
    line.send(&get("/compute/jobs/completed?since=x&wait=60"));
    assert_eq!(line.answer().0, 400);
}

#[test]
fn a_body_may_come_after_a_pause() {
    let server = Server::start();
    let mut line = Line::open(&server);
    let hash = "8".repeat(40);
    let request = post(&format!("{{\"chunks\":[\"{hash}\"]}}"));
    for split in [5, request.len() - 50, request.len() - 1] {
        let (begun, left) = request.split_at(split);
        line.send(begun);
        thread::sleep(PAUSE);
        line.send(left);
        assert_eq!(line.answer().1["need"][0], hash.as_str());
    }
}
