//! The log in a sled database of its own.

mod adopt;
mod guard;
mod inspect;
mod open;
mod reader;
mod resume;
mod rewrite;
mod verify;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use self::reader::{Generation, SledReader};
use super::codec::{Chain, Encoder};
use super::fold::{Each, Fold};
use super::frame::{Entry, FrameError, Packer, Records};
use super::hwm::{HighWater, Mark};
use super::journal::Journal;
use super::{DataDir, Error, EventLog, LogReader, Source};
use crate::domain::{Lsn, Record};
use crate::durable::{self, Barrier};

pub use self::adopt::{Adopted, Replaced};
pub use self::inspect::Inspected;
pub use self::open::OpenOptions;
pub use self::rewrite::Rewrite;

/// The log on disk. One per data directory, which it holds on to.
pub struct SledLog {
    dir: Arc<DataDir>,
    reader: Arc<SledReader>,
    barrier: Barrier,
    journal: Journal,
    mark: HighWater,
    encoder: Encoder,
    packer: Packer,
    last: Mark,
    poisoned: bool,
    /// Calls of `sync_mark` until it looks for room for the ballast again.
    ballast_in: u32,
}

/// How many calls of `sync_mark`, which come every second, are between two looks for free space.
const BALLAST_EVERY: u32 = 60;

impl SledLog {
    /// Opens the log in `dir`, creating it when there is none, and checks every record: positions,
    /// chain, encoding, and that the end is not before what was acknowledged. Each record is handed
    /// to `each` in order; an error of `each` ends the opening as [`super::Damage::Rejected`].
    ///
    /// Of a log whose oldest records were folded, the state that they came to is checked and passed
    /// over.
    pub fn open<E: Into<super::error::Source>>(
        dir: &Arc<DataDir>,
        options: OpenOptions,
        each: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<Self, Error> {
        Self::open_with(dir, options, &mut Each(each))
    }

    /// The same for what knows the beginning already: only the records after the one it names are
    /// read and checked. The end is checked as strictly.
    pub fn open_with(
        dir: &Arc<DataDir>,
        options: OpenOptions,
        fold: &mut impl Fold,
    ) -> Result<Self, Error> {
        let (database, journal) = open::database(dir)?;
        let path = dir.log();
        // Also makes durable what a killed process wrote and we are about to show.
        let barrier =
            Barrier::of(&path).map_err(|error| Error::storage("make durable", &path, error))?;
        let stored = open::stored_mark(dir, options)?;
        let known = stored.as_ref().map(|(_, mark)| *mark).filter(|_| !options.accept_lost_history);
        let generation = Arc::new(Generation::new(dir, database));
        let start = guard::catching(|| fold.begin(&generation)).map_err(|panic| {
            Error::damaged(&path, super::Damage::Database { source: panic.into() })
        })??;
        let last = verify::verify(&path, &generation, start, known, fold)?;
        let mark = verify::settle_mark(dir, options, stored, last)?;
        open::finish(dir);
        dir.keep_ballast();
        Ok(Self {
            dir: Arc::clone(dir),
            reader: Arc::new(SledReader::new(generation)),
            barrier,
            journal,
            mark,
            encoder: Encoder::default(),
            packer: Packer::default(),
            last,
            poisoned: false,
            ballast_in: BALLAST_EVERY,
        })
    }

    /// The last record, [`Lsn::ZERO`] when there is none.
    pub const fn last(&self) -> Lsn {
        self.last.lsn
    }

    /// Whether the file system writes through, so that a power cut can't leave the database
    /// unopenable (see [`crate::durable`]).
    pub const fn is_write_through(&self) -> bool {
        self.barrier.is_write_through()
    }

    /// Encodes all of `records` before anything is written.
    fn encode(&mut self, records: &[Record]) -> Result<(Vec<Entry>, Mark), Error> {
        let mut entries = Vec::new();
        let mut last = self.last;
        // An append that was refused half-way may have left some.
        self.packer.clear();
        for record in records {
            let expected = last.lsn.next();
            if record.lsn != expected {
                return Err(Error::OutOfOrder { lsn: record.lsn, expected });
            }
            let (value, chain) = self.encoder.encode(record, last.chain)?;
            entries.extend(self.packer.push(record.lsn, value));
            last = Mark { lsn: record.lsn, chain };
        }
        entries.extend(self.packer.take());
        Ok((entries, last))
    }

    /// Appends records as they were stored when they were written, to a log that was restored so far.
    /// All or none of them are written.
    pub fn append_values(&mut self, values: &[(Lsn, Bytes)]) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if values.is_empty() {
            return Ok(());
        }
        let path = self.dir.log();
        let mut entries = Vec::new();
        let mut last = self.last;
        self.packer.clear();
        for (lsn, value) in values {
            let (lsn, expected) = (*lsn, last.lsn.next());
            if lsn != expected {
                return Err(Error::OutOfOrder { lsn, expected });
            }
            let (_, after) = decoded(&path, lsn, value)?;
            if after != last.chain {
                return Err(Error::damaged(&path, super::Damage::Chain(lsn)));
            }
            entries.extend(self.packer.push(lsn, value));
            last = Mark { lsn, chain: Chain::of(lsn, value) };
        }
        entries.extend(self.packer.take());
        self.write(entries, last)
    }

    fn write(&mut self, entries: Vec<Entry>, last: Mark) -> Result<(), Error> {
        // Set before writing, so that a panic of sled poisons too.
        self.poisoned = true;
        self.commit(entries, last)?;
        self.last = last;
        self.poisoned = false;
        Ok(())
    }

    /// Makes entries durable in the journal, then has the database take them.
    fn commit(&mut self, entries: Vec<Entry>, last: Mark) -> Result<(), Error> {
        let mut journaled = self.journal(&entries)?;
        if !journaled {
            self.settle()?;
            journaled = self.journal(&entries)?;
        }
        insert(self.reader.current().events(), entries)
            .map_err(|error| Error::storage("append to", &self.dir.log(), error))?;
        if !journaled {
            // It is larger than the journal.
            self.settle()?;
        }
        self.mark
            .write(last)
            .map_err(|error| Error::storage("write the high-water file", &self.dir.hwm(), error))
    }

    /// False when the journal has no room for them.
    fn journal(&mut self, entries: &[Entry]) -> Result<bool, Error> {
        self.journal
            .append(entries)
            .map_err(|error| Error::storage("append to", &self.dir.journal(), error))
    }

    /// Makes durable what the database has taken, after which the journal may begin anew.
    fn settle(&mut self) -> Result<(), Error> {
        let flushed = durable::flush(self.reader.current().db()).map_err(Source::from);
        // sled's flush alone may leave data in the drive's cache and the file's size in memory.
        flushed
            .and_then(|_| Ok(self.barrier.wait()?))
            .map_err(|error| Error::storage("write", &self.dir.log(), error))?;
        self.journal.restart();
        Ok(())
    }
}

impl Drop for SledLog {
    /// After a clean stop the database is all there is to the log.
    fn drop(&mut self) {
        if !self.poisoned
            && let Err(error) = self.journal.clear()
        {
            tracing::warn!(%error, "cannot clear the journal");
        }
    }
}

impl EventLog for SledLog {
    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if records.is_empty() {
            return Ok(());
        }
        let (entries, last) = self.encode(records)?;
        self.write(entries, last)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.reader) as Arc<dyn LogReader>
    }

    fn dir(&self) -> Option<Arc<DataDir>> {
        Some(Arc::clone(&self.dir))
    }

    fn adopt(&mut self, next: Rewrite) -> Result<Adopted, Error> {
        self.take_over(next)
    }

    fn sync_mark(&mut self) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.ballast_in -= 1;
        if self.ballast_in == 0 {
            self.ballast_in = BALLAST_EVERY;
            self.dir.keep_ballast();
        }
        // Till both have worked.
        self.poisoned = true;
        self.settle()?;
        self.mark
            .sync()
            .map_err(|error| Error::storage("sync the high-water file", &self.dir.hwm(), error))?;
        self.poisoned = false;
        Ok(())
    }
}

/// Gives the database entries, all of them or none. They are durable when it is flushed.
fn insert(events: &::sled::Tree, entries: Vec<Entry>) -> ::sled::Result<()> {
    match <[Entry; 1]>::try_from(entries) {
        // A batch has a frame of its own.
        Ok([(first, entry)]) => events.insert(first.to_key(), entry).map(drop),
        Err(entries) => {
            let mut batch = ::sled::Batch::default();
            for (first, entry) in entries {
                batch.insert(&first.to_key(), entry);
            }
            events.apply_batch(batch)
        }
    }
}

/// The records of an entry of the log's tree; an error names the log.
fn records(path: &Path, key: &[u8], entry: &[u8]) -> Result<Records, Error> {
    let first = key.try_into().map(|key| Lsn(u64::from_be_bytes(key)));
    let first = first.map_err(|_| Error::damaged(path, super::Damage::Key(key.len())))?;
    Ok(Records::of(first, Bytes::copy_from_slice(entry)))
}

/// One of [`records`]; an error names the log.
fn framed(path: &Path, record: Result<(Lsn, Bytes), (Lsn, FrameError)>) -> super::Value {
    record.map_err(|(lsn, source)| Error::damaged(path, super::Damage::Frame { lsn, source }))
}

/// The record in `value`; an error names the log.
fn decoded(path: &Path, lsn: Lsn, value: &[u8]) -> Result<(Record, Chain), Error> {
    super::codec::decode(lsn, value)
        .map_err(|source| Error::damaged(path, super::Damage::Record { lsn, source }))
}

#[cfg(test)]
mod tests;
