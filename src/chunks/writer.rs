//! Uploads: bytes that come in bit by bit and are checked before they count.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;

use super::claims::{self, Shared};
use super::generation::Manifest;
use super::hold::Named;
use super::options::Put;
use super::verified::{Content, Verified};
use super::{Error, Store};
use crate::domain::{ChunkId, ContentHash};

/// An upload of a chunk whose name is known. Dropping it leaves nothing.
#[derive(Debug)]
#[must_use = "nothing is kept without finish"]
pub struct Writer {
    id: ChunkId,
    upload: Upload,
}

impl Writer {
    pub(super) fn new(store: Store, id: ChunkId) -> Self {
        // Named first: what is there now must still be there at the end.
        let named = store.inner.turns.name(id);
        let mut upload = Upload::new(store);
        if upload.store.contains(&id) {
            upload.sink = Sink::Elsewhere;
        }
        upload.named = Some(named);
        Self { id, upload }
    }

    /// The name the content must have.
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.upload.write(bytes, Some(self.id))
    }

    /// Checks the content against the name. The result can be kept with others in a
    /// [`super::Batch`].
    pub fn verify(self) -> Result<Verified<'static>, Error> {
        self.upload.verify(Some(self.id))
    }

    /// Checks the content and keeps it; durable when this returns.
    pub fn finish(self) -> Result<Put, Error> {
        let store = self.upload.store.clone();
        store.insert(self.verify()?)
    }
}

/// An upload of a chunk that is named by its content. Dropping it leaves nothing.
#[derive(Debug)]
#[must_use = "nothing is kept without finish"]
pub struct Spool {
    upload: Upload,
}

impl Spool {
    pub(super) fn new(store: Store) -> Self {
        Self { upload: Upload::new(store) }
    }

    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.upload.write(bytes, None)
    }

    /// Ends the content and names it. The result can be kept with others in a [`super::Batch`].
    pub fn verify(self) -> Result<Verified<'static>, Error> {
        self.upload.verify(None)
    }

    /// Ends the content, names it and keeps it; durable when this returns.
    pub fn finish(self) -> Result<ChunkId, Error> {
        let store = self.upload.store.clone();
        let verified = self.verify()?;
        let id = verified.id();
        store.insert(verified).map(|_| id)
    }
}

/// Where the bytes of an upload go.
#[derive(Debug)]
enum Sink {
    /// So far they are few.
    Memory(Vec<u8>),
    /// Into the database, group by group.
    Stream(Streaming),
    /// Into a file without a name, until they are verified.
    File(File),
    /// Nowhere: another upload of the same name is verified.
    Elsewhere,
}

#[derive(Debug)]
struct Upload {
    store: Store,
    hasher: blake3::Hasher,
    bytes: u64,
    sink: Sink,
    named: Option<Named>,
}

impl Upload {
    fn new(store: Store) -> Self {
        let sink = Sink::Memory(Vec::new());
        Self { store, hasher: blake3::Hasher::new(), bytes: 0, sink, named: None }
    }

    fn write(&mut self, bytes: &[u8], id: Option<ChunkId>) -> Result<(), Error> {
        self.store.check()?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        if Manifest::of(self.bytes, self.store.inner.options.piece_bytes).is_none() {
            let max = u64::from(u32::MAX) * u64::from(self.store.inner.options.piece_bytes);
            return Err(Error::TooLong { max });
        }
        match &mut self.sink {
            Sink::Memory(buffer) => {
                buffer.extend_from_slice(bytes);
                if buffer.len() > self.store.inner.options.group_bytes {
                    let buffer = std::mem::take(buffer);
                    self.sink = self.overflow(&buffer, id)?;
                }
            }
            Sink::Stream(stream) => {
                if !stream.write(bytes)? {
                    self.sink = Sink::Elsewhere;
                }
            }
            Sink::File(file) => file.write_all(bytes).map_err(spool_failed)?,
            Sink::Elsewhere => {}
        }
        Ok(())
    }

    /// Moves an upload that gets too long for memory to where it can go on.
    fn overflow(&self, buffer: &[u8], id: Option<ChunkId>) -> Result<Sink, Error> {
        if let Some(id) = id {
            let claim = self.store.inner.claims.stream(id, self.store.pin()?);
            if let Some(shared) = claim {
                let mut stream = Streaming::new(self.store.clone(), id, shared);
                // Another upload may have ended since this one began. Only now that the name is
                // this one's can't it become held behind its back: looking earlier would let
                // lies overwrite a held chunk.
                if self.store.contains(&id) {
                    return Ok(Sink::Elsewhere);
                }
                let goes_on = stream.write(buffer)?;
                return Ok(if goes_on { Sink::Stream(stream) } else { Sink::Elsewhere });
            }
        }
        let mut file = tempfile::tempfile_in(&self.store.inner.spool_dir).map_err(spool_failed)?;
        file.write_all(buffer).map_err(spool_failed)?;
        Ok(Sink::File(file))
    }

    fn verify(self, expected: Option<ChunkId>) -> Result<Verified<'static>, Error> {
        let actual = ChunkId(ContentHash::from_blake3(&self.hasher.finalize()));
        let id = expected.unwrap_or(actual);
        if actual != id {
            return Err(Error::Mismatch { expected: id, actual, bytes: self.bytes });
        }
        let content = match self.sink {
            Sink::Memory(buffer) => Content::Memory(Cow::Owned(buffer)),
            Sink::Stream(mut stream) => {
                if stream.flush()? {
                    Content::Stream(stream)
                } else {
                    Content::Elsewhere
                }
            }
            Sink::File(file) => Content::File(file),
            Sink::Elsewhere => Content::Elsewhere,
        };
        let named = self.named.unwrap_or_else(|| self.store.inner.turns.name(id));
        Ok(Verified { store: self.store, id, bytes: self.bytes, content, named })
    }
}

pub(super) fn spool_failed(source: std::io::Error) -> Error {
    Error::Io { operation: "spool an upload", source }
}

/// An upload that writes into the database before it is verified.
#[derive(Debug)]
pub(super) struct Streaming {
    store: Store,
    id: ChunkId,
    pub(super) shared: Shared,
    buffer: Vec<u8>,
    pub(super) published: bool,
}

impl Streaming {
    fn new(store: Store, id: ChunkId, shared: Shared) -> Self {
        Self { store, id, shared, buffer: Vec::new(), published: false }
    }

    /// Takes bytes; false when another upload has taken the name over.
    fn write(&mut self, mut bytes: &[u8]) -> Result<bool, Error> {
        let group_bytes = self.group_bytes();
        while !bytes.is_empty() {
            let room = group_bytes.saturating_sub(self.buffer.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= group_bytes && !self.flush()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A whole number of pieces.
    fn group_bytes(&self) -> usize {
        let piece_bytes = self.store.inner.options.piece_bytes as usize;
        (self.store.inner.options.group_bytes / piece_bytes).max(1) * piece_bytes
    }

    /// Writes what is buffered. Unless it's the end, that is a whole number of pieces.
    fn flush(&mut self) -> Result<bool, Error> {
        let piece_bytes = self.store.inner.options.piece_bytes;
        let mut stream = claims::lock(&self.shared);
        if stream.revoked {
            return Ok(false);
        }
        let Some(group) = Manifest::of(self.buffer.len() as u64, piece_bytes) else {
            return Ok(true);
        };
        let first = stream.pieces;
        // Counted before they are written, so that a failure half-way is cleared away in full.
        stream.pieces += group.pieces;
        stream.pin.wrote(group.bytes);
        self.store.write(stream.pin.number(), |generation| {
            generation.write_pieces(&self.id, first, &self.buffer, piece_bytes)
        })?;
        drop(stream);
        self.buffer.clear();
        Ok(true)
    }

    /// Clears away what an upload wrote that comes to nothing.
    fn clear(&self) {
        const PIECES: u32 = 1_024;
        loop {
            // In steps, because a verified upload of the same name may be waiting for the lock.
            let mut stream = claims::lock(&self.shared);
            if stream.pieces == 0 || stream.inherited {
                return;
            }
            let from = stream.pieces.saturating_sub(PIECES);
            let range = (from, stream.pieces);
            stream.pieces = from;
            let cleared = self.store.write(stream.pin.number(), |generation| {
                generation.remove_pieces(&self.id, range.0, range.1)
            });
            if let Err(error) = cleared {
                tracing::warn!(chunk = %self.id, %error, "pieces of a failed upload stay behind");
                return;
            }
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if !self.published {
            self.clear();
        }
        self.store.inner.claims.end_stream(&self.id, &self.shared);
    }
}
