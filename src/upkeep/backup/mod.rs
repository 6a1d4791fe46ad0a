//! Backups: a folder of plain files that holds a log up to one LSN and every chunk that the service
//! held then. Taken while the service goes on, and added to by the next one.
//!
//! `docs/format.md` has the bytes, `docs/adr/0016-backups.md` the reasons. [`send`] makes a stream of
//! what a folder lacks, [`Folder`] takes it in, [`restore`] makes a data directory of a folder.

mod base;
mod container;
mod folder;
mod manifest;
mod parts;
mod restore;
mod send;
mod taking;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use self::folder::{Folder, Taken};
pub use self::manifest::{Manifest, Part, PartKind};
pub use self::parts::{Verified, verify};
pub use self::restore::{Restored, restore};
pub use self::send::{Request, prefix_of, send};
use crate::{chunks, eventlog};

/// Version of the format, in the manifest and in the stream.
pub const FORMAT: u32 = 2;
/// The one before, which has no base state; what has none still says so, for older programs.
const FORMAT_PLAIN: u32 = 1;

/// Whether this program reads a format.
const fn is_known(format: u64) -> bool {
    FORMAT_PLAIN as u64 <= format && format <= FORMAT as u64
}

/// Why a backup can't be made, read or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// A file of a backup, or the stream of one, is not what was written.
    #[error("{} is damaged at byte {offset}: {what}", .path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    #[error(
        "the backup in {} has format {found}, and this program knows formats up to {FORMAT}; \
         use a newer version of the program", .path.display()
    )]
    TooNew { path: PathBuf, found: u64 },
    /// It is whole, but not what was asked for.
    #[error("{0}")]
    Refused(String),
    #[error("the log failed")]
    Log(#[from] eventlog::Error),
    #[error("the chunk store failed")]
    Chunks(#[from] chunks::Error),
}

impl Error {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub records: u64,
    pub records_total: u64,
    /// Bytes of chunks.
    pub bytes: u64,
    pub bytes_total: u64,
}

/// Hears how far it is; false stops it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress) -> bool;
