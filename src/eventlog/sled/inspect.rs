//! The log as it lies there, for whoever looks for all that is wrong with it: nothing is refused, and
//! behind what can't be read it goes on.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;

use super::reader::Generation;
use super::{SledLog, framed, guard, open, records};
use crate::domain::{Lsn, Record};
use crate::eventlog::compact::{Base, Names};
use crate::eventlog::hwm::{HighWater, Mark};
use crate::eventlog::{Damage, DataDir, Error, LogReader, Value};

/// Positions tried one after another behind a place that can't be read. A page of the database holds
/// far fewer records; where so many can't be read, nothing behind them can.
const TRIES_MAX: u32 = 10_000;

/// A log that was opened and not checked.
pub struct Inspected {
    /// Reads what can be read. Its scans tell each place that can't as [`Error::Damaged`] and go on.
    pub reader: Arc<dyn LogReader>,
    /// The last record there is, as far as that can be told.
    pub last: Lsn,
    /// What the high-water file says, if there is one.
    pub mark: Result<Option<Mark>, Error>,
}

impl SledLog {
    /// Whether there is a log in `dir`, whatever state it is in.
    pub fn is_there(dir: &DataDir) -> bool {
        let names = Names::of(dir.root());
        [names.log(), names.next(), names.old()].iter().any(|path| path.exists())
    }

    /// Opens the database of a log and looks at nothing in it. The database itself may be changed by
    /// that as by any opening, its records are not.
    pub fn inspect(dir: &Arc<DataDir>) -> Result<Inspected, Error> {
        let (database, _) = open::database(dir)?;
        let mark = HighWater::open(&dir.hwm()).map(|found| found.map(|(_, mark)| mark));
        let reader = Lenient(Arc::new(Generation::new(dir, database)));
        let last = reader.last();
        Ok(Inspected { reader: Arc::new(reader), last, mark })
    }
}

#[derive(Clone)]
struct Lenient(Arc<Generation>);

impl Lenient {
    /// The entry at or after a key. Also when the database panics there is an answer.
    fn at(&self, key: &[u8]) -> Result<Option<(::sled::IVec, ::sled::IVec)>, Error> {
        let found = guard::catching(|| self.0.events().range(key..).next());
        self.unreadable(found)
    }

    /// The entry at or before a record.
    fn before(&self, lsn: Lsn) -> Result<Option<(::sled::IVec, ::sled::IVec)>, Error> {
        let key = lsn.to_key();
        let found = guard::catching(|| self.0.events().range(..=key).next_back());
        self.unreadable(found)
    }

    fn unreadable<T>(
        &self,
        found: Result<Option<::sled::Result<T>>, guard::Panicked>,
    ) -> Result<Option<T>, Error> {
        let damaged = |source| Error::damaged(self.0.path(), Damage::Database { source });
        match found {
            Ok(found) => found.transpose().map_err(|error| damaged(error.into())),
            Err(panic) => Err(damaged(panic.into())),
        }
    }

    /// The end: what lies behind the last place that can't be read counts, too.
    fn last(&self) -> Lsn {
        let all = self.scan_values(Lsn::FIRST, Lsn(u64::MAX));
        let from = match self.before(Lsn(u64::MAX)) {
            // Keys that are no positions may follow the last that is one.
            Ok(Some((key, _))) if key.len() == Lsn::ZERO.to_key().len() => {
                self.scan_values(lsn_of(&key).unwrap_or(Lsn::FIRST), Lsn(u64::MAX))
            }
            _ => all,
        };
        from.flatten().map(|(lsn, _)| lsn).max().unwrap_or(Lsn::ZERO)
    }
}

/// The position that a key begins with.
fn lsn_of(key: &[u8]) -> Option<Lsn> {
    key.first_chunk().map(|key| Lsn(u64::from_be_bytes(*key)))
}

/// A way through the entries that steps over what can't be read.
struct Walk<'a> {
    log: &'a Lenient,
    /// Where to look next; none at the end.
    next: Option<Vec<u8>>,
    /// Records of the entry that was found last.
    found: std::vec::IntoIter<Value>,
    failed: u32,
}

impl Walk<'_> {
    /// Steps to the next position after one that can't be read. True when that is to be told.
    fn skip(&mut self, key: &[u8]) -> bool {
        self.failed += 1;
        let next = lsn_of(key).unwrap_or(Lsn::ZERO).next();
        self.next = (self.failed < TRIES_MAX).then(|| next.to_key().to_vec());
        self.failed == 1
    }
}

impl Iterator for Walk<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(value) = self.found.next() {
                return Some(value);
            }
            let key = self.next.take()?;
            let entry = match self.log.at(&key) {
                Ok(entry) => entry?,
                Err(error) => {
                    if self.skip(&key) {
                        return Some(Err(error));
                    }
                    continue;
                }
            };
            self.failed = 0;
            let (key, entry) = entry;
            // The key after this one, whatever its length.
            self.next = Some([&key, [0].as_slice()].concat());
            let path = self.log.0.path();
            let values: Vec<Value> = match records(path, &key, &entry) {
                Ok(records) => records.map(|record| framed(path, record)).collect(),
                Err(error) => vec![Err(error)],
            };
            self.found = values.into_iter();
        }
    }
}

impl LogReader for Lenient {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        self.scan(lsn, lsn).next().transpose()
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        Box::new(self.scan_values(from, to).map(|value| {
            let (lsn, value): (Lsn, Bytes) = value?;
            super::decoded(self.0.path(), lsn, &value).map(|(record, _)| record)
        }))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        let start = match self.before(from) {
            // With whatever is there that is no record.
            _ if from <= Lsn::FIRST => Vec::new(),
            Ok(Some((key, _))) => key.to_vec(),
            Ok(None) | Err(_) => from.to_key().to_vec(),
        };
        let walk = Walk { log: self, next: Some(start), found: Vec::new().into_iter(), failed: 0 };
        let within = move |value: &Value| value.as_ref().map_or(true, |(lsn, _)| *lsn <= to);
        let before = move |value: &Value| value.as_ref().is_ok_and(|(lsn, _)| *lsn < from);
        Box::new(walk.skip_while(before).take_while(within))
    }

    fn value(&self, lsn: Lsn) -> Result<Option<Bytes>, Error> {
        if lsn < self.first() {
            return self.0.value(lsn);
        }
        Ok(self.scan_values(lsn, lsn).next().transpose()?.map(|(_, value)| value))
    }

    fn first(&self) -> Lsn {
        self.0.first()
    }

    fn kept(&self) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        self.0.kept()
    }

    fn base(&self) -> Option<Base> {
        self.0.base()
    }

    fn base_body(&self) -> Box<dyn Read + Send + '_> {
        self.0.base_body()
    }

    fn check_base(&self) -> Result<(), Error> {
        let checked = guard::catching(|| self.0.check_base());
        checked.unwrap_or_else(|panic| {
            Err(Error::damaged(self.0.path(), Damage::Database { source: panic.into() }))
        })
    }

    fn pinned(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }
}
