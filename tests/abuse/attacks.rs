//! Clients that want something else.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledgerun::domain::ChunkId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::TOKEN;

/// How many of each kind there are at once.
const HALF_OPEN: usize = 300;
const LONG_HEADS: usize = 300;
const SLOW_SENDERS: usize = 200;
const SLOW_UPLOADS: usize = 20;
const SLOW_READERS: usize = 150;
const GUESSERS: usize = 4;
const GARBLERS: usize = 4;
const CLAIMANTS: usize = 4;

/// Between two tries of one attacker.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) polls_waiting: AtomicUsize,
    polls_answered: AtomicUsize,
    /// Connections that the service has closed.
    closed: AtomicUsize,
    guesses_refused: AtomicUsize,
    garbage_refused: AtomicUsize,
    claims_refused: AtomicUsize,
    slow_cut: AtomicUsize,
    readers: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// All of it at once, until this is dropped.
pub(crate) struct Attack {
    pub(crate) counts: Arc<Counts>,
    runtime: Option<Runtime>,
}

/// Gives this thread the lowest priority.
fn yield_to_others() {
    let thread = rustix::process::Pid::from_raw(nix::unistd::gettid().as_raw());
    rustix::process::setpriority_process(thread, 19).unwrap();
}

impl fmt::Debug for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.fmt(f)
    }
}

/// What each attacker knows.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    counts: Arc<Counts>,
    large: ChunkId,
}

impl Attack {
    pub(crate) fn start(url: &str, polls: usize, large: ChunkId) -> Self {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let counts = Arc::new(Counts::default());
        let target = Target { address, counts: counts.clone(), large };
        // One thread for all of them, which leaves the processors to the service: attackers have
        // their own.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()
            .unwrap();
        let mut number = 0;
        let mut many = |count: usize, kind: Kind| {
            for _ in 0..count {
                number += 1;
                runtime.spawn(again_and_again(target.clone(), kind, number));
            }
        };
        many(polls, Kind::Poll);
        many(HALF_OPEN, Kind::HalfOpen);
        many(LONG_HEADS, Kind::LongHead);
        many(SLOW_SENDERS, Kind::SlowSender);
        many(SLOW_UPLOADS, Kind::SlowUpload);
        many(SLOW_READERS, Kind::SlowReader);
        many(GUESSERS, Kind::Guess);
        many(GARBLERS, Kind::Garbage);
        many(CLAIMANTS, Kind::Claim);
        Self { counts, runtime: Some(runtime) }
    }

    /// The attack was one.
    pub(crate) fn assert_all_happened(&self, polls: usize) {
        let counts = &self.counts;
        let waiting = counts.polls_waiting.load(Ordering::Relaxed);
        assert!(waiting >= polls, "{self:?}");
        for count in [
            &counts.guesses_refused,
            &counts.garbage_refused,
            &counts.claims_refused,
            &counts.slow_cut,
            &counts.readers,
        ] {
            assert!(count.load(Ordering::Relaxed) > 0, "{self:?}");
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Poll,
    HalfOpen,
    LongHead,
    SlowSender,
    SlowUpload,
    SlowReader,
    Guess,
    Garbage,
    Claim,
}

async fn again_and_again(target: Target, kind: Kind, number: u64) {
    for round in 0.. {
        if let Ok(stream) = TcpStream::connect(target.address).await {
            // Whatever ends it: the next one.
            let _ = attack(&target, kind, stream, number.wrapping_mul(1_000_003) + round).await;
            add(&target.counts.closed);
        }
        tokio::time::sleep(PAUSE * if matches!(kind, Kind::Poll) { 20 } else { 1 }).await;
    }
}

async fn attack(
    target: &Target,
    kind: Kind,
    mut stream: TcpStream,
    seed: u64,
) -> std::io::Result<()> {
    let counts = &target.counts;
    match kind {
        Kind::Poll => poll(counts, stream).await,
        Kind::HalfOpen => {
            if seed.is_multiple_of(2) {
                stream.write_all(b"GET /compute/jo").await?;
            }
            stream.read(&mut [0]).await.map(drop)
        }
        Kind::LongHead => {
            let padding = "x".repeat(15_000);
            stream.write_all(format!("GET / HTTP/1.1\r\nx-padding: {padding}").as_bytes()).await?;
            stream.read(&mut [0]).await.map(drop)
        }
        Kind::SlowSender => {
            let head = head("POST", "/compute/jobs", "content-length: 1000000\r\n");
            let sent = dribble(&mut stream, &head, 60_000).await;
            add(&counts.slow_cut);
            sent
        }
        Kind::SlowUpload => {
            let path = format!("/compute/chunks/{}", "7".repeat(40));
            let head = head("PUT", &path, "content-length: 1000000000\r\n");
            dribble(&mut stream, &head, 100_000).await
        }
        Kind::SlowReader => {
            let path = format!("/compute/chunks/{}", target.large);
            stream.write_all(head("GET", &path, "").as_bytes()).await?;
            let mut piece = [0; 100];
            stream.read_exact(&mut piece).await?;
            if piece.starts_with(b"HTTP/1.1 200") {
                add(&counts.readers);
            }
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if stream.read(&mut piece).await? == 0 {
                    return Ok(());
                }
            }
        }
        Kind::Guess => guess(counts, stream, seed).await,
        Kind::Garbage => {
            let mut noise = [0; 600];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
            match seed % 3 {
                0 => stream.write_all(&noise).await?,
                1 => {
                    let head = head("POST", "/compute/jobs", "content-length: 600\r\n");
                    stream.write_all(head.as_bytes()).await?;
                    stream.write_all(&noise).await?;
                }
                _ => {
                    stream.write_all(b"GET / HTTP/1.1\r\n").await?;
                    stream.write_all(&noise).await?;
                }
            }
            stream.write_all(b"\r\n\r\n").await?;
            expect(&mut stream, b"HTTP/1.1 4", &counts.garbage_refused).await
        }
        Kind::Claim => {
            let length = if seed.is_multiple_of(2) { u64::MAX } else { 16_000_000_000 };
            let length = format!("content-length: {length}\r\n");
            stream.write_all(head("POST", "/compute/jobs", &length).as_bytes()).await?;
            expect(&mut stream, b"HTTP/1.1 4", &counts.claims_refused).await
        }
    }
}

fn head(method: &str, path: &str, more: &str) -> String {
    let media = if method == "PUT" { "application/octet-stream" } else { "application/x-ue-cb" };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: {media}\r\n{more}\r\n"
    )
}

/// Counts an answer that starts like this.
async fn expect(stream: &mut TcpStream, start: &[u8], count: &AtomicUsize) -> std::io::Result<()> {
    let mut answer = vec![0; start.len()];
    stream.read_exact(&mut answer).await?;
    if answer == start {
        add(count);
    }
    Ok(())
}

/// Waits for what never comes, over and over.
async fn poll(counts: &Counts, mut stream: TcpStream) -> std::io::Result<()> {
    let head = head("GET", "/compute/jobs/completed?since=99999999999&wait=60", "");
    loop {
        stream.write_all(head.as_bytes()).await?;
        add(&counts.polls_waiting);
        let read = stream.read(&mut [0; 1_024]).await;
        counts.polls_waiting.fetch_sub(1, Ordering::Relaxed);
        if read? == 0 {
            return Ok(());
        }
        add(&counts.polls_answered);
    }
}

/// Sends a part of a body at once and then a byte a second.
async fn dribble(stream: &mut TcpStream, head: &str, part: usize) -> std::io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![0; part]).await?;
    let mut answer = [0; 64];
    loop {
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            Ok(read) => return read.map(drop),
            Err(_) => stream.write_all(b"x").await?,
        }
    }
}

/// Tries tokens, one after another on one connection.
async fn guess(counts: &Counts, mut stream: TcpStream, seed: u64) -> std::io::Result<()> {
    let mut answer = [0; 1_024];
    for number in 0_u64.. {
        let hash = blake3::hash(&seed.wrapping_add(number << 32).to_le_bytes());
        let guess = hash.to_hex();
        let request = if number % 2 == 0 {
            format!(
                "GET /compute/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {guess}\r\n\r\n"
            )
        } else {
            format!("GET /compute/queues/{} HTTP/1.1\r\nhost: x\r\n\r\n", &guess[..24])
        };
        stream.write_all(request.as_bytes()).await?;
        let length = stream.read(&mut answer).await?;
        if length == 0 {
            break;
        }
        let refused = [&b"HTTP/1.1 401"[..], b"HTTP/1.1 404"];
        assert!(refused.iter().any(|start| answer.starts_with(start)), "a guess was right");
        add(&counts.guesses_refused);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
