//! Reading the log beside its writer.

use std::fs;
use std::sync::Arc;

use super::decoded;
use super::guard::Guarded;
use super::open::Database;
use crate::domain::{Lsn, Record};
use crate::eventlog::{DataDir, Error, LogReader, Value};

/// Shares the database with the writer, and keeps it open as long as somebody reads.
pub(super) struct SledReader {
    /// Dropped before the lock of the directory goes.
    database: Guarded<Database>,
    dir: Arc<DataDir>,
}

impl SledReader {
    pub(super) fn new(dir: Arc<DataDir>, database: Guarded<Database>) -> Self {
        Self { database, dir }
    }

    pub(super) fn events(&self) -> &::sled::Tree {
        &self.database.events
    }

    fn record(&self, lsn: Lsn, value: &[u8]) -> Result<Record, Error> {
        decoded(&self.dir.log(), lsn, value).map(|(record, _)| record)
    }

    /// The entries of a range with their positions.
    fn entries(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> impl Iterator<Item = Result<(Lsn, ::sled::IVec), Error>> + Send + '_ {
        // sled panics on a range that ends before it starts.
        let range = (from <= to).then(|| self.events().range(from.to_key()..=to.to_key()));
        (from.0..).map(Lsn).zip(range.into_iter().flatten()).map(|(lsn, entry)| {
            let (_, value) = entry.map_err(|error| self.failed(error))?;
            Ok((lsn, value))
        })
    }

    fn failed(&self, error: ::sled::Error) -> Error {
        Error::storage("read", &self.dir.log(), error)
    }
}

impl LogReader for SledReader {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        let value = self.events().get(lsn.to_key()).map_err(|error| self.failed(error))?;
        value.map(|value| self.record(lsn, &value)).transpose()
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        Box::new(self.entries(from, to).map(|entry| {
            let (lsn, value) = entry?;
            self.record(lsn, &value)
        }))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(
            self.entries(from, to).map(|entry| entry.map(|(lsn, value)| (lsn, value.to_vec()))),
        )
    }

    fn first(&self) -> Lsn {
        Lsn::FIRST
    }

    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.dir.log()) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }
}
