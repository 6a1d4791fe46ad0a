//! One connection from its first byte to its end.
//!
//! What serves a request takes some tens of kilobytes, so a connection has it only as long as there
//! is one. Between requests, while the bytes of a head trickle in, and while a long poll waits for
//! something to happen, a connection is a socket and a few bytes: ten thousand of these are cheap.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use warp::http::{HeaderName, Method};

use super::connection::{ConnectionService, target};
use super::error::HEAD_BYTES_MAX;
use super::headers::Headers;
use super::links::{Link, Wait};
use super::request::Head;
use super::socket::Socket;
use super::{App, dispatch, feed};

/// Bytes of a head up to which it is looked at whenever more of it comes; beyond that only for its
/// end.
const LOOKED_AT_MAX: usize = 4 << 10;

/// Headers of a long poll; one with more is held like any other request.
const HEADERS_MAX: usize = 32;

/// How long a connection is kept ready for the next request after an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a request waits before somebody who is slow gives way for it.
const TURN_WAIT: Duration = Duration::from_millis(5);

/// A connection and what belongs to it.
pub(super) struct Conversation {
    pub(super) app: Arc<App>,
    pub(super) link: Arc<Link>,
    pub(super) peer: SocketAddr,
    /// The address that the client came to.
    pub(super) local: SocketAddr,
}

/// What comes next.
enum Next {
    /// A request, or what hyper will say is none. `waited`: it is a long poll whose wait is over.
    Request { waited: bool },
    /// Nothing.
    End,
}

impl Conversation {
    /// Serves the connection until it ends.
    pub(super) async fn run(self, stream: TcpStream) -> Result<(), Error> {
        let mut socket = Socket::new(stream, self.link.clone(), self.app.clone());
        loop {
            let Next::Request { waited } = self.next(&mut socket).await? else { return Ok(()) };
            let turn = self.turn().await;
            // Boxed, so that it takes no room while nothing is being served.
            self.link.serves(true);
            let served = Box::pin(self.serve(socket, waited)).await?;
            self.link.serves(false);
            drop(turn);
            let Some(rested) = served else { return Ok(()) };
            socket = rested;
        }
    }

    /// Waits for a whole head, and for what a long poll waits for.
    async fn next(&self, socket: &mut Socket<TcpStream>) -> io::Result<Next> {
        let mut stopping = self.app.stopping.clone();
        let mut began = None;
        let poll = loop {
            if !socket.early.is_empty() {
                match heard(&socket.early) {
                    Heard::Part => {}
                    Heard::Whole => break self.foresee(&socket.early),
                    Heard::Wrong => break None,
                }
            }
            let until = match began {
                None => Instant::now() + self.app.config.idle_timeout,
                Some(began) => began + self.app.config.head_timeout,
            };
            let came = tokio::select! {
                came = timeout_at(until, more(socket)) => came,
                _ = stopping.wait_for(|stop| *stop) => return Ok(Next::End),
            };
            let Ok(came) = came else { return Ok(Next::End) };
            let came = came?;
            if came == 0 {
                return Ok(Next::End);
            }
            self.link.head_came(came);
            began.get_or_insert_with(Instant::now);
        };
        let Some(poll) = poll else { return Ok(Next::Request { waited: false }) };
        self.link.answers();
        let closed = tokio::select! {
            () = poll.wait(&self.app, &self.link) => false,
            closed = hangs_up(socket) => closed?,
        };
        Ok(if closed { Next::End } else { Next::Request { waited: true } })
    }

    /// The long poll that a whole head begins, if it is one that has to wait.
    fn foresee(&self, head: &[u8]) -> Option<feed::Poll> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(head).ok().filter(httparse::Status::is_complete)?;
        let path = request.path.filter(|path| path.contains("wait="))?;
        if request.method != Some("GET") {
            return None;
        }
        let all: Option<Vec<_>> = request.headers.iter().map(named).collect();
        let all = all?;
        let head = Head {
            method: Method::GET,
            target: target(&path.parse().ok()?),
            headers: Headers::kept(all.iter().map(|(name, value)| (name, *value))),
            peer: self.peer,
            local: self.local,
            link: self.link.clone(),
            waited: false,
        };
        dispatch::foresee(&self.app, &head)
    }

    /// Waits for one of the turns at being served. When all are taken, those give way that wait for
    /// a slow client, or for something to happen, longest.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let turn = self.app.turns.clone().acquire_owned();
            if let Ok(turn) = timeout(TURN_WAIT, turn).await {
                // The semaphore is never closed.
                return turn.ok();
            }
            let kinds = [Wait::Transfer, Wait::Body, Wait::Served];
            let _gone = kinds.into_iter().any(|kind| self.app.links.give_way(kind));
        }
    }

    /// Ready when the client has paused for long enough after an answer, or need not be waited for.
    fn pauses(&self, mut pause: Pin<&mut Sleep>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.link.is_done() && self.link.take_rest() {
                return Poll::Ready(());
            }
            // Set once for many requests: only when it goes off is it asked how long the pause is.
            ready!(pause.as_mut().poll(context));
            let paused = self.link.paused().unwrap_or_default();
            if paused >= PAUSE {
                return Poll::Ready(());
            }
            pause.as_mut().reset(Instant::now() + PAUSE.saturating_sub(paused));
        }
    }

    /// Serves what comes, until the client pauses. Gives the socket back then; nothing when the
    /// connection is over.
    async fn serve(
        &self,
        socket: Socket<TcpStream>,
        waited: bool,
    ) -> Result<Option<Socket<TcpStream>>, Error> {
        let service = ConnectionService::new(self, waited);
        // Heads that are too slow end in the socket, and pauses here.
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(socket), service);
        let mut stopping = self.app.stopping.clone();
        let mut pause = pin!(sleep(PAUSE));
        let served = poll_fn(|context| match connection.poll_without_shutdown(context) {
            Poll::Ready(ended) => Poll::Ready(Served::Ended(ended)),
            Poll::Pending => self.pauses(pause.as_mut(), context).map(|()| Served::Pauses),
        });
        let served = tokio::select! {
            served = served => served,
            _ = stopping.wait_for(|stop| *stop) => Served::Stops,
        };
        let ended = match served {
            Served::Ended(ended) => Some(ended),
            Served::Pauses => None,
            Served::Stops => {
                Pin::new(&mut connection).graceful_shutdown();
                Some(poll_fn(|context| connection.poll_without_shutdown(context)).await)
            }
        };
        let parts = connection.into_parts();
        let mut socket = parts.io.into_inner();
        if let Some(ended) = ended {
            ended?;
            // What the client did not take yet is not thrown away.
            tokio::io::AsyncWriteExt::shutdown(&mut socket).await?;
            return Ok(None);
        }
        if !parts.read_buf.is_empty() {
            let mut early = BytesMut::from(&parts.read_buf[..]);
            early.unsplit(std::mem::take(&mut socket.early));
            socket.early = early;
        }
        Ok(Some(socket))
    }
}

/// How serving a connection comes to an end.
enum Served {
    /// With the connection.
    Ended(hyper::Result<()>),
    /// The client has its answers and is silent.
    Pauses,
    /// The service stops.
    Stops,
}

/// Why a connection broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the socket failed")]
    Socket(#[from] io::Error),
    #[error("no HTTP")]
    Http(#[from] hyper::Error),
}

/// How much of a head there is.
enum Heard {
    Part,
    Whole,
    /// It will never be one, or it is too long.
    Wrong,
}

fn named<'head>(header: &httparse::Header<'head>) -> Option<(HeaderName, &'head [u8])> {
    let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
    Some((name, header.value))
}

fn heard(bytes: &[u8]) -> Heard {
    if bytes.len() >= HEAD_BYTES_MAX {
        return Heard::Wrong;
    }
    if bytes.len() > LOOKED_AT_MAX {
        let ends = |end: &[u8]| bytes.windows(end.len()).any(|window| window == end);
        return if ends(b"\n\r\n") || ends(b"\n\n") { Heard::Whole } else { Heard::Part };
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::Request::new(&mut headers).parse(bytes) {
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => Heard::Whole,
        Ok(httparse::Status::Partial) => Heard::Part,
        Err(_) => Heard::Wrong,
    }
}

/// Waits for more bytes; none when the client has closed.
async fn more(socket: &mut Socket<TcpStream>) -> io::Result<usize> {
    loop {
        socket.stream.readable().await?;
        match read_early(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// Reads what is there. On the stack first, so that a waiting connection holds no buffer.
fn read_early(socket: &mut Socket<TcpStream>) -> io::Result<usize> {
    let mut piece = [0; 2_048];
    let came = socket.stream.try_read(&mut piece)?;
    socket.early.extend_from_slice(piece.split_at(came).0);
    Ok(came)
}

/// Waits until the client closes the connection. One that sends more meanwhile has not; its next
/// request waits for its turn.
async fn hangs_up(socket: &mut Socket<TcpStream>) -> io::Result<bool> {
    if more(socket).await? == 0 {
        return Ok(true);
    }
    std::future::pending().await
}
