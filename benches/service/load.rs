//! A load generator that costs little: raw HTTP/1.1 on kept-alive connections, one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a run of requests took.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) requests: usize,
    pub(crate) elapsed: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Run {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency below which `share` of the requests were answered.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies[(last as f64 * share) as usize]
    }
}

/// One request as it goes over the wire.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends every request of `requests` over `connections` connections, each one after the other's
/// answer, and checks that each answer's status is 2xx.
pub(crate) fn run(address: SocketAddr, connections: usize, requests: Vec<Vec<u8>>) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let (elapsed, mut latencies) = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
        let began = Instant::now();
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::spawn(connection(stream, requests.clone(), next.clone())))
            .collect();
        let mut latencies = Vec::with_capacity(requests.len());
        for task in tasks {
            latencies.extend(task.await.unwrap().unwrap());
        }
        (began.elapsed(), latencies)
    });
    latencies.sort_unstable();
    Run { requests: latencies.len(), elapsed, latencies }
}

async fn connection(
    mut stream: TcpStream,
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
) -> io::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let sent = Instant::now();
        stream.write_all(request).await?;
        answer(&mut stream, &mut buffer).await?;
        latencies.push(sent.elapsed());
    }
    Ok(latencies)
}

/// Reads one answer and drops its body.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(wrong("the connection ended".into()));
        }
        filled += read;
        let Some(head) = find(&buffer[..filled], b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 2") {
            let shown = String::from_utf8_lossy(&buffer[..filled]).into_owned();
            return Err(wrong(shown));
        }
        let length = text
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse::<usize>().ok())
            .ok_or_else(|| wrong("no content length".into()))?;
        let mut left = (head + 4 + length).saturating_sub(filled);
        while left > 0 {
            let room = buffer.len().min(left);
            let read = stream.read(&mut buffer[..room]).await?;
            if read == 0 {
                return Err(wrong("the connection ended in a body".into()));
            }
            left -= read;
        }
        return Ok(());
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
