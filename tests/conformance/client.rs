//! A client that sends exactly what it is told, and notes every answer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ledgerun::wire::cb::Object;
use ledgerun::wire::json;
use serde_json::Value;

use crate::bodies::Body;
use crate::table::{Found, Gives, ROWS, find};
use crate::visits::{Half, Mode, Noted, Visits};

pub(crate) const CB: &str = "application/x-ue-cb";
pub(crate) const PKG: &str = "application/x-ue-cbpkg";
pub(crate) const JSON: &str = "application/json";
pub(crate) const OCTETS: &str = "application/octet-stream";
pub(crate) const COMP: &str = "application/x-ue-comp";

/// A client of one service that spells objects in one way.
pub(crate) struct Client<'w> {
    pub(crate) visits: &'w Visits,
    pub(crate) address: SocketAddr,
    pub(crate) half: Half,
    pub(crate) mode: Mode,
    /// Shown with every request.
    token: Option<String>,
    /// Whether answers are compared with those of the client of the other spelling.
    traced: Cell<bool>,
    trace: RefCell<Vec<String>>,
}

impl<'w> Client<'w> {
    /// A client of the service at `url`.
    pub(crate) fn new(visits: &'w Visits, url: &str, half: Half, mode: Mode) -> Self {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let (traced, trace) = (Cell::new(true), RefCell::default());
        Self { visits, address, half, mode, token: None, traced, trace }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// What it changed and how that was answered, without the values.
    pub(crate) fn trace(self) -> Vec<String> {
        self.trace.into_inner()
    }

    /// Runs what differs from one time to another, such as waiting.
    pub(crate) fn untraced<T>(&self, run: impl FnOnce() -> T) -> T {
        let before = self.traced.replace(false);
        let result = run();
        self.traced.set(before);
        result
    }

    pub(crate) fn call(&self, method: &'static str, target: &str) -> Call<'_, 'w> {
        let headers = Vec::new();
        let (target, body) = (target.to_owned(), Vec::new());
        Call { client: self, method, target, headers, body, announced: None }
    }

    /// POST in this client's spelling.
    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &Body) -> Reply {
        self.call("POST", target).body(body).send()
    }

    /// POST without a body.
    #[track_caller]
    pub(crate) fn push(&self, target: &str) -> Reply {
        self.call("POST", target).send()
    }

    #[track_caller]
    pub(crate) fn delete(&self, target: &str) -> Reply {
        self.call("DELETE", target).send()
    }

    /// GET in both spellings, by both prefixes, and HEAD: all say the same.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Reply {
        for _ in 0..200 {
            let reply = self.call("GET", target).send();
            let other = self.call("GET", target).accept(self.mode.other().media()).send();
            let alias = self.call("GET", &alias(target)).send();
            let head = self.call("HEAD", target).send();
            let again = self.call("GET", target).send();
            // What is under way may change in between.
            if (reply.status, &reply.body) != (again.status, &again.body) {
                continue;
            }
            assert_eq!(other.status, reply.status, "{target}: {}", other.text());
            assert_eq!(other.text(), reply.text(), "{target} in both spellings");
            assert_eq!((alias.status, alias.text()), (reply.status, reply.text()), "{target}");
            assert_eq!((head.status, head.media()), (reply.status, reply.media()), "{target}");
            assert!(head.body.is_empty(), "HEAD {target} has a body");
            let length = head.header("content-length");
            assert!(length.is_empty() || length == reply.body.len().to_string(), "{target}");
            for mode in Mode::BOTH {
                self.visits.ask(target, mode.media());
            }
            return reply;
        }
        panic!("{target} never answers the same twice");
    }

    /// GET of one type that isn't an object's, kept for later comparison.
    #[track_caller]
    pub(crate) fn get_as(&self, media: &str, target: &str) -> Reply {
        self.visits.ask(target, media);
        self.call("GET", target).accept(media).send()
    }
}

/// The other name of a path.
pub(crate) fn alias(target: &str) -> String {
    target
        .strip_prefix("/compute")
        .map_or_else(|| target.to_owned(), |rest| format!("/apply{rest}"))
}

/// A request that is being put together.
pub(crate) struct Call<'c, 'w> {
    client: &'c Client<'w>,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    announced: Option<u64>,
}

impl Call<'_, '_> {
    /// An empty value leaves the header out, also where there is one by default.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn accept(self, media: &str) -> Self {
        self.header("accept", media)
    }

    /// An object in the client's spelling.
    #[must_use]
    pub(crate) fn body(self, body: &Body) -> Self {
        let mode = self.client.mode;
        self.bytes(mode.media(), body.spelled(mode))
    }

    #[must_use]
    pub(crate) fn bytes(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", media)
    }

    /// Says that there are so many bytes of body, and sends none.
    #[must_use]
    pub(crate) fn announcing(mut self, length: u64) -> Self {
        self.announced = Some(length);
        self
    }

    /// Sends it and notes the answer.
    #[track_caller]
    pub(crate) fn send(self) -> Reply {
        let client = self.client;
        let mut stream = TcpStream::connect(client.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let request = [self.head().into_bytes(), self.body.clone()].concat();
        stream.write_all(&request).unwrap();
        let reply = Reply::read(&mut stream, self.method, &self.target);
        let wrong = if reply.status >= 400 { reply.error() } else { Value::Null };
        let text = |name: &str| wrong[name].as_str().unwrap_or_default();
        let noted = Noted {
            method: self.method,
            target: &self.target,
            status: reply.status,
            error: text("error"),
            code: text("code"),
        };
        client.visits.note(client.half, client.mode, &noted);
        self.check(&reply);
        reply
    }

    /// What holds for every answer.
    #[track_caller]
    fn check(&self, reply: &Reply) {
        let what = || format!("{} {}: {} {}", self.method, self.target, reply.status, reply.text());
        assert!(reply.header("x-ledgerun-lsn").parse::<u64>().is_ok(), "an LSN: {}", what());
        if reply.status >= 400 && self.method != "HEAD" && !self.target.starts_with("/health") {
            let error = reply.value();
            let ready = error.get("ready").is_some();
            assert!(ready || error["error"].as_str().is_some_and(|e| !e.is_empty()), "{}", what());
            assert!(ready || error["code"].as_str().is_some_and(|e| !e.is_empty()), "{}", what());
        }
        if reply.status == 503 {
            assert!(!reply.header("retry-after").is_empty(), "{}", what());
        }
        let Found::Row(row) = find(self.method, &self.target) else { return };
        let row = &ROWS[row];
        let spelled = matches!(row.gives, Gives::Object | Gives::ObjectOrPackage);
        if spelled && !self.headers.iter().any(|(name, _)| name == "accept") {
            assert_eq!(reply.media(), self.client.mode.media(), "{}", what());
        }
        if self.client.traced.get() && row.method != "GET" && self.method != "HEAD" {
            let plain = row.gives.is_plain() && reply.status < 400;
            let shape = if plain { "plain".to_owned() } else { shape(&reply.value()) };
            let line = format!("{} {} {shape}", row.name(), reply.status);
            self.client.trace.borrow_mut().push(line);
        }
    }

    fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.target);
        let mut add = |name: &str, value: &str| write!(head, "{name}: {value}\r\n").unwrap();
        let given = |name: &str| self.headers.iter().any(|(known, _)| known == name);
        if !given("host") {
            add("host", &self.client.address.to_string());
        }
        if !given("accept") {
            add("accept", self.client.mode.media());
        }
        if let Some(token) = self.client.token.as_ref().filter(|_| !given("authorization")) {
            add("authorization", &format!("Bearer {token}"));
        }
        for (name, value) in self.headers.iter().filter(|(_, value)| !value.is_empty()) {
            add(name, value);
        }
        let length = self.announced.unwrap_or(self.body.len() as u64);
        if length > 0 || self.method != "GET" {
            add("content-length", &length.to_string());
        }
        head + "\r\n"
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    fn read(stream: &mut TcpStream, method: &str, target: &str) -> Self {
        let mut bytes = Vec::new();
        let mut piece = [0; 16_384];
        let end = loop {
            let read = stream.read(&mut piece);
            let count = read.as_ref().map_or(0, |count| *count);
            bytes.extend_from_slice(&piece[..count]);
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(count > 0, "{method} {target}: no answer ({read:?})");
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let length = headers.get("content-length").map(|length| length.parse().unwrap());
        let length = if method == "HEAD" || status == 304 { Some(0) } else { length };
        // One that is refused early is not closed at once, so the end is found by its length.
        while length.is_none_or(|length: usize| body.len() < length) {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            body.extend_from_slice(&piece[..count]);
        }
        if chunked {
            body = dechunked(&body);
        } else if let Some(length) = length {
            assert_eq!(body.len(), length, "{method} {target}: as long as announced");
        }
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn media(&self) -> &str {
        self.header("content-type")
    }

    pub(crate) fn lsn(&self) -> u64 {
        self.header("x-ledgerun-lsn").parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// An error with this code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        let body = self.expect(status).value();
        assert_eq!(body["code"], code, "{body}");
        body
    }

    /// The body as JSON, in whichever spelling it came.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        assert!(matches!(self.media(), CB | JSON), "an object: {}", self.media());
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The body as text; an object as the JSON that it is spelled as.
    pub(crate) fn text(&self) -> String {
        if self.media() == CB && !self.body.is_empty() {
            return json::to_string(&Object::parse(self.body.clone()).unwrap());
        }
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The object of an error; null where there is none, as after HEAD.
    fn error(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_default()
    }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16);
        let length = length.unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&bytes[line + 2..line + 2 + length]);
        bytes = &bytes[line + 4 + length..];
    }
}

/// What an object is made of, without its values.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(number) => if number.is_f64() { "float" } else { "integer" }.into(),
        Value::String(_) => "text".into(),
        Value::Array(items) => {
            let shapes: BTreeSet<_> = items.iter().map(shape).collect();
            format!("[{}]", Vec::from_iter(shapes).join(" or "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", shape(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}
