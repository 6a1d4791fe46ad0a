//! What can go wrong with stored bytes.

use std::io;
use std::path::PathBuf;

use crate::domain::ChunkId;
use crate::durable;

/// Why the chunk store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The content is not what its name says. Nothing of it is kept.
    #[error("content of {bytes} bytes hashes to {actual}, not to {expected}")]
    Mismatch { expected: ChunkId, actual: ChunkId, bytes: u64 },
    /// No such chunk is held.
    #[error("chunk {0} is not held")]
    Missing(ChunkId),
    /// A held chunk can't be read back. From now on it counts as missing, so that a new upload
    /// repairs it.
    #[error("chunk {id} is damaged at byte {offset}: {what}")]
    Damaged { id: ChunkId, offset: u64, what: String },
    /// More bytes than pieces can be numbered.
    #[error("a chunk has at most {max} bytes")]
    TooLong { max: u64 },
    /// A generation's directory can't be opened.
    #[error("cannot open the chunk generation {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed; the store is poisoned.
    #[error("cannot {operation}")]
    Database {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was to be written met a page of the database that is damaged. Nothing of it is kept, and
    /// the store goes on: what is written from now on meets other pages.
    #[error("a part of the chunk store is damaged where this was to be written; send it again")]
    Rotten {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system failed outside of the database; the store goes on.
    #[error("cannot {operation}")]
    Io {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
    /// An earlier failure left it unknown what is durable.
    #[error("the chunk store failed earlier ({0}); restart to recover")]
    Poisoned(String),
}

impl Error {
    /// What the operating system failed with, where it was that; otherwise what is stored is damaged.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        if self.is_disk_full() {
            return Some(io::ErrorKind::StorageFull);
        }
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let io = match error.downcast_ref() {
                Some(sled::Error::Io(io)) => Some(io),
                _ => error.downcast_ref::<io::Error>(),
            };
            // These say that a file is shorter or other than what was written, or gone.
            let damage =
                [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::NotFound];
            if let Some(io) = io {
                return (!damage.contains(&io.kind())).then_some(io.kind());
            }
            // Where the database panicked there is only the text of the error.
            if error.to_string().contains("Io(Os {") {
                return Some(io::ErrorKind::Other);
            }
            next = error.source();
        }
        None
    }

    /// This failure of a write as [`Error::Rotten`], if the database refused it because it found what it
    /// stored damaged. When it panicked it did not refuse: then nobody knows what it did.
    pub(super) fn into_rotten(self) -> Result<Self, Self> {
        match self {
            Self::Database { operation: _, source }
                if matches!(source.downcast_ref(), Some(sled::Error::Corruption { .. })) =>
            {
                Ok(Self::Rotten { source })
            }
            other => Err(other),
        }
    }

    /// Whether the database found what it stored damaged.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Database { .. }) && self.io_kind().is_none()
    }

    /// Whether it failed for want of disk space.
    pub fn is_disk_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let io = match error.downcast_ref() {
                Some(sled::Error::Io(io)) => Some(io),
                _ => error.downcast_ref(),
            };
            // Where the database panicked there is only the text of the error.
            if io.is_some_and(durable::is_full) || error.to_string().contains("StorageFull") {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl Error {
    /// What a [`Reader`](super::Reader) failed with.
    pub fn of_read(error: io::Error) -> Self {
        let other = |source| Self::Io { operation: "read a chunk", source };
        error.downcast::<Self>().unwrap_or_else(other)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Missing(_) => io::ErrorKind::NotFound,
            Error::Mismatch { .. } | Error::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
