//! Durable, ordered, append-only: the log.

pub mod codec;
mod datadir;
mod error;
mod fold;
mod format;
mod frame;
mod hwm;
pub mod memory;
mod migrate;
mod sled;

use std::sync::Arc;

use bytes::Bytes;

use self::codec::Chain;
use crate::domain::{Lsn, Record};

pub use self::datadir::{BALLAST_BYTES, DataDir};
pub use self::error::{Damage, Error, Kind, Source};
pub use self::fold::Fold;
pub use self::frame::FrameError;
pub use self::hwm::Mark;
pub use self::memory::MemoryLog;
pub use self::sled::{Inspected, OpenOptions, SledLog};

/// The only way records become facts.
pub trait EventLog: Send {
    /// Appends `records`, whose LSNs follow the last one without a gap.
    ///
    /// When this returns `Ok`, the records survive a power failure, and either all or none of them
    /// exist. After an `Err` of kind [`Kind::Refused`] nothing was written and nothing has changed.
    /// After any other `Err` it is unknown whether they exist, and the log is poisoned: every later
    /// call fails until the process restarts.
    fn append(&mut self, records: &[Record]) -> Result<(), Error>;

    /// A view of the log for readers, which may outlive and overtake the writer: it can show
    /// records whose append has not returned yet, so readers bound what they ask for by an LSN
    /// that is known to be durable.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Makes the high-water mark durable. Called every second, and at a clean stop.
    fn sync_mark(&mut self) -> Result<(), Error>;
}

/// A record as it is stored, with its position.
pub type Value = Result<(Lsn, Bytes), Error>;

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

    /// The same as they are stored, for who passes them on or reads only some: [`codec::decode`]
    /// makes a record of a value.
    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_>;

    /// The chain hash of the record at `lsn`, if there is one.
    fn chain(&self, lsn: Lsn) -> Result<Option<Chain>, Error> {
        let value = self.scan_values(lsn, lsn).next().transpose()?;
        Ok(value.filter(|(found, _)| *found == lsn).map(|(_, value)| Chain::of(lsn, &value)))
    }

    /// The oldest record kept, or the next LSN to come when the log is empty.
    fn first(&self) -> Lsn;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}
