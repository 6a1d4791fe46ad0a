//! Request bodies: limits before bytes, and never more in memory than the service has set aside.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::error::Error;

/// One unit of the budget, in bytes.
const UNIT_BYTES: usize = 1_024;

/// How long the rest of a refused body is taken.
const LINGER: Duration = Duration::from_secs(3);
/// And how much of it, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// How many body bytes may be buffered at once, over all requests.
pub(super) struct Budget {
    units: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { units: Arc::new(Semaphore::new(bytes.div_ceil(UNIT_BYTES))) }
    }

    /// Sets `bytes` aside until the permit is dropped.
    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        self.units.clone().try_acquire_many_owned(units).map_err(|_| Error::Busy)
    }
}

/// A buffered body. Its share of the budget is given back when it is dropped.
pub(super) struct Buffered {
    pub(super) bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// A body that has not been read.
pub(super) struct Body {
    /// `None` after the end.
    stream: Option<Pieces>,
    length: Length,
    idle: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(u64),
    Unknown,
}

impl Body {
    /// Wraps the stream of a request with these headers. A client that sends nothing for `idle`
    /// is given up.
    pub(super) fn new<S, B>(stream: S, headers: &HeaderMap, idle: Duration) -> Self
    where
        S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
        B: Buf,
    {
        let number = |value: &warp::http::HeaderValue| value.to_str().ok()?.trim().parse().ok();
        let length = if headers.contains_key(TRANSFER_ENCODING) {
            Length::Unknown
        } else {
            Length::Bytes(headers.get(CONTENT_LENGTH).and_then(number).unwrap_or(0))
        };
        let stream = stream.map(|item| item.map(|mut buf| buf.copy_to_bytes(buf.remaining())));
        Self { stream: Some(Box::pin(stream)), length, idle }
    }

    /// What is left in a request whose body was taken.
    pub(super) fn none() -> Self {
        let stream = Box::pin(futures_util::stream::empty());
        Self { stream: Some(stream), length: Length::Bytes(0), idle: Duration::ZERO }
    }

    /// How long the body says it is.
    pub(super) const fn length(&self) -> Option<u64> {
        match self.length {
            Length::Bytes(length) => Some(length),
            Length::Unknown => None,
        }
    }

    /// Whether the request said that there is no body.
    pub(super) fn is_empty(&self) -> bool {
        self.length == Length::Bytes(0)
    }

    /// Refuses a body that says it is longer than `limit`, before any of it is read.
    pub(super) fn check_length(&self, limit: u64) -> Result<(), Error> {
        match self.length {
            Length::Bytes(length) if length > limit => Err(Error::BodyTooLarge { limit }),
            Length::Bytes(_) | Length::Unknown => Ok(()),
        }
    }

    /// The next piece, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match tokio::time::timeout(self.idle, stream.next()).await {
            Err(_) => Err(Error::BodyTimeout { idle: self.idle }),
            Ok(None) => {
                self.stream = None;
                Ok(None)
            }
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(source))) => Err(Error::BodyBroken { source }),
        }
    }

    /// Reads it whole, at most `limit` bytes.
    pub(super) async fn buffer(mut self, limit: u64, budget: &Budget) -> Result<Buffered, Error> {
        self.check_length(limit)?;
        let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
        let announced = match self.length {
            Length::Bytes(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Length::Unknown => 0,
        };
        // What is announced is set aside at once, so that two half-read bodies never wait for
        // each other. It is not allocated before it arrives.
        let mut permit = budget.take(announced)?;
        let Some(first) = self.next().await? else {
            return Ok(Buffered { bytes: Bytes::new(), _permit: permit });
        };
        if first.len() == announced {
            return Ok(Buffered { bytes: first, _permit: permit });
        }
        let mut whole = BytesMut::from(&first[..]);
        let mut held = announced;
        loop {
            if whole.len() > limit_here {
                return Err(Error::BodyTooLarge { limit });
            }
            if whole.len() > held {
                let more = whole.len().max(64 * UNIT_BYTES);
                permit.merge(budget.take(more)?);
                held += more;
            }
            match self.next().await? {
                Some(piece) => whole.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(Buffered { bytes: whole.freeze(), _permit: permit })
    }
}

/// A client that is answered before it has sent everything must get to read the answer: closing at
/// once would make its system throw the answer away. So a while longer, and not without end, what
/// comes is taken and dropped.
impl Drop for Body {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.length == Length::Bytes(0) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, discard(stream)));
        }
    }
}

async fn discard(mut stream: Pieces) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(piece)) = stream.next().await {
        let Some(rest) = left.checked_sub(piece.len()) else { return };
        left = rest;
    }
}
