//! One load generator for every protocol: kept-alive connections on one thread, requests that are
//! made beforehand but for a number, and answers of which only the end is looked for. So its cost
//! is small and about the same whoever is measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Stands where a request takes the number of its entry.
pub(crate) const PLACE: &str = "@@@@@@@@@@";

/// A request of one or more entries; each gets a number of its own before it is sent.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
    entries: usize,
}

impl Template {
    /// `bytes` has the same number of places for each of the `entries`.
    pub(crate) fn new(bytes: Vec<u8>, entries: usize) -> Self {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(found) = find(&bytes[at..], PLACE.as_bytes()) {
            places.push(at + found);
            at += found + PLACE.len();
        }
        assert!(!places.is_empty() && places.len().is_multiple_of(entries), "places are missing");
        Self { bytes, places, entries }
    }

    /// The request whose entries are numbered from `first`.
    pub(crate) fn numbered(&mut self, first: u64) -> &[u8] {
        let places_per_entry = self.places.len() / self.entries;
        for (at, place) in self.places.iter().enumerate() {
            let mut number = first + (at / places_per_entry) as u64;
            for digit in self.bytes[*place..*place + PLACE.len()].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        &self.bytes
    }
}

/// A part of a server's answer.
pub(crate) struct Part {
    /// Its bytes.
    pub(crate) len: usize,
    /// Whether it is one that was waited for.
    pub(crate) counts: bool,
}

/// What a server says, as far as a client must understand it.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    /// What a connection says first, by its number, and how many parts to wait for then.
    pub(crate) hello: fn(usize) -> (Vec<u8>, usize),
    /// The first part of what was received: none when it is not complete. A refusal is an error.
    pub(crate) part: fn(&[u8]) -> Result<Option<Part>, String>,
    /// Whether each entry is answered, or a request as a whole.
    pub(crate) answers_entries: bool,
}

/// What was measured.
pub(crate) struct Run {
    /// Entries a second.
    pub(crate) rate: f64,
    /// Of requests, sorted.
    latencies: Vec<Duration>,
}

impl Run {
    pub(crate) fn new(entries: usize, elapsed: Duration, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self { rate: entries as f64 / elapsed.as_secs_f64(), latencies }
    }

    /// The latency in milliseconds below which `share` of the requests were answered.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1) as f64;
        let latency = self.latencies.get((last * share) as usize);
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// A connection that said hello.
pub(crate) struct Connection {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    dialect: Dialect,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(crate) async fn open(
        address: SocketAddr,
        dialect: Dialect,
        number: usize,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        let mut connection = Self { from, to, dialect, buffer: vec![0; 64 << 10], filled: 0 };
        let (hello, parts) = (dialect.hello)(number);
        connection.exchange(&hello, parts).await?;
        Ok(connection)
    }

    /// Sends `request` and reads until `parts` parts that count have come. All that came with them.
    pub(crate) async fn ask(&mut self, request: &[u8], parts: usize) -> io::Result<Vec<u8>> {
        let mut heard = Vec::new();
        self.to.write_all(request).await?;
        read(self.dialect, &mut self.from, &mut self.buffer, &mut self.filled, parts, |part| {
            heard.extend_from_slice(part);
        })
        .await?;
        Ok(heard)
    }

    async fn exchange(&mut self, request: &[u8], parts: usize) -> io::Result<()> {
        let Self { from, to, dialect, buffer, filled } = self;
        if request.len() < 64 << 10 {
            to.write_all(request).await?;
            return read(*dialect, from, buffer, filled, parts, |_| ()).await;
        }
        // A server that answers while it reads must not find its answers refused.
        let writing = async {
            to.write_all(request).await?;
            Ok(())
        };
        let reading = read(*dialect, from, buffer, filled, parts, |_| ());
        tokio::try_join!(writing, reading).map(|_| ())
    }
}

async fn read(
    dialect: Dialect,
    from: &mut OwnedReadHalf,
    buffer: &mut Vec<u8>,
    filled: &mut usize,
    mut parts: usize,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut start = 0;
    while parts > 0 {
        let rest = &buffer[start..*filled];
        let refused = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        if let Some(part) = (dialect.part)(rest).map_err(refused)? {
            each(&rest[..part.len]);
            start += part.len;
            parts -= usize::from(part.counts);
            continue;
        }
        buffer.copy_within(start..*filled, 0);
        *filled -= start;
        start = 0;
        if *filled == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let read = from.read(&mut buffer[*filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *filled += read;
    }
    buffer.copy_within(start..*filled, 0);
    *filled -= start;
    Ok(())
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Sends requests for `time` over as many connections as there are templates, each one after the
/// other's answer. What was sent in the first fifth counts as warming up.
pub(crate) fn run(
    address: SocketAddr,
    dialect: Dialect,
    templates: Vec<Template>,
    time: Duration,
    numbers: &Arc<AtomicU64>,
) -> io::Result<Run> {
    runtime().block_on(async {
        let mut connections = Vec::new();
        for (number, template) in templates.into_iter().enumerate() {
            connections.push((Connection::open(address, dialect, number).await?, template));
        }
        let warm = Instant::now() + time / 5;
        let end = warm + time;
        let tasks: Vec<_> = connections
            .into_iter()
            .map(|(connection, template)| {
                tokio::spawn(converse(connection, template, warm, end, numbers.clone()))
            })
            .collect();
        let (mut entries, mut latencies) = (0, Vec::new());
        for task in tasks {
            let (of_one, its_latencies) = task.await.unwrap()?;
            entries += of_one;
            latencies.extend(its_latencies);
        }
        Ok(Run::new(entries, time, latencies))
    })
}

/// Entries whose answers came between `warm` and `end`, and the latencies of their requests.
async fn converse(
    mut connection: Connection,
    mut template: Template,
    warm: Instant,
    end: Instant,
    numbers: Arc<AtomicU64>,
) -> io::Result<(usize, Vec<Duration>)> {
    let mut latencies = Vec::new();
    let entries = template.entries;
    let parts = if connection.dialect.answers_entries { entries } else { 1 };
    loop {
        let first = numbers.fetch_add(entries as u64, Ordering::Relaxed);
        let request = template.numbered(first);
        let sent = Instant::now();
        connection.exchange(request, parts).await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok((latencies.len() * entries, latencies));
        }
        if answered >= warm {
            latencies.push(answered - sent);
        }
    }
}

/// Sends one request of `entries` and waits for its whole answer.
pub(crate) fn once(
    address: SocketAddr,
    dialect: Dialect,
    mut template: Template,
    numbers: &AtomicU64,
) -> io::Result<Duration> {
    let entries = template.entries;
    let first = numbers.fetch_add(entries as u64, Ordering::Relaxed);
    let request = template.numbered(first);
    runtime().block_on(async {
        let mut connection = Connection::open(address, dialect, 0).await?;
        let parts = if dialect.answers_entries { entries } else { 1 };
        let began = Instant::now();
        connection.exchange(request, parts).await?;
        Ok(began.elapsed())
    })
}

/// What a server answers to one request.
pub(crate) fn ask(
    address: SocketAddr,
    dialect: Dialect,
    request: &[u8],
    parts: usize,
) -> io::Result<Vec<u8>> {
    runtime()
        .block_on(async { Connection::open(address, dialect, 0).await?.ask(request, parts).await })
}

pub(crate) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
