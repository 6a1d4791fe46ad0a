//! A connection's socket: heads that come too slowly, clients that don't take their answers, and
//! the refusals that hyper writes by itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::App;
use super::error::Error;
use super::links::{Link, Phase, Wait};
use super::patience::Patience;
use super::respond::{self, Value};

/// Up to this many bytes are written as one piece.
const SMALL_BYTES_MAX: usize = 1_024;

/// Wraps the stream of one connection.
pub(super) struct Socket<S> {
    pub(super) stream: S,
    /// What was read before hyper took the connection.
    pub(super) early: BytesMut,
    link: Arc<Link>,
    app: Arc<App>,
    /// Ends a head that takes too long.
    head: Option<Pin<Box<Sleep>>>,
    reader: Patience,
    /// Since when the client takes nothing, and when that is too long.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
    /// What is sent instead of a refusal of hyper's, and how many bytes of that it thinks it sent.
    instead: Option<(Bytes, usize)>,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, link: Arc<Link>, app: Arc<App>) -> Self {
        let reader = Patience::new(app.config.answer_timeout, app.config.min_rate);
        Self {
            stream,
            early: BytesMut::new(),
            link,
            app,
            head: None,
            reader,
            stalled: None,
            instead: None,
        }
    }

    /// The client takes nothing right now.
    fn blocked(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let left = self.reader.left();
        let link = &self.link;
        let (_, over) = self.stalled.get_or_insert_with(|| {
            link.waits(Some(Wait::Transfer));
            (Instant::now(), Box::pin(tokio::time::sleep(left)))
        });
        ready!(over.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client doesn't take its answer"))
    }

    /// The client took so many bytes.
    fn took(&mut self, bytes: usize) {
        let waited = match self.stalled.take() {
            Some((since, _)) => {
                self.link.resumes();
                since.elapsed()
            }
            None => Duration::ZERO,
        };
        self.reader.moved(waited, bytes);
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// Writes what stands in for a refusal of hyper's. hyper is told about its own bytes when all
    /// of that is out.
    fn write_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((left, theirs)) = &mut self.instead {
            let theirs = *theirs;
            if left.is_empty() {
                self.instead = None;
                return Poll::Ready(Ok(theirs));
            }
            match Pin::new(&mut self.stream).poll_write(context, left) {
                Poll::Ready(Ok(count)) => {
                    left.advance(count);
                    self.took(count);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.blocked(context).map(Err),
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let count = this.early.len().min(buffer.remaining());
            buffer.put_slice(&this.early.split_to(count));
            if this.early.is_empty() {
                // Its memory is not needed any more.
                this.early = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        if this.link.phase() == Phase::Answer {
            this.head = None;
            return read;
        }
        if came > 0 {
            this.link.head_came(came);
        }
        if this.link.phase() == Phase::Head {
            // A head that comes whole, as nearly all do, needs no timer.
            if read.is_ready() {
                return read;
            }
            let limit = this.app.config.head_timeout;
            let over = this.head.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            if over.as_mut().poll(context).is_ready() {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "the head took too long");
                return Poll::Ready(Err(slow));
            }
        } else {
            this.head = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.link.flushed(false);
        if this.instead.is_some() {
            return this.write_instead(context);
        }
        if let Some(error) = slices.first().and_then(|head| refusal(head)) {
            let theirs = slices.iter().map(|slice| slice.len()).sum();
            this.instead = Some((answer(&this.app, &error), theirs));
            return this.write_instead(context);
        }
        match write(Pin::new(&mut this.stream), context, slices) {
            Poll::Ready(result) => {
                this.took(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => this.blocked(context).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has written all it had.
        if this.link.phase() == Phase::Request {
            this.link.flushed(true);
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Writes what is small as one piece: copying it costs less than a list of pieces does.
fn write(
    stream: Pin<&mut impl AsyncWrite>,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut piece = [0; SMALL_BYTES_MAX];
    let mut length = 0;
    for slice in slices {
        let Some(place) = piece.get_mut(length..length + slice.len()) else {
            return stream.poll_write_vectored(context, slices);
        };
        place.copy_from_slice(slice);
        length += slice.len();
    }
    stream.poll_write(context, piece.get(..length).unwrap_or_default())
}

/// What hyper refuses here, when this is the start of an answer that isn't ours: hyper answers a
/// head that it can't read with a bare status, and ours all name an LSN.
fn refusal(head: &[u8]) -> Option<Error> {
    let status = head.strip_prefix(b"HTTP/1.1 4").or_else(|| head.strip_prefix(b"HTTP/1.0 4"))?;
    let name = respond::LSN;
    let name = name.as_str().as_bytes();
    if head.windows(name.len()).any(|part| part == name) {
        return None;
    }
    match status.get(..2)? {
        b"00" => Some(Error::MalformedHead),
        b"14" => Some(Error::UriTooLong),
        b"31" => Some(Error::HeadTooLarge),
        _ => None,
    }
}

/// A whole answer, for when nobody but this module will write one. The head that would say how the
/// client likes it could not be read, so it is JSON.
pub(super) fn answer(app: &App, error: &Error) -> Bytes {
    let (status, code) = error.status();
    let body: Value = respond::object().with("error", respond::sentence(error)).with("code", code);
    let body = body.to_json();
    let retry = match status.as_u16() {
        503 => "retry-after: 1\r\n",
        _ => "",
    };
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n{retry}{}: {}\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
        respond::LSN,
        app.engine.durable(),
    );
    (head + &body).into()
}
