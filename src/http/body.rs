//! Request bodies: limits before bytes, and never more in memory than the service has set aside.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::error::Error;
use super::headers::Headers;
use super::links::{Link, Links, Wait};
use super::patience::Patience;

/// One unit of the budget, in bytes.
const UNIT_BYTES: usize = 1_024;

/// How long the rest of a refused body is taken.
const LINGER: Duration = Duration::from_secs(3);
/// And how much of it, in bytes.
const LINGER_BYTES: usize = 64 << 20;

/// A body up to this length is small: some memory is for such alone, in bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// What is set aside for a body before more of it has come, in bytes.
const FIRST_BYTES: usize = 16 << 10;
/// How many silent connections are cut off for one body's sake, at most.
const CUT_MAX: usize = 64;
/// How long it then waits for their memory.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// How many body bytes may be buffered at once, over all requests. A quarter is for small bodies
/// alone, so that large ones don't keep ordinary submissions out.
pub(super) struct Budget {
    small: Arc<Semaphore>,
    any: Arc<Semaphore>,
    links: Arc<Links>,
}

impl Budget {
    pub(super) fn new(bytes: usize, links: Arc<Links>) -> Self {
        let units = bytes.div_ceil(UNIT_BYTES);
        let semaphore = |units| Arc::new(Semaphore::new(units));
        Self { small: semaphore(units / 4), any: semaphore(units - units / 4), links }
    }

    fn try_take(&self, units: u32, small: bool) -> Option<OwnedSemaphorePermit> {
        let from = |pool: &Arc<Semaphore>| pool.clone().try_acquire_many_owned(units).ok();
        if small { from(&self.small).or_else(|| from(&self.any)) } else { from(&self.any) }
    }

    /// Sets `bytes` of a body aside until the permit is dropped. When there is no room, clients
    /// that have stopped in the middle of their bodies lose theirs.
    async fn take(&self, bytes: usize, small: bool) -> Result<OwnedSemaphorePermit, Error> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        if let Some(permit) = self.try_take(units, small) {
            return Ok(permit);
        }
        let until = tokio::time::Instant::now() + CUT_WAIT;
        for _ in 0..CUT_MAX {
            if !self.links.give_way(Wait::Body) || tokio::time::Instant::now() > until {
                break;
            }
            // The connection that was cut ends on a thread of its own time.
            tokio::time::sleep(Duration::from_millis(2)).await;
            if let Some(permit) = self.try_take(units, small) {
                return Ok(permit);
            }
        }
        Err(Error::Busy)
    }
}

/// A buffered body. Its share of the budget is given back when it is dropped.
pub(super) struct Buffered {
    pub(super) bytes: Bytes,
    _permits: Vec<OwnedSemaphorePermit>,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync>>;

/// A body that has not been read.
pub(super) struct Body {
    /// `None` after the end.
    stream: Option<Pieces>,
    length: Length,
    /// Bytes that came.
    came: u64,
    patience: Patience,
    /// Told that the client is waited for, and as what.
    link: Option<(Arc<Link>, Wait)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(u64),
    Unknown,
}

impl Body {
    /// Wraps the stream of a request with these headers.
    pub(super) fn new<S, B>(
        stream: S,
        headers: &Headers,
        patience: Patience,
        link: Arc<Link>,
    ) -> Self
    where
        S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
        B: Buf,
    {
        let length = if headers.get(&TRANSFER_ENCODING).is_some() {
            Length::Unknown
        } else {
            let length = headers.text(&CONTENT_LENGTH).and_then(|text| text.trim().parse().ok());
            Length::Bytes(length.unwrap_or(0))
        };
        let stream = stream.map(|item| item.map(|mut buf| buf.copy_to_bytes(buf.remaining())));
        link.owes_body(length != Length::Bytes(0));
        let link = Some((link, Wait::Transfer));
        Self { stream: Some(Box::pin(stream)), length, came: 0, patience, link }
    }

    /// What is left in a request whose body was taken.
    pub(super) fn none() -> Self {
        let patience = Patience::new(Duration::ZERO, 0);
        Self { stream: None, length: Length::Bytes(0), came: 0, patience, link: None }
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
        let piece = if let Some(piece) = stream.next().now_or_never() {
            piece
        } else {
            if let Some((link, wait)) = &self.link {
                link.waits(Some(*wait));
            }
            let began = tokio::time::Instant::now();
            let piece = tokio::time::timeout(self.patience.left(), stream.next()).await;
            if let Some((link, _)) = &self.link {
                link.resumes();
            }
            self.patience.moved(began.elapsed(), 0);
            piece.map_err(|_| Error::BodyTimeout { idle: self.patience.whole() })?
        };
        match piece {
            None => {
                self.stream = None;
                self.came_whole();
                Ok(None)
            }
            Some(Ok(bytes)) => {
                self.patience.moved(Duration::ZERO, bytes.len());
                self.came = self.came.saturating_add(bytes.len() as u64);
                if self.length == Length::Bytes(self.came) {
                    self.came_whole();
                }
                Ok(Some(bytes))
            }
            Some(Err(source)) => Err(Error::BodyBroken { source }),
        }
    }

    /// Nothing of it is left on the connection.
    fn came_whole(&self) {
        if let Some((link, _)) = &self.link {
            link.owes_body(false);
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
        let small = match self.length {
            Length::Bytes(_) => announced <= SMALL_BYTES_MAX,
            Length::Unknown => false,
        };
        if let Some((_, wait)) = &mut self.link {
            *wait = Wait::Body;
        }
        // What is announced costs nothing. Memory is set aside for what comes, in steps that
        // double.
        let mut held = announced.min(FIRST_BYTES);
        let mut permits = vec![budget.take(held, small).await?];
        let Some(first) = self.next().await? else {
            return Ok(Buffered { bytes: Bytes::new(), _permits: permits });
        };
        if first.len() == announced {
            return Ok(Buffered { bytes: first, _permits: permits });
        }
        let mut whole = BytesMut::with_capacity(held.max(first.len()));
        whole.extend_from_slice(&first);
        drop(first);
        loop {
            if whole.len() > limit_here {
                return Err(Error::BodyTooLarge { limit });
            }
            if whole.len() > held {
                let more = whole.len().max(FIRST_BYTES);
                let more = if self.length == Length::Unknown {
                    more
                } else {
                    more.min(announced.saturating_sub(held)).max(whole.len() - held)
                };
                permits.push(budget.take(more, small).await?);
                held += more;
                whole.reserve(held.saturating_sub(whole.len()));
            }
            match self.next().await? {
                Some(piece) => whole.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(Buffered { bytes: whole.freeze(), _permits: permits })
    }
}

/// A client that is answered before it has sent everything must get to read the answer: closing at
/// once would make its system throw the answer away. So a while longer, and not without end, what
/// comes is taken and dropped.
impl Drop for Body {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.length == Length::Bytes(self.came) {
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
