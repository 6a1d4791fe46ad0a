//! What is in a recording, counted.

use std::sync::Arc;

use super::export;
use super::selection::{Hints, Range};
use super::source::{self, Error, Recording as _};
use crate::chunks::Store;
use crate::domain::{Lsn, WorkerId};
use crate::eventlog::LogReader;
use crate::views::RecordingRow;

/// What is in a recording beside its records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    /// Of its jobs, in the order of their first.
    pub workers: Vec<WorkerId>,
    /// Chunks that its jobs and their workers refer to, each counted once.
    pub chunks: u64,
    /// Bytes of those that are held.
    pub bytes: u64,
}

/// Reads a recording to count what is in it: of one that can still change, what is in it by now.
pub fn of(
    log: &Arc<dyn LogReader>,
    store: &Store,
    row: &RecordingRow,
    hints: &dyn Hints,
    durable: Lsn,
) -> Result<Contents, Error> {
    if row.imported {
        let archive = source::imported(&**log, row.recording)?;
        let recording = source::Imported::open(store.clone(), &archive.skeleton)?;
        let workers = recording.recorded()?.workers().to_vec();
        return Ok(Contents { workers, chunks: archive.chunks, bytes: archive.bytes });
    }
    let (size, workers) = export::measure(&**log, store, Range::of(row, durable), hints)?;
    Ok(Contents { workers, chunks: size.chunks, bytes: size.bytes })
}
