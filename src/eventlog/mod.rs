//! Durable, ordered, append-only: the log.

use std::sync::Arc;

use crate::domain::{Lsn, Record};

/// The only way records become facts.
pub trait EventLog: Send {
    /// Appends `records`, whose LSNs follow the last one without a gap.
    ///
    /// When this returns `Ok`, the records survive a power failure, and either all or none of them
    /// exist. After an `Err` it is unknown whether they do, and the log is poisoned: every later
    /// call fails until the process restarts.
    fn append(&mut self, records: &[Record]) -> Result<(), Error>;

    /// A view of the log for readers, which may outlive and overtake the writer: it can show
    /// records whose append has not returned yet, so readers bound what they ask for by an LSN
    /// that is known to be durable.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Makes the high-water mark durable. Called every second, and at a clean stop.
    fn sync_mark(&mut self) -> Result<(), Error>;
}

/// Reads records by position.
pub trait LogReader: Send + Sync {
    /// The record at `lsn`, if there is one.
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error>;

    /// Records `from..=to` in order. Stops at the end of the log.
    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_>;

    /// The oldest record kept, or the next LSN to come when the log is empty.
    fn first(&self) -> Lsn;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the log is poisoned by an earlier failure; restart to recover")]
    Poisoned,
}
