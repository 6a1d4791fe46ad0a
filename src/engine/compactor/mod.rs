//! Folds the oldest records of the log into a state, so that the log doesn't grow for ever.
//!
//! It writes the log anew beside the one in use, at a polite pace and while the writer goes on; only
//! for the last few records the committer waits. `docs/adr/0015-compaction.md` says why so.

mod run;
mod scope;
mod thread;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use super::handle::Handle;
use super::past;
use crate::domain::Lsn;
use crate::eventlog::{self, Adopted, Rewrite};

pub(super) use self::thread::Compactor;

/// Which records stay, and what room the disk must have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compacting {
    /// How long a record stays. None: for ever, unless there are too many.
    pub keep: Option<Duration>,
    /// How many of the newest records stay. None: all, unless they are too old.
    pub keep_records: Option<u64>,
    /// Least free space of the disk, in bytes. None: what suits its size.
    pub min_free_bytes: Option<u64>,
}

/// What somebody asks to be folded.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompactOrder {
    /// Records before this one. None: what the service's settings say or, where they say nothing,
    /// as many as can be.
    pub before: Option<Lsn>,
    /// Records older than this.
    pub keep: Option<Duration>,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompactPhase {
    /// The state is made and written.
    State,
    /// Old records are read for those that stay readable.
    Kept,
    /// Newer records are copied.
    Copy,
    /// What was written is read again.
    Check,
}

/// How far it is, in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct CompactProgress {
    pub phase: CompactPhase,
    pub done: u64,
    pub total: u64,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CompactReport {
    /// Whether the log is another now. Otherwise nothing was to be folded.
    pub compacted: bool,
    /// The oldest record before and after.
    pub first_lsn_before: Lsn,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    /// Records that are gone.
    pub records_removed: u64,
    /// Records from before `first_lsn` that stay readable.
    pub records_kept: u64,
    /// Bytes of the state that the log begins with.
    pub base_bytes: u64,
    /// Bytes of the log on disk before and after.
    pub disk_bytes_before: u64,
    pub disk_bytes_after: u64,
    /// False while somebody reads the log from before: its space comes back then.
    pub space_returned: bool,
    /// Why no more was folded, if something held it: `recording`, `replay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Holder>,
}

/// Something that needs the records from its beginning on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    Recording(Lsn),
    Replay(Lsn),
}

/// Why the log was not compacted. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    #[error(
        "the disk has {free_bytes} bytes free; compacting needs about {needed_bytes} beyond the \
         {min_free_bytes} that are to stay free"
    )]
    NoRoom { free_bytes: u64, needed_bytes: u64, min_free_bytes: u64 },
    #[error("the service takes no commands")]
    NotReady,
    #[error("the service stops")]
    Stopping,
    #[error(transparent)]
    Log(#[from] eventlog::Error),
    #[error("cannot make the state to begin with")]
    State(#[from] past::Error),
    #[error("cannot write the state to begin with")]
    Write(#[source] std::io::Error),
}

/// Hears how far it is.
pub type CompactListener<'a> = &'a mut dyn FnMut(CompactProgress);

/// One compaction at a time, and what it needs of the engine's parts.
pub(super) struct Turn {
    pub(super) compacting: Compacting,
    pub(super) dir: Arc<eventlog::DataDir>,
    one: Mutex<()>,
}

impl Turn {
    pub(super) fn new(compacting: Compacting, dir: Arc<eventlog::DataDir>) -> Self {
        Self { compacting, dir, one: Mutex::default() }
    }
}

/// What the committer is asked to take for the log.
pub(super) struct Adoption {
    pub(super) next: Rewrite,
    pub(super) reply: oneshot::Sender<Adopted>,
}

impl Handle {
    /// Folds the oldest records of the log, as many as `order` and what still needs them allow.
    /// Waits for its turn. Blocks, for as long as it takes to write the rest anew.
    pub fn compact_blocking(
        &self,
        order: CompactOrder,
        listener: CompactListener<'_>,
    ) -> Result<CompactReport, CompactError> {
        let turn = self.shared.compaction.get().ok_or(CompactError::NotReady)?;
        let _turn = turn.one.lock().unwrap_or_else(PoisonError::into_inner);
        let report = run::compact(self, turn, order, listener)?;
        if report.compacted {
            tracing::info!(
                first_lsn = %report.first_lsn,
                removed = report.records_removed,
                kept = report.records_kept,
                disk_bytes_before = report.disk_bytes_before,
                disk_bytes_after = report.disk_bytes_after,
                "folded the oldest records of the log"
            );
        }
        Ok(report)
    }
}
