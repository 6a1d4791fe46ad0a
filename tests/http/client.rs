//! A client that sends exactly what it is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ledgerun::wire::cb::Object;
use ledgerun::wire::value::Value;

use crate::server::Server;

pub const CB: &str = "application/x-ue-cb";
pub const PKG: &str = "application/x-ue-cbpkg";
pub const JSON: &str = "application/json";
pub const OCTETS: &str = "application/octet-stream";
pub const COMP: &str = "application/x-ue-comp";

pub struct Call<'server> {
    server: &'server Server,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl<'server> Call<'server> {
    pub fn new(server: &'server Server, method: &'static str, path: &str) -> Self {
        Self { server, method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    #[must_use]
    pub fn accept(self, media: &str) -> Self {
        self.header("accept", media)
    }

    #[must_use]
    pub fn body(mut self, media: &str, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self.header("content-type", media)
    }

    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body(JSON, body.to_string())
    }

    pub fn send(self) -> Reply {
        let head = self.head(&self.length());
        let mut stream = self.connect();
        stream.write_all(&[head.as_bytes(), &self.body].concat()).unwrap();
        Reply::read(&mut stream, self.method)
    }

    /// Sends the body in chunks of unknown total length.
    pub fn send_chunked(self) -> Reply {
        let mut stream = self.connect();
        stream.write_all(self.head("transfer-encoding: chunked\r\n").as_bytes()).unwrap();
        for piece in self.body.chunks(7_000) {
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            if stream.write_all(&framed).is_err() {
                break;
            }
        }
        // The server may have answered and closed.
        drop(stream.write_all(b"0\r\n\r\n"));
        Reply::read(&mut stream, self.method)
    }

    /// Announces a body of this length and sends none of it.
    pub fn send_announcing(self, length: u64) -> Reply {
        let mut stream = self.connect();
        let head = self.head(&format!("content-length: {length}\r\n"));
        stream.write_all(head.as_bytes()).unwrap();
        Reply::read(&mut stream, self.method)
    }

    fn length(&self) -> String {
        if self.body.is_empty() && self.method == "GET" {
            String::new()
        } else {
            format!("content-length: {}\r\n", self.body.len())
        }
    }

    fn head(&self, framing: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            write!(head, "host: {}\r\n", self.server.address).unwrap();
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head + framing + "\r\n"
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    fn read(stream: &mut TcpStream, method: &str) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            body = dechunked(&body);
        } else if let Some(length) = headers.get("content-length")
            && method != "HEAD"
        {
            assert_eq!(body.len().to_string(), *length, "the body is as long as announced");
        }
        assert!(headers.contains_key("x-ledgerun-lsn"), "every answer names an LSN: {headers:?}");
        Self { status, headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn media(&self) -> &str {
        self.header("content-type")
    }

    pub fn lsn(&self) -> u64 {
        self.header("x-ledgerun-lsn").parse().unwrap()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// An error with this code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> serde_json::Value {
        let body = self.expect(status).value();
        assert_eq!(body["code"], code, "{body}");
        assert!(!body["error"].as_str().unwrap().is_empty());
        body
    }

    /// The body as JSON, in whichever spelling it came.
    #[track_caller]
    pub fn value(&self) -> serde_json::Value {
        if self.media() == CB {
            let json = Value::of_object(&self.object()).to_json();
            serde_json::from_str(&json).unwrap()
        } else {
            assert_eq!(self.media(), JSON);
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    #[track_caller]
    pub fn object(&self) -> Object {
        assert_eq!(self.media(), CB);
        Object::parse(self.body.clone()).unwrap()
    }

    pub fn text(&self) -> String {
        if self.media() == CB {
            return Value::of_object(&self.object()).to_json();
        }
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&bytes[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&bytes[line + 2..line + 2 + length]);
        bytes = &bytes[line + 4 + length..];
    }
}
