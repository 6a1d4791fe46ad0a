//! Bodies that go to the chunk store as they arrive, with flat memory.
//!
//! The socket is read by the async side, decoding and storing happen on a blocking thread; a short
//! channel between them makes the client wait for the disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::App;
use super::body::Body;
use super::error::Error;
use super::links::Wait;
use super::payload::malformed;
use super::respond::sentence;
use crate::chunks::{Put, Spool, Store, Writer};
use crate::domain::ChunkId;
use crate::wire::cb::{Attachment, Object};
use crate::wire::package::{self, Event, Parser};

/// Most attachments of one package.
const ATTACHMENTS_MAX: u32 = 100_000;
/// What the largest upload holds in memory, in MiB: a block packed and unpacked or a root object,
/// a group of pieces, the table.
const LARGE_MIB: u32 = 32;
/// A block goes to the store in slices, since that gathers whatever it is given.
const SLICE_BYTES: usize = 512 << 10;
/// How often an upload that waits looks for a client that has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pieces between socket and store. A piece is at most what a connection buffers.
const PIECES_WAITING: usize = 4;

/// The blocking side's view of a body.
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
}

impl Pieces {
    /// The next piece; `None` at the end, or when the client went away.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        self.receiver.blocking_recv()
    }
}

/// Hands `body`, at most `limit` bytes, to `consume` on a blocking thread. Gives its share of the
/// memory for uploads too, to be kept as long as the result is large.
///
/// `consume` must not make anything visible before it has seen the end of what it reads: the end
/// of the pieces is also what a client that goes away looks like.
pub(super) async fn pump<T: Send + 'static>(
    app: &App,
    body: Body,
    limit: u64,
    consume: impl FnOnce(Pieces) -> Result<T, Error> + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), Error> {
    body.check_length(limit)?;
    if !app.engine.has_room() {
        return Err(Error::NoRoom);
    }
    let turn = turn(app, body.length()).await?;
    // Whoever gives up on the answer does not stop the thread at once, so the turn is its own.
    relay(body, limit, move |pieces| consume(pieces).map(|result| (result, turn))).await
}

/// The same without a share of the memory for uploads, for what holds no more than a few pieces.
pub(super) async fn relay<T: Send + 'static>(
    mut body: Body,
    limit: u64,
    consume: impl FnOnce(Pieces) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (pieces, receiver) = mpsc::channel(PIECES_WAITING);
    let consumer = tokio::task::spawn_blocking(move || consume(Pieces { receiver }));
    let sent = send(&mut body, limit, pieces).await;
    let result = consumer.await.map_err(|_| Error::Internal("storing a body failed".into()))?;
    // The consumer's error says more when both failed, except when it only missed the rest.
    match (sent, result) {
        (Sent::Whole | Sent::Refused, result) => result,
        (Sent::Failed(error), _) => Err(error),
    }
}

/// Memory for uploads, in MiB. Some is for small ones alone, so that those in the way of a large
/// one's slow client get through.
pub(super) struct Places {
    small: Arc<Semaphore>,
    any: Arc<Semaphore>,
}

impl Places {
    /// One large upload always fits.
    pub(super) fn new(bytes: usize) -> Self {
        let any = (bytes >> 20).max(LARGE_MIB as usize);
        Self { small: Arc::new(Semaphore::new(any / 8)), any: Arc::new(Semaphore::new(any)) }
    }
}

/// Waits until there is memory for a body of this length.
async fn turn(app: &App, length: Option<u64>) -> Result<OwnedSemaphorePermit, Error> {
    // A small body can't make its decoder hold much more than itself twice.
    let mib = length.map_or(LARGE_MIB, |length| {
        u32::try_from(length >> 19).unwrap_or(u32::MAX).saturating_add(1).min(LARGE_MIB)
    });
    let places = if mib == 1 { &app.uploads.small } else { &app.uploads.any };
    place(app, places, mib).await
}

/// Waits for so many places; clients that have stopped in the middle of a transfer make room.
pub(super) async fn place(
    app: &App,
    places: &Arc<Semaphore>,
    count: u32,
) -> Result<OwnedSemaphorePermit, Error> {
    let until = tokio::time::Instant::now() + app.config.upload_wait;
    let turn = places.clone().acquire_many_owned(count);
    let mut turn = std::pin::pin!(turn);
    loop {
        // Its own place in the line is kept all the while.
        match tokio::time::timeout(LOOK_EVERY, &mut turn).await {
            Ok(turn) => return turn.map_err(|_| Error::Busy),
            Err(_) if tokio::time::Instant::now() >= until => return Err(Error::Busy),
            Err(_) => drop(app.links.give_way(Wait::Transfer)),
        }
    }
}

enum Sent {
    Whole,
    /// The consumer has seen enough.
    Refused,
    Failed(Error),
}

async fn send(body: &mut Body, limit: u64, pieces: mpsc::Sender<Bytes>) -> Sent {
    let mut received: u64 = 0;
    loop {
        let piece = match body.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Sent::Whole,
            Err(error) => return Sent::Failed(error),
        };
        received += piece.len() as u64;
        if received > limit {
            return Sent::Failed(Error::BodyTooLarge { limit });
        }
        if pieces.send(piece).await.is_err() {
            return Sent::Refused;
        }
    }
}

/// Receives a package: the root, whose id `check` compares, and attachments, which are in the
/// chunk store and durable when this returns.
pub(super) async fn package(
    app: &App,
    body: Body,
    check: impl Fn(&Object) -> Result<(), Error> + Send + 'static,
) -> Result<(Object, OwnedSemaphorePermit), Error> {
    let limits = package::Limits {
        root_bytes_max: app.config.limits.object_bytes,
        attachments_max: ATTACHMENTS_MAX,
        total_bytes_max: app.config.limits.package_bytes,
        attachment_bytes_max: app.config.limits.chunk_bytes,
        raw_bytes_max: app.config.limits.package_bytes,
    };
    let (length, store) = (body.length(), app.chunks.clone());
    pump(app, body, app.config.limits.package_bytes, move |pieces| {
        unpack(&store, pieces, Parser::new(limits, length), &check)
    })
    .await
}

fn unpack(
    store: &Store,
    mut pieces: Pieces,
    mut parser: Parser,
    check: &dyn Fn(&Object) -> Result<(), Error>,
) -> Result<Object, Error> {
    let mut root = None;
    let mut upload = None;
    let mut batch = store.batch();
    while let Some(piece) = pieces.next() {
        let mut input = &piece[..];
        while let Some(event) = parser.next(&mut input).map_err(|error| malformed(&error))? {
            match event {
                Event::Root(bytes) => {
                    let object = Object::parse(bytes).map_err(|error| Error::Malformed {
                        what: "the package's root",
                        reason: sentence(&error),
                    })?;
                    check(&object)?;
                    let referred = object.attachments().into_iter().map(Attachment::hash).collect();
                    parser.check_references(&referred).map_err(|error| malformed(&error))?;
                    root = Some(object);
                }
                Event::Begin { entry, .. } => upload = Some(store.writer(ChunkId(entry.hash))?),
                Event::Content(content) => {
                    if let Some(writer) = &mut upload {
                        for slice in content.chunks(SLICE_BYTES) {
                            writer.write(slice)?;
                        }
                    }
                }
                Event::End { .. } => {
                    if let Some(writer) = upload.take() {
                        batch.add(writer.verify()?)?;
                    }
                }
            }
        }
    }
    parser.finish().map_err(|error| malformed(&error))?;
    batch.commit()?;
    root.ok_or_else(|| Error::Internal("a package without a root was taken".into()))
}

/// A chunk on its way into the store, whose name is known or comes from its content.
pub(super) enum Upload {
    Named(Writer),
    Unnamed(Spool, Store),
}

impl Upload {
    pub(super) fn new(store: &Store, id: Option<ChunkId>) -> Result<Self, Error> {
        Ok(match id {
            Some(id) => Self::Named(store.writer(id)?),
            None => Self::Unnamed(store.spool()?, store.clone()),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for slice in bytes.chunks(SLICE_BYTES) {
            match self {
                Self::Named(writer) => writer.write(slice)?,
                Self::Unnamed(spool, _) => spool.write(slice)?,
            }
        }
        Ok(())
    }

    /// Checks the content and makes it durable.
    pub(super) fn finish(self) -> Result<(ChunkId, Put), Error> {
        match self {
            Self::Named(writer) => {
                let id = writer.id();
                Ok((id, writer.finish()?))
            }
            Self::Unnamed(spool, store) => {
                let verified = spool.verify()?;
                let id = verified.id();
                let mut batch = store.batch();
                let put = batch.add(verified)?;
                batch.commit()?;
                Ok((id, put))
            }
        }
    }
}
