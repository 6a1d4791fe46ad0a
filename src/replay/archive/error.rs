//! Why an archive can't be read or written.

use std::io;

use super::{CHUNKS_LEN_MAX, RECORDS_LEN_MAX, VERSION};
use crate::domain::recording::RECORDING_NAME_BYTES_MAX;
use crate::domain::{ChunkId, Lsn, WorkerId};
use crate::eventlog::codec::DecodeError;

/// Why an archive can't be read or written, with the byte of the file where it is so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no archive that this program takes.
    #[error("byte {offset} of the archive: {reason}")]
    Refused { offset: u64, reason: Reason },
    /// Its bytes could not be had.
    #[error("cannot read the archive at byte {offset}")]
    Read { offset: u64, source: io::Error },
    /// Whoever takes its bytes failed.
    #[error("cannot write the archive at byte {offset}")]
    Write { offset: u64, source: io::Error },
}

/// What is wrong with the bytes of an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    #[error("it breaks off")]
    Truncated,
    #[error("this is no archive of a recording")]
    Magic,
    #[error("a block has the unknown kind {0}")]
    Kind(u8),
    #[error("a block of kind {found} follows one of kind {after}")]
    Order { found: &'static str, after: &'static str },
    #[error("the bytes after a block's kind are not zero")]
    Padding,
    #[error("a {kind} block claims {found} bytes, at most {max} are taken")]
    BlockLength { kind: &'static str, found: u32, max: usize },
    #[error("a {0} block's checksum does not fit")]
    Checksum(&'static str),
    #[error("a {0} block is empty")]
    Empty(&'static str),
    #[error("a {0} block ends early: its successor's first entry had room in it")]
    NotFull(&'static str),
    #[error("an entry of a {0} block breaks off")]
    Entry(&'static str),

    #[error("the head is malformed: {0}")]
    Head(String),
    #[error("format version {0} is unknown, this program reads {VERSION}")]
    Version(u32),
    #[error("a recording's name has at most {RECORDING_NAME_BYTES_MAX} bytes")]
    Name,
    #[error("there is no range of records from {start} to {stop}")]
    Range { start: Lsn, stop: Lsn },
    #[error("more than {RECORDS_LEN_MAX} records")]
    TooManyRecords,
    #[error("more than {CHUNKS_LEN_MAX} chunks")]
    TooManyChunks,

    #[error("record {found} stands where {expected} belongs")]
    Position { expected: Lsn, found: Lsn },
    #[error("the log section has more records than up to {0}")]
    TooLate(Lsn),
    #[error("the log section ends before record {0}")]
    TooEarly(Lsn),
    #[error("record {lsn} claims {bytes} bytes, which no record has")]
    RecordLength { lsn: Lsn, bytes: u32 },
    #[error("record {0} does not follow from the one before it")]
    Chain(Lsn),
    #[error("context record {lsn} follows {after}, out of order")]
    ContextOrder { lsn: Lsn, after: Lsn },
    #[error("context record {0} belongs in the log section")]
    ContextRange(Lsn),
    #[error("record {lsn} is not readable: {source}")]
    Record { lsn: Lsn, source: DecodeError },
    #[error("record {lsn} {problem}")]
    Content { lsn: Lsn, problem: String },

    #[error("chunk {chunk} follows {after} in the chunk table, out of order")]
    ChunkOrder { chunk: ChunkId, after: ChunkId },
    #[error("the lengths in the chunk table add up to more than any file has")]
    TotalLength,
    #[error("the chunk data is longer than the chunk table says")]
    TooMuchData,
    #[error("the chunk data is {0} bytes shorter than the chunk table says")]
    TooLittleData(u64),
    #[error("the content of chunk {expected} hashes to {actual}")]
    ChunkHash { expected: ChunkId, actual: ChunkId },
    #[error("chunk {chunk} is not in the chunk table, and {by} refers to it")]
    ChunkUnlisted { chunk: ChunkId, by: String },
    #[error("chunk {0} is in the chunk table, and nothing refers to it")]
    ChunkUnneeded(ChunkId),

    #[error("the bytes of {chunk} register no worker: {problem}")]
    Descriptor { chunk: ChunkId, problem: String },
    #[error("a recorded job is for worker {0}, and no record registers that")]
    Worker(WorkerId),
    #[error("a recorded job got the result of execution {0}, and no record has that")]
    Result(Lsn),

    #[error("the hash at the end does not fit what is before it")]
    FinalHash,
    #[error("bytes follow the end")]
    Trailing,
}
