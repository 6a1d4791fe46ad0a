//! Reading the log beside its writer.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::guard::Guarded;
use super::open::{Database, read_failed};
use super::{decoded, framed, records};
use crate::domain::{Lsn, Record};
use crate::eventlog::compact::{Base, BaseError, kept};
use crate::eventlog::{Damage, DataDir, Error, LogReader, Value};

/// The log as it is now: when it has been rewritten, the next to ask sees the new database, and who is
/// reading finishes with the old one.
pub(super) struct SledReader {
    current: RwLock<Arc<Generation>>,
}

/// One database of the log.
pub(super) struct Generation {
    /// Dropped before the lock of the directory goes.
    database: Guarded<Database>,
    /// Held as long as the database is open.
    _dir: Arc<DataDir>,
    path: PathBuf,
}

impl SledReader {
    pub(super) fn new(generation: Arc<Generation>) -> Self {
        Self { current: RwLock::new(generation) }
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        // Nothing panics while it is exchanged.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the one before, which lives as long as somebody reads it.
    pub(super) fn exchange(&self, next: Arc<Generation>) -> Arc<Generation> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, next)
    }
}

impl Generation {
    pub(super) fn new(dir: &Arc<DataDir>, database: Guarded<Database>) -> Self {
        Self::at(dir, dir.log(), database)
    }

    pub(super) fn at(dir: &Arc<DataDir>, path: PathBuf, database: Guarded<Database>) -> Self {
        Self { database, _dir: Arc::clone(dir), path }
    }

    pub(super) fn into_database(self) -> Guarded<Database> {
        self.database
    }

    pub(super) fn events(&self) -> &::sled::Tree {
        &self.database.events
    }

    pub(super) fn db(&self) -> &::sled::Db {
        &self.database.db
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    fn record(&self, lsn: Lsn, value: &[u8]) -> Result<Record, Error> {
        decoded(&self.path, lsn, value).map(|(record, _)| record)
    }

    /// The values of a range with their positions.
    fn values(self: Arc<Self>, from: Lsn, to: Lsn) -> impl Iterator<Item = Value> + Send {
        let from = from.max(self.first());
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
            let mine = Arc::clone(&self);
            let values = records.into_iter().flatten().map(move |it| framed(&mine.path, it));
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

    fn records(
        self: Arc<Self>,
        from: Lsn,
        to: Lsn,
    ) -> impl Iterator<Item = Result<Record, Error>> + Send {
        let mine = Arc::clone(&self);
        self.values(from, to).map(move |value| {
            let (lsn, value) = value?;
            mine.record(lsn, &value)
        })
    }

    /// The records that are kept from before the base state. Where that is lost, what is left of them is
    /// nothing to rely on.
    fn kept_values(self: Arc<Self>) -> impl Iterator<Item = Value> + Send {
        let packs = self.database.head.map(|_| self.database.kept.iter());
        packs.into_iter().flatten().flat_map(move |pack| {
            let records = pack
                .map_err(|error| self.failed(error))
                .and_then(|(key, pack)| self.unpacked(&key, &pack));
            let (records, failed) = match records {
                Ok(records) => (Some(records), None),
                Err(error) => (None, Some(Err(error))),
            };
            let mine = Arc::clone(&self);
            let values =
                records.into_iter().flatten().map(move |it| it.map_err(|e| mine.broken(e)));
            failed.into_iter().chain(values)
        })
    }

    fn unpacked(&self, key: &[u8], pack: &[u8]) -> Result<kept::Records, Error> {
        let first = self.key(key)?;
        kept::Records::of(first, Bytes::copy_from_slice(pack)).map_err(|error| self.broken(error))
    }

    fn key(&self, key: &[u8]) -> Result<Lsn, Error> {
        let lsn = key.try_into().map(|key| Lsn(u64::from_be_bytes(key)));
        lsn.map_err(|_| Error::damaged(&self.path, Damage::Key(key.len())))
    }

    /// The entry that the record at `lsn` is in, if there is such a record.
    fn entry_of(&self, lsn: Lsn) -> Result<Option<(::sled::IVec, ::sled::IVec)>, Error> {
        self.last_up_to(self.events(), lsn)
    }

    fn last_up_to(
        &self,
        tree: &::sled::Tree,
        lsn: Lsn,
    ) -> Result<Option<(::sled::IVec, ::sled::IVec)>, Error> {
        let mut before = tree.range(..=lsn.to_key());
        before.next_back().transpose().map_err(|error| self.failed(error))
    }

    fn kept_value(&self, lsn: Lsn) -> Result<Option<Bytes>, Error> {
        let Some((key, pack)) = self.last_up_to(&self.database.kept, lsn)? else {
            return Ok(None);
        };
        for record in self.unpacked(&key, &pack)? {
            let (found, value) = record.map_err(|error| self.broken(error))?;
            if found == lsn {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn failed(&self, error: ::sled::Error) -> Error {
        Error::storage("read", &self.path, error)
    }

    /// The same of what is only read to be checked: what the engine can't read is damaged.
    fn unreadable(&self, error: ::sled::Error) -> Error {
        read_failed(&self.path, error)
    }

    fn broken(&self, source: BaseError) -> Error {
        Error::damaged(&self.path, Damage::Base { source })
    }

    /// Reads the body of the base state and compares it with what was written.
    fn check_body(&self, base: &Base) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        let mut found = 0;
        for piece in &self.database.base {
            let (_, piece) = piece.map_err(|error| self.unreadable(error))?;
            hasher.update(&piece);
            found += piece.len() as u64;
        }
        if found != base.bytes {
            return Err(self.broken(BaseError::Short { expected: base.bytes, found }));
        }
        let whole = *hasher.finalize().as_bytes() == base.hash;
        if whole { Ok(()) } else { Err(self.broken(BaseError::Body)) }
    }

    /// The same for the records kept from before it.
    fn check_kept(&self, base: &Base) -> Result<(), Error> {
        let mut sum = kept::Sum::default();
        for pack in &self.database.kept {
            let (key, pack) = pack.map_err(|error| self.unreadable(error))?;
            let pack = Bytes::copy_from_slice(&pack);
            sum.add(self.key(&key)?, pack).map_err(|error| self.broken(error))?;
        }
        let whole = sum.sum() == (base.kept, base.kept_hash);
        if whole { Ok(()) } else { Err(self.broken(BaseError::KeptOthers)) }
    }
}

/// The body of a base state, piece by piece.
struct Pieces<I> {
    rest: I,
    piece: ::sled::IVec,
    read: usize,
}

impl<I: Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>>> Read for Pieces<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            let Some(piece) = self.rest.next() else { return Ok(0) };
            (self.piece, self.read) = (piece.map_err(io::Error::other)?.1, 0);
        }
        let mut rest = self.piece.get(self.read..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

impl LogReader for Arc<Generation> {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        self.value(lsn)?.map(|value| self.record(lsn, &value)).transpose()
    }

    fn value(&self, lsn: Lsn) -> Result<Option<Bytes>, Error> {
        if lsn < self.first() {
            return self.kept_value(lsn);
        }
        let Some((key, entry)) = self.entry_of(lsn)? else { return Ok(None) };
        for record in records(&self.path, &key, &entry)? {
            let (found, value) = framed(&self.path, record)?;
            if found == lsn {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        Box::new(Self::clone(self).records(from, to))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(Self::clone(self).values(from, to))
    }

    fn first(&self) -> Lsn {
        self.database.head.map_or(Lsn::FIRST, |base| base.first())
    }

    fn kept(&self) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(Self::clone(self).kept_values())
    }

    fn base(&self) -> Option<Base> {
        self.database.head
    }

    fn base_body(&self) -> Box<dyn Read + Send + '_> {
        let pieces = self.database.base.iter();
        Box::new(Pieces { rest: pieces, piece: ::sled::IVec::default(), read: 0 })
    }

    fn check_base(&self) -> Result<(), Error> {
        let Some(base) = self.database.head else { return Ok(()) };
        self.check_body(&base)?;
        self.check_kept(&base)
    }

    fn pinned(&self) -> Arc<dyn LogReader> {
        Arc::new(Self::clone(self))
    }

    fn disk_bytes(&self) -> u64 {
        let Ok(entries) = fs::read_dir(&self.path) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }
}

impl LogReader for SledReader {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        self.current().get(lsn)
    }

    fn value(&self, lsn: Lsn) -> Result<Option<Bytes>, Error> {
        self.current().value(lsn)
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        Box::new(self.current().records(from, to))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(self.current().values(from, to))
    }

    fn first(&self) -> Lsn {
        self.current().first()
    }

    fn kept(&self) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        Box::new(self.current().kept_values())
    }

    fn base(&self) -> Option<Base> {
        self.current().base()
    }

    fn base_body(&self) -> Box<dyn Read + Send + '_> {
        // sled's iterators keep their tree open by themselves.
        let pieces = self.current().database.base.iter();
        Box::new(Pieces { rest: pieces, piece: ::sled::IVec::default(), read: 0 })
    }

    fn check_base(&self) -> Result<(), Error> {
        self.current().check_base()
    }

    fn pinned(&self) -> Arc<dyn LogReader> {
        Arc::new(self.current())
    }

    fn disk_bytes(&self) -> u64 {
        self.current().disk_bytes()
    }
}
