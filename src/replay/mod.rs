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

use crate::domain::{Event, Lsn};
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

/// Opens a complete recording.
pub fn open(
    handle: &Handle,
    store: &chunks::Store,
    recording: &RecordingRow,
) -> Result<Box<dyn source::Recording>, Error> {
    let lost = || Error::Unknown(recording.recording);
    let log = handle.log().ok_or(engine::Error::Starting)?;
    if recording.imported {
        let record = log.get(recording.recording)?.ok_or_else(lost)?;
        let Event::RecordingImported { archive, .. } = record.event else { return Err(lost()) };
        return Ok(Box::new(source::Imported::open(store.clone(), &archive.skeleton)?));
    }
    let (stop, settled) = recording.stop.zip(recording.settled).ok_or_else(lost)?;
    let range = selection::Range { start: recording.start, stop, settled };
    Ok(Box::new(source::Live::open(log.clone(), store.clone(), range, handle)?))
}
