//! What can go wrong with the log, sorted by what the operator has to do about it.

use std::path::{Path, PathBuf};

use crate::domain::Lsn;
use crate::domain::record::RECORD_BYTES_MAX;

/// A source of any type, as storage engines have their own.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the log is poisoned by an earlier failure; restart to recover")]
    Poisoned,
    #[error(
        "record {lsn} takes {bytes} bytes, over the limit of {RECORD_BYTES_MAX}; nothing was written"
    )]
    TooLarge { lsn: Lsn, bytes: usize },
    #[error("cannot append record {lsn}: the next one is {expected}; nothing was written")]
    OutOfOrder { lsn: Lsn, expected: Lsn },
    #[error("this log can't be rewritten; nothing was changed")]
    NotRewritable,
    #[error("cannot encode record {lsn}; nothing was written")]
    Encode { lsn: Lsn, source: rmp_serde::encode::Error },

    #[error(
        "data directory {} is in use: already running{}", .path.display(),
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse { path: PathBuf, pid: Option<u32> },

    /// What exactly is in the source.
    #[error("the log in {} is damaged; {}", .path.display(), .damage.remedy())]
    Damaged {
        path: PathBuf,
        #[source]
        damage: Damage,
    },
    #[error(
        "the log in {} has format {found}, and this program knows formats up to {known}; \
         start it with a newer version of the program", .path.display()
    )]
    TooNew { path: PathBuf, found: u32, known: u32 },

    #[error(
        "{} has {part} of format {found}, and this program knows formats up to {known}; nothing was \
         changed, start it with a newer version of the program", .path.display()
    )]
    NewerPart { path: PathBuf, part: String, found: u32, known: u32 },
    /// The views can't make anything of the state that the log begins with.
    #[error(
        "the state that the log begins with can't be used; \
         keep the directory as it is for examination and restore it from a backup"
    )]
    Base { source: Source },
    #[error("record {lsn} is not readable")]
    Unreadable { lsn: Lsn, source: super::codec::DecodeError },

    #[error("cannot {doing} {}", .path.display())]
    Storage { doing: &'static str, path: PathBuf, source: Source },
}

/// What is wrong with a log that can be opened no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Records that were durable once are gone from the end.
    #[error("its last record is {last}, but {mark} records were acknowledged")]
    LostHistory { last: Lsn, mark: Lsn },
    /// The end of the log is not the one that was acknowledged.
    #[error("record {lsn} is not the one that was acknowledged")]
    OtherHistory { lsn: Lsn },
    /// It can't be told whether history is lost.
    #[error("its high-water file is unreadable")]
    Mark,
    #[error("record {expected} is missing, the next one is {found}")]
    Gap { expected: Lsn, found: Lsn },
    #[error("a key of {0} bytes is no LSN")]
    Key(usize),
    #[error("record {0} does not follow from the one before it")]
    Chain(Lsn),
    #[error("record {lsn} is not readable")]
    Record { lsn: Lsn, source: super::codec::DecodeError },
    #[error("record {lsn} is not readable")]
    Frame { lsn: Lsn, source: super::FrameError },
    #[error("record {lsn} contradicts the records before it")]
    Rejected { lsn: Lsn, source: Source },
    #[error("the state that its oldest records were folded into is not what was written")]
    Base { source: super::compact::BaseError },
    #[error("it holds records but no format version")]
    NoSchema,
    /// The storage engine can't make sense of its files. With a panic, its message.
    #[error("the database cannot be opened")]
    Database { source: Source },
}

impl Damage {
    /// What the operator can do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::LostHistory { .. } | Self::OtherHistory { .. } | Self::Mark => {
                "restore the data directory from a backup, or start once with \
                 --accept-lost-history to go on with what is left"
            }
            _ => "keep the directory as it is for examination and restore it from a backup",
        }
    }
}

/// Who has to act on an [`Error`]; the command line makes exit codes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The caller: the request can't be stored as it is. The log is as before.
    Refused,
    /// Another process has the data directory.
    InUse,
    /// The data is not what it should be, or too new for this program.
    Damaged,
    /// The disk or the operating system failed; it may be full.
    Storage,
}

impl Error {
    /// Who has to act.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. }
            | Self::OutOfOrder { .. }
            | Self::NotRewritable
            | Self::Encode { .. } => Kind::Refused,
            Self::InUse { .. } => Kind::InUse,
            Self::Damaged { .. }
            | Self::TooNew { .. }
            | Self::NewerPart { .. }
            | Self::Base { .. }
            | Self::Unreadable { .. } => Kind::Damaged,
            Self::Poisoned | Self::Storage { .. } => Kind::Storage,
        }
    }

    /// What the operating system failed with, where it was that.
    pub fn io_kind(&self) -> Option<std::io::ErrorKind> {
        let Self::Storage { source, .. } = self else { return None };
        match source.downcast_ref() {
            Some(::sled::Error::Io(io)) => Some(io.kind()),
            _ => source.downcast_ref::<std::io::Error>().map(std::io::Error::kind),
        }
    }

    /// A failed operation of the disk; `doing` is the verb, as in "cannot open".
    pub(super) fn storage(doing: &'static str, path: &Path, source: impl Into<Source>) -> Self {
        Self::Storage { doing, path: path.to_owned(), source: source.into() }
    }

    pub(super) fn damaged(path: &Path, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), damage }
    }
}
