//! Durable, ordered, append-only: the log.

pub mod codec;
pub mod compact;
mod datadir;
mod error;
mod fold;
mod format;
mod frame;
pub mod head;
mod hwm;
mod journal;
pub mod memory;
mod migrate;
mod packed;
mod sled;

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;

use self::codec::Chain;
use self::compact::Base;
use crate::domain::{Lsn, Record};

pub use self::datadir::{BALLAST_BYTES, DataDir};
pub use self::error::{Damage, Error, Kind, Source};
pub use self::fold::Fold;
pub use self::frame::FrameError;
pub use self::hwm::Mark;
pub use self::memory::MemoryLog;
pub use self::sled::{Adopted, Inspected, OpenOptions, Replaced, Rewrite, SledLog};

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

    /// Takes `next` for the log, with the records that it does not have yet, and makes that durable.
    ///
    /// After [`Adopted::Not`] all is as before. After an `Err` the log is poisoned: a restart takes
    /// one or the other, which hold the same.
    fn adopt(&mut self, next: Rewrite) -> Result<Adopted, Error> {
        drop(next);
        Ok(Adopted::Not(Error::NotRewritable))
    }

    /// The data directory it is in, if that is where it can be rewritten.
    fn dir(&self) -> Option<Arc<DataDir>> {
        None
    }

    /// Makes the high-water mark durable. Called every second, and at a clean stop.
    fn sync_mark(&mut self) -> Result<(), Error>;
}

/// The records `from..=to` that can be read, those included that are kept from before the first.
///
/// For one look at one log: a reader that isn't [`LogReader::pinned`] may be of another in between.
pub fn readable(
    log: &dyn LogReader,
    from: Lsn,
    to: Lsn,
) -> impl Iterator<Item = Result<Record, Error>> + Send + '_ {
    let kept = (from < log.first()).then(|| log.kept()).into_iter().flatten();
    let within =
        move |value: &Value| value.as_ref().map_or(true, |(lsn, _)| (from..=to).contains(lsn));
    let kept = kept.filter(within).map(|value| {
        let (lsn, value) = value?;
        let record = codec::decode(lsn, &value);
        record.map(|(record, _)| record).map_err(|source| Error::Unreadable { lsn, source })
    });
    kept.chain(log.scan(from, to))
}

/// A record as it is stored, with its position.
pub type Value = Result<(Lsn, Bytes), Error>;

/// Reads records by position.
pub trait LogReader: Send + Sync {
    /// The record at `lsn`, if there is one, or was one that is kept ([`LogReader::kept`]).
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error>;

    /// The same as it is stored.
    fn value(&self, lsn: Lsn) -> Result<Option<Bytes>, Error> {
        Ok(self.scan_values(lsn, lsn).next().transpose()?.map(|(_, value)| value))
    }

    /// Records `from..=to` in order. Begins no earlier than with the first, stops at the end of the
    /// log.
    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_>;

    /// The same as they are stored, for who passes them on or reads only some: [`codec::decode`]
    /// makes a record of a value.
    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_>;

    /// The chain hash of the record at `lsn`, if there is one, or if the base state ends with it.
    fn chain(&self, lsn: Lsn) -> Result<Option<Chain>, Error> {
        if let Some(base) = self.base().filter(|base| base.lsn == lsn) {
            return Ok(Some(base.chain));
        }
        let value = self.scan_values(lsn, lsn).next().transpose()?;
        Ok(value.filter(|(found, _)| *found == lsn).map(|(_, value)| Chain::of(lsn, &value)))
    }

    /// The oldest record that was not folded into a base state, or the next LSN to come when there is
    /// none.
    fn first(&self) -> Lsn;

    /// Those from before the first that stay readable, in order.
    fn kept(&self) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(std::iter::empty())
    }

    /// What the records before the first were folded into; none when that is LSN 1.
    fn base(&self) -> Option<Base> {
        None
    }

    /// The state itself, as who wrote it encoded it.
    fn base_body(&self) -> Box<dyn Read + Send + '_> {
        Box::new(std::io::empty())
    }

    /// Reads the base state and what is kept from before it, and fails unless both are as they were
    /// written.
    fn check_base(&self) -> Result<(), Error> {
        Ok(())
    }

    /// A reader of what is the log now, whatever becomes of it. The space of records that are folded
    /// meanwhile comes back when it is dropped.
    fn pinned(&self) -> Arc<dyn LogReader>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}
