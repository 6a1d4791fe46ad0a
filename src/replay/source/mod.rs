//! A recording, wherever it lies.

mod imported;
pub(super) mod live;

use std::io::Read;

use super::archive::Head;
use super::recorded::Recorded;
use crate::chunks;
use crate::domain::{ChunkId, Lsn, ObjectRef, Record};
use crate::eventlog;
use crate::eventlog::codec::DecodeError;

pub use self::imported::{Imported, imported};
pub use self::live::Live;

pub use super::references::OBJECT_BYTES_MAX;

/// Why a recording can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] super::archive::Error),
    #[error("cannot read the log")]
    Log(#[from] eventlog::Error),
    #[error("cannot read from the chunk store")]
    Chunks(#[from] chunks::Error),
    #[error("record {lsn} is not readable")]
    Record { lsn: Lsn, source: DecodeError },
    #[error("cannot read chunk {chunk}")]
    Chunk { chunk: ChunkId, source: std::io::Error },
    /// The log does not have what the recording is made of.
    #[error("record {0} is not in the log")]
    Missing(Lsn),
    #[error("chunk {chunk} has {bytes} bytes, too many for an object")]
    TooLong { chunk: ChunkId, bytes: u64 },
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("a thread that read the recording panicked")]
    Panicked,
}

/// Records of a recording, in order.
pub type Records<'a> = Box<dyn Iterator<Item = Result<Record, Error>> + Send + 'a>;

/// A recording that is complete: its records, and the chunks they refer to.
pub trait Recording: Send + Sync {
    /// Its name and range.
    fn head(&self) -> &Head;

    /// All its records by LSN: some from before its start, its range, some from after its end.
    fn records(&self) -> Records<'_>;

    /// One of its records.
    fn record(&self, lsn: Lsn) -> Result<Option<Record>, Error>;

    /// Length of a chunk; `None` when it is missing.
    fn chunk_bytes(&self, chunk: &ChunkId) -> Result<Option<u64>, Error>;

    /// The bytes of a chunk; `None` when it is missing.
    fn chunk(&self, chunk: &ChunkId) -> Result<Option<Box<dyn Read + Send + '_>>, Error>;

    /// The bytes of an object; `None` when it is missing. Fails when it is longer than
    /// [`OBJECT_BYTES_MAX`].
    fn object(&self, object: &ObjectRef) -> Result<Option<Vec<u8>>, Error> {
        let chunk = match object {
            ObjectRef::Inline(blob) => return Ok(Some(blob.0.to_vec())),
            ObjectRef::Chunk(chunk) => chunk,
        };
        let Some(bytes) = self.chunk_bytes(chunk)? else { return Ok(None) };
        if bytes > OBJECT_BYTES_MAX {
            return Err(Error::TooLong { chunk: *chunk, bytes });
        }
        let Some(mut content) = self.chunk(chunk)? else { return Ok(None) };
        let mut object = Vec::new();
        let read = content.read_to_end(&mut object);
        read.map_err(|source| Error::Chunk { chunk: *chunk, source })?;
        Ok(Some(object))
    }

    /// What its records say of its jobs.
    fn recorded(&self) -> Result<Recorded, Error> {
        let Head { start, stop, .. } = self.head();
        let mut recorded = Recorded::new(*start, *stop);
        for record in self.records() {
            recorded.apply(&record?);
        }
        Ok(recorded)
    }
}

/// The bytes of a chunk of the store; `None` when it is missing.
pub(super) fn in_store<'a>(
    store: &chunks::Store,
    chunk: &ChunkId,
) -> Result<Option<Box<dyn Read + Send + 'a>>, Error> {
    match store.read(chunk) {
        Ok(reader) => Ok(Some(Box::new(reader))),
        Err(chunks::Error::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
