//! Looking back: recordings that are kept, carried elsewhere and run again.

pub mod archive;
pub mod compare;
pub mod contents;
pub mod driver;
pub mod export;
mod flagged;
mod follow;
pub mod import;
mod judge;
pub mod plan;
pub mod recorded;
mod references;
pub mod script;
pub mod selection;
pub mod source;
pub mod verify;

use self::recorded::Recorded;
use self::selection::Range;
use self::source::Recording;
use crate::domain::Lsn;
use crate::engine::Handle;
use crate::views::RecordingRow;
use crate::{chunks, engine, eventlog};

/// Why a replay can't begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the writer did not take it")]
    Engine(#[from] engine::Error),
    #[error("cannot read the log")]
    Log(#[from] eventlog::Error),
    #[error("cannot read from the chunk store")]
    Chunks(#[from] chunks::Error),
    #[error("cannot read the recording")]
    Recording(#[from] source::Error),
    #[error("cannot read what was asked for")]
    Plan(#[source] serde_json::Error),
    /// The log does not say what the views do.
    #[error("the records of {0} are lost")]
    Unknown(Lsn),
    #[error("recorded job {0} is not in the recording")]
    NoJob(Lsn),
    #[error("{total} jobs are too many for one replay, at most {limit} are taken")]
    TooMany { total: u64, limit: u64 },
    #[error("work on a replay panicked")]
    Panicked,
}

/// Opens a complete recording; with what its records say of its jobs.
pub fn open(
    handle: &Handle,
    store: &chunks::Store,
    recording: &RecordingRow,
) -> Result<(Box<dyn Recording>, Recorded), Error> {
    let log = handle.log().ok_or(engine::Error::Starting)?;
    if recording.imported {
        let archive = source::imported(&**log, recording.recording)?;
        let imported = source::Imported::open(store.clone(), &archive.skeleton)?;
        let recorded = imported.recorded()?;
        return Ok((Box::new(imported), recorded));
    }
    let settled = recording.settled.ok_or(Error::Unknown(recording.recording))?;
    let range = Range::of(recording, settled);
    let (live, recorded) = source::Live::open(log.clone(), store.clone(), range, handle)?;
    Ok((Box::new(live), recorded))
}
