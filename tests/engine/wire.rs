//! One connection, and requests that are sent as they are written.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ledgerun::wire::cb::Object;
use ledgerun::wire::value::Value;

pub(crate) const CB: &str = "application/x-ue-cb";
pub(crate) const PKG: &str = "application/x-ue-cbpkg";
pub(crate) const JSON: &str = "application/json";
pub(crate) const OCTETS: &str = "application/octet-stream";
pub(crate) const COMP: &str = "application/x-ue-comp";

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
        stream.set_write_timeout(Some(Duration::from_mins(5))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes. An error only says that the other side has had enough.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    pub(crate) fn read(&mut self) -> Reply {
        self.try_read().unwrap()
    }

    pub(crate) fn try_read(&mut self) -> io::Result<Reply> {
        let mut reply = self.try_read_head()?;
        self.read_body(&mut reply)?;
        Ok(reply)
    }

    /// Reads an answer to HEAD.
    pub(crate) fn read_head(&mut self) -> Reply {
        self.try_read_head().unwrap()
    }

    fn try_read_head(&mut self) -> io::Result<Reply> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status =
            status.ok_or_else(|| io::Error::other(format!("no status in {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Ok(Reply { status, headers, body: Vec::new() })
    }

    fn read_body(&mut self, reply: &mut Reply) -> io::Result<()> {
        if reply.header("transfer-encoding") == "chunked" {
            loop {
                let length = usize::from_str_radix(&self.line()?, 16).unwrap();
                let start = reply.body.len();
                reply.body.resize(start + length, 0);
                self.stream.read_exact(&mut reply.body[start..])?;
                self.line()?;
                if length == 0 {
                    break;
                }
            }
        } else {
            reply.body.resize(reply.header("content-length").parse().unwrap(), 0);
            self.stream.read_exact(&mut reply.body)?;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.to_owned())
    }
}

/// A request to be.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl Into<String>, media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).with_body(media, body)
    }

    pub(crate) fn put(path: impl Into<String>, media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", path).with_body(media, body)
    }

    pub(crate) fn with_body(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The head with `framing` lines, each ended, before the empty line.
    pub(crate) fn head(&self, address: SocketAddr, framing: &str) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.has("Host") {
            write!(head, "Host: {address}\r\n").unwrap();
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        (head + framing + "\r\n").into_bytes()
    }

    /// The whole request as the engine's library sends it: bodies always with their length.
    pub(crate) fn to_bytes(&self, address: SocketAddr) -> Vec<u8> {
        let length = format!("Content-Length: {}\r\n", self.body.len());
        let framing = if self.method == "GET" { "" } else { &length };
        [self.head(address, framing), self.body.clone()].concat()
    }

    /// Sends it on a connection of its own.
    pub(crate) fn send(&self, address: SocketAddr) -> Reply {
        let mut connection = Connection::open(address);
        // A service that has refused the head doesn't wait for the body.
        let _ = connection.write(&self.to_bytes(address));
        connection.read()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The type as the engine compares it: cut at `;`, else letter by letter.
    pub(crate) fn media(&self) -> &str {
        self.header("content-type").split(';').next().unwrap_or_default()
    }

    /// The body as JSON, from either spelling.
    #[track_caller]
    pub(crate) fn value(&self) -> serde_json::Value {
        match self.media() {
            CB => {
                let object = Object::parse(self.body.clone()).unwrap();
                serde_json::from_str(&Value::of_object(&object).to_json()).unwrap()
            }
            JSON => serde_json::from_slice(&self.body).unwrap(),
            other => panic!("{} of type {other:?}: {:?}", self.status, self.shown()),
        }
    }

    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(400).collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.shown());
        self
    }
}
