//! Reading the log beside its writer.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::guard::Guarded;
use super::open::Database;
use super::{decoded, framed, records};
use crate::domain::{Lsn, Record};
use crate::eventlog::{DataDir, Error, LogReader, Value};

/// Shares the database with the writer, and keeps it open as long as somebody reads.
pub(super) struct SledReader {
    /// Dropped before the lock of the directory goes.
    database: Guarded<Database>,
    /// Held as long as the database is open.
    _dir: Arc<DataDir>,
    path: PathBuf,
}

impl SledReader {
    pub(super) fn new(dir: Arc<DataDir>, database: Guarded<Database>) -> Self {
        let path = dir.log();
        Self { database, _dir: dir, path }
    }

    pub(super) fn events(&self) -> &::sled::Tree {
        &self.database.events
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn record(&self, lsn: Lsn, value: &[u8]) -> Result<Record, Error> {
        decoded(&self.path, lsn, value).map(|(record, _)| record)
    }

    /// The values of a range with their positions.
    fn values(&self, from: Lsn, to: Lsn) -> impl Iterator<Item = Value> + Send + '_ {
        // sled panics on a range that ends before it starts.
        let start = if from <= to { self.entry_of(from).transpose() } else { None };
        let (failed, start) = match start {
            Some(Ok((key, _))) => (None, Some(key)),
            Some(Err(error)) => (Some(Err(error)), None),
            None => (None, (from <= to).then(|| from.to_key().as_slice().into())),
        };
        let entries =
            start.map(|start| self.events().range(start..=::sled::IVec::from(&to.to_key())));
        let values = entries.into_iter().flatten().flat_map(move |entry| {
            let records = entry
                .map_err(|error| self.failed(error))
                .and_then(|(key, entry)| records(&self.path, &key, &entry));
            let (records, failed) = match records {
                Ok(records) => (Some(records), None),
                Err(error) => (None, Some(Err(error))),
            };
            let values = records.into_iter().flatten().map(|record| framed(&self.path, record));
            failed.into_iter().chain(values)
        });
        let within = move |value: &Value| value.as_ref().map_or(true, |(lsn, _)| *lsn <= to);
        let before = move |value: &Value| value.as_ref().is_ok_and(|(lsn, _)| *lsn < from);
        failed.into_iter().chain(values.skip_while(before).take_while(within))
    }

    /// The entries with records after `lsn`; the first may hold earlier ones, too.
    pub(super) fn entries_after(&self, lsn: Lsn) -> Result<::sled::Iter, Error> {
        if lsn == Lsn::ZERO {
            // With whatever is there that is no record.
            return Ok(self.events().iter());
        }
        let next = lsn.next();
        let found = self.entry_of(next)?;
        let from = found.map_or_else(|| next.to_key().as_slice().into(), |(key, _)| key);
        Ok(self.events().range(from..))
    }

    /// The entry that the record at `lsn` is in, if there is such a record.
    fn entry_of(&self, lsn: Lsn) -> Result<Option<(::sled::IVec, ::sled::IVec)>, Error> {
        let mut before = self.events().range(..=lsn.to_key());
        before.next_back().transpose().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ::sled::Error) -> Error {
        Error::storage("read", &self.path, error)
    }
}

impl LogReader for SledReader {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        let Some((key, entry)) = self.entry_of(lsn)? else { return Ok(None) };
        for record in records(&self.path, &key, &entry)? {
            let (found, value) = framed(&self.path, record)?;
            if found == lsn {
                return self.record(lsn, &value).map(Some);
            }
        }
        Ok(None)
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        Box::new(self.values(from, to).map(|value| {
            let (lsn, value) = value?;
            self.record(lsn, &value)
        }))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(self.values(from, to))
    }

    fn first(&self) -> Lsn {
        Lsn::FIRST
    }

    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.path) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }
}
