//! Openings that begin after a record instead of at the first.

use std::path::Path;
use std::sync::Arc;

use super::super::super::codec::{Chain, Encoder};
use super::super::super::{Damage, DataDir, Error, Fold, LogReader, Mark};
use super::super::{OpenOptions, SledLog};
use super::{accepting, filled, filled_by, record, records, tamper};
use crate::domain::{Lsn, Record};

/// Knows everything up to a record, and notes the rest.
struct Knowing {
    lsn: u64,
    /// In place of the record's own.
    chain: Option<Chain>,
    found: Vec<Record>,
}

impl Fold for Knowing {
    type Error = Error;

    fn begin(&mut self, log: &dyn LogReader) -> Result<Mark, Error> {
        let lsn = Lsn(self.lsn);
        let own = log.scan_values(lsn, lsn).next().map(Result::unwrap);
        let own = own.map_or(Chain::START, |(_, value)| Chain::of(lsn, &value));
        Ok(Mark { lsn, chain: self.chain.unwrap_or(own) })
    }

    fn apply(&mut self, record: Record) -> Result<(), Error> {
        self.found.push(record);
        Ok(())
    }
}

fn resume(path: &Path, lsn: u64) -> Result<(SledLog, Vec<Record>), Error> {
    resume_as(path, lsn, None, OpenOptions::default())
}

fn resume_as(
    path: &Path,
    lsn: u64,
    chain: Option<Chain>,
    options: OpenOptions,
) -> Result<(SledLog, Vec<Record>), Error> {
    let dir = Arc::new(DataDir::lock(path)?);
    let mut fold = Knowing { lsn, chain, found: Vec::new() };
    SledLog::open_with(&dir, options, &mut fold).map(|log| (log, fold.found))
}

fn damage_of(result: Result<(SledLog, Vec<Record>), Error>) -> Damage {
    match result {
        Err(Error::Damaged { damage, .. }) => damage,
        Err(other) => panic!("not damage: {other}"),
        Ok((log, _)) => panic!("opened, with {} records", log.last()),
    }
}

/// Replaces the record at `lsn`, which lies alone, by another that follows the one before it.
fn forge(dir: &tempfile::TempDir, lsn: u64) {
    tamper(dir, |_, events| {
        let value = events.get(Lsn(lsn).to_key()).unwrap().unwrap();
        let after = Chain(value[1..9].try_into().unwrap());
        let mut encoder = Encoder::default();
        let (forged, _) = encoder.encode(&record(lsn, 7), after).unwrap();
        events.insert(Lsn(lsn).to_key(), forged).unwrap();
    });
}

#[test]
fn exactly_the_rest_is_read_wherever_it_begins() {
    // One record an entry, entries that are full, and one that holds everything.
    for (batch, count) in [(1, 40), (100, 300), (20, 20)] {
        let dir = filled_by(batch, count);
        for lsn in 0..=count {
            let (mut log, found) = resume(dir.path(), lsn).unwrap();
            assert_eq!(found, records(lsn + 1..=count), "after {lsn} of {count}");
            assert_eq!(log.last(), Lsn(count));
            if lsn == count {
                // The chain goes on from the record that was not read.
                crate::eventlog::EventLog::append(&mut log, &records(count + 1..=count + 2))
                    .unwrap();
            }
        }
        let (_, found) = resume(dir.path(), 0).unwrap();
        assert_eq!(found, records(1..=count + 2));
    }
}

#[test]
fn what_does_not_follow_from_the_beginning_is_found() {
    let dir = filled(30);
    let other = Some(Chain([7; 8]));
    let options = OpenOptions::default();
    assert!(matches!(damage_of(resume_as(dir.path(), 20, other, options)), Damage::Chain(Lsn(21))));
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| drop(events.remove(Lsn(21).to_key()).unwrap()));
    let damage = damage_of(resume(dir.path(), 20));
    assert!(matches!(damage, Damage::Gap { expected: Lsn(21), found: Lsn(22) }), "{damage}");
}

/// The mark is at record 30 in all of these.
#[test]
fn the_end_is_checked_as_strictly() {
    // The last record is another, and nothing after the beginning is left to tell.
    let dir = filled_by(1, 30);
    forge(&dir, 30);
    for lsn in [29, 30] {
        let damage = damage_of(resume(dir.path(), lsn));
        assert!(matches!(damage, Damage::OtherHistory { lsn: Lsn(30) }), "{damage}");
    }
    let (log, _) = resume_as(dir.path(), 30, None, accepting()).unwrap();
    assert_eq!(log.last(), Lsn(30));
    // The end is gone.
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| drop(events.remove(Lsn(30).to_key()).unwrap()));
    for lsn in [20, 29] {
        let damage = damage_of(resume(dir.path(), lsn));
        assert!(matches!(damage, Damage::LostHistory { last: Lsn(29), mark: Lsn(30) }), "{damage}");
    }
}

/// What was acknowledged is looked at although the beginning is after it: a mark may lag behind.
#[test]
fn an_acknowledged_record_before_the_beginning_has_to_be_there() {
    let lagging = || {
        let dir = filled_by(1, 30);
        let path = dir.path().join("hwm");
        let mark = std::fs::read(&path).unwrap();
        let (mut log, _) = resume(dir.path(), 30).unwrap();
        crate::eventlog::EventLog::append(&mut log, &records(31..=40)).unwrap();
        drop(log);
        std::fs::write(&path, mark).unwrap();
        dir
    };
    let dir = lagging();
    for lsn in [30, 35, 40] {
        let dir = lagging();
        assert_eq!(resume(dir.path(), lsn).unwrap().0.last(), Lsn(40));
    }
    forge(&dir, 30);
    let damage = damage_of(resume(dir.path(), 35));
    assert!(matches!(damage, Damage::OtherHistory { lsn: Lsn(30) }), "{damage}");
    let dir = lagging();
    tamper(&dir, |_, events| drop(events.remove(Lsn(30).to_key()).unwrap()));
    for lsn in [35, 40] {
        let damage = damage_of(resume(dir.path(), lsn));
        assert!(matches!(damage, Damage::Gap { expected: Lsn(30), .. }), "{damage}");
    }
}
