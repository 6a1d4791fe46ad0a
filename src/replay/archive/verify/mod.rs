//! Whether an archive is all that it says, before anything of it is used.

mod content;
mod records;

use std::io::{BufReader, Read};

use self::content::Content;
use self::records::Records;
use super::{Error, Head, Item, Reader, Reason};
use crate::domain::{Lsn, WorkerId};

/// Most workers whose registrations are in an archive.
pub const WORKERS_LEN_MAX: usize = 100_000;

/// Most executions from before the recording whose results its jobs got.
pub const RESULTS_LEN_MAX: usize = 2_000_000;

/// Bytes between two calls of the callback.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What a verified archive holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    pub head: Head,
    pub jobs: u64,
    /// Chunks that the records refer to.
    pub chunks: u64,
    /// How many of these were missing when the archive was written.
    pub missing: u64,
    /// Bytes of those that are in it.
    pub bytes: u64,
    /// Workers with the record of their last registration, which has the descriptor. Some of a
    /// worker's chunks may be missing.
    pub workers: Vec<(WorkerId, Lsn)>,
    /// How many bytes of the file are its skeleton.
    pub skeleton_bytes: u64,
    /// The length of the file.
    pub file_bytes: u64,
}

/// Reads an archive from its beginning to its end and checks everything there is to check: the
/// layout (see [`Reader`]), that every record is one, that jobs have their workers and results, that
/// the chunk table is exactly what the records and objects refer to, and every chunk's hash.
///
/// Memory is below 100 MB whatever the archive says. `progress` is told from time to time how many
/// bytes were read.
pub fn verify(input: impl Read, progress: &mut dyn FnMut(u64)) -> Result<Summary, Error> {
    let mut reader = Reader::open(BufReader::with_capacity(1 << 16, input))?;
    let head = reader.head().clone();
    let mut stage = Stage::Records(Records::new(&head));
    let mut told = 0;
    while let Some((offset, item)) = reader.next_entry()? {
        let refused = |reason| Error::Refused { offset, reason };
        stage = match (stage, item) {
            (Stage::Records(mut records), Item::Log { lsn, value }) => {
                records.log(lsn, value).map_err(refused)?;
                Stage::Records(records)
            }
            (Stage::Records(mut records), Item::Context { lsn, value }) => {
                records.context(lsn, value).map_err(refused)?;
                Stage::Records(records)
            }
            (stage, Item::Chunk { chunk, bytes }) => {
                let (known, mut content) = stage.content(offset)?;
                content.list(offset, chunk, bytes).map_err(refused)?;
                Stage::Content(known, content)
            }
            (stage, Item::Data(bytes)) => {
                let (known, mut content) = stage.content(offset)?;
                content.data(offset, bytes)?;
                Stage::Content(known, content)
            }
            // The reader keeps the order of sections.
            (Stage::Content(..), Item::Log { .. } | Item::Context { .. }) => {
                return Err(refused(Reason::Order { found: "record", after: "chunk" }));
            }
        };
        if offset >= told + PROGRESS_BYTES {
            told = offset;
            progress(offset);
        }
    }
    let file_bytes = reader.offset();
    let skeleton_bytes = reader.skeleton_bytes().unwrap_or(file_bytes);
    let (Known { jobs, workers }, content) = stage.content(skeleton_bytes)?;
    let (chunks, missing, bytes) = content.finish(skeleton_bytes)?;
    progress(file_bytes);
    Ok(Summary { head, jobs, chunks, missing, bytes, workers, skeleton_bytes, file_bytes })
}

/// What the records told.
#[derive(Debug)]
struct Known {
    jobs: u64,
    workers: Vec<(WorkerId, Lsn)>,
}

enum Stage {
    Records(Records),
    Content(Known, Content),
}

impl Stage {
    /// The records are over, at the latest now.
    fn content(self, offset: u64) -> Result<(Known, Content), Error> {
        match self {
            Self::Content(known, content) => Ok((known, content)),
            Self::Records(records) => {
                records.finish().map_err(|reason| Error::Refused { offset, reason })
            }
        }
    }
}
