//! The archive of a recording: one file that holds its records and every chunk they refer to.
//!
//! `docs/format.md` describes it byte by byte. It is written and read as a stream ([`Encoder`],
//! [`Reader`]). What is read comes from strangers: a reader never panics, allocates by what it has
//! read and not by what is claimed, and names the byte where it stopped.
//!
//! There is one file for a recording: whatever could be laid out in two ways is refused in all but
//! one, so that an archive that was read and written again is the same bytes.

mod access;
mod blocks;
mod encoder;
mod error;
mod index;
mod reader;
#[cfg(test)]
mod tests;
mod verify;

use serde::{Deserialize, Serialize};

use crate::domain::Lsn;
use crate::domain::recording::RECORDING_NAME_BYTES_MAX;

pub use self::access::{Archive, Content, ReadAt};
pub use self::encoder::Encoder;
pub use self::error::{Error, Reason};
pub use self::index::Entry;
pub use self::reader::{Item, Reader};
pub use self::verify::{RESULTS_LEN_MAX, Summary, WORKERS_LEN_MAX, verify};

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"LRUNREC1";

/// The version of the format in the head of what is written here, and the only one that is read.
pub const VERSION: u32 = 1;

/// Most records, those of the log and the context together.
pub const RECORDS_LEN_MAX: u64 = 10_000_000;

/// Most chunks.
pub const CHUNKS_LEN_MAX: u64 = 2_000_000;

/// Length of a chunk that was missing when the archive was written.
const MISSING: u64 = u64::MAX;

/// Bytes of a block before its payload: kind, three zeros, length, checksum.
const BLOCK_HEADER_BYTES: usize = 12;

/// Bytes of an entry of the chunk table: hash and length.
const TABLE_ENTRY_BYTES: usize = 28;

/// What a block holds. In the file they stand in this order, and none is left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Head = 1,
    Log = 2,
    Context = 3,
    Table = 4,
    Data = 5,
    End = 6,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::Log,
            3 => Self::Context,
            4 => Self::Table,
            5 => Self::Data,
            6 => Self::End,
            _ => return None,
        })
    }

    const fn next(self) -> Self {
        match self {
            Self::Head => Self::Log,
            Self::Log => Self::Context,
            Self::Context => Self::Table,
            Self::Table => Self::Data,
            Self::Data | Self::End => Self::End,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Log => "log",
            Self::Context => "context",
            Self::Table => "chunk table",
            Self::Data => "chunk data",
            Self::End => "end",
        }
    }

    /// Longest payload of a block, in bytes. Blocks of records are short, because one is read to
    /// get at any of them.
    const fn payload_bytes_max(self) -> usize {
        match self {
            Self::Head => 1_024,
            Self::Log | Self::Context => 65_536,
            Self::Table | Self::Data => 1_048_576,
            Self::End => 32,
        }
    }
}

/// What the archive is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the recording is called, at most [`RECORDING_NAME_BYTES_MAX`].
    pub name: Option<String>,
    /// Its first record, in the log it comes from.
    pub start: Lsn,
    /// Its last record.
    pub stop: Lsn,
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
struct HeadBody {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    start: Lsn,
    stop: Lsn,
}

impl Head {
    /// How many records the log section has.
    fn records_len(&self) -> u64 {
        self.stop.0.saturating_sub(self.start.0).saturating_add(1)
    }

    /// What can't be in a head, if anything is.
    fn problem(&self) -> Option<Reason> {
        if self.name.as_ref().is_some_and(|name| name.len() > RECORDING_NAME_BYTES_MAX) {
            return Some(Reason::Name);
        }
        if self.start == Lsn::ZERO || self.stop <= self.start || self.stop.0 == u64::MAX {
            return Some(Reason::Range { start: self.start, stop: self.stop });
        }
        (self.records_len() > RECORDS_LEN_MAX).then_some(Reason::TooManyRecords)
    }

    fn to_payload(&self) -> Result<Vec<u8>, Error> {
        if let Some(reason) = self.problem() {
            return Err(Error::Refused { offset: MAGIC.len() as u64, reason });
        }
        let Self { name, start, stop } = self.clone();
        let mut payload = Vec::new();
        rmp_serde::encode::write_named(
            &mut payload,
            &HeadBody { version: VERSION, name, start, stop },
        )
        .map_err(|source| Error::Write { offset: 0, source: std::io::Error::other(source) })?;
        Ok(payload)
    }

    fn from_payload(payload: &[u8]) -> Result<Self, Reason> {
        /// All that every version has.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: rmp_serde::decode::Error| Reason::Head(error.to_string());
        let Version { version } = decode(payload).map_err(malformed)?;
        if version != VERSION {
            return Err(Reason::Version(version));
        }
        let HeadBody { name, start, stop, .. } = decode(payload).map_err(malformed)?;
        let head = Self { name, start, stop };
        if let Some(reason) = head.problem() {
            return Err(reason);
        }
        match head.to_payload() {
            Ok(same) if same == payload => Ok(head),
            _ => Err(Reason::Head("it is not written in the one way there is".to_owned())),
        }
    }
}

fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    /// A head is a flat map; what else a stranger puts in is not followed deeper.
    const DEPTH_MAX: usize = 16;
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}
