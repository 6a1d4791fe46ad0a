//! The log against real files, good and damaged.

use std::path::Path;
use std::sync::Arc;

use super::super::{DataDir, Error, EventLog};
use super::{OpenOptions, SledLog};
use crate::domain::object::Blob;
use crate::domain::{ActionId, Cause, Event, Lsn, ObjectRef, Record, Run, Timestamp, WorkerId};

fn record(lsn: u64, bytes: usize) -> Record {
    let fill = u8::try_from(lsn % 251).unwrap();
    let event = Event::JobSubmitted {
        worker: WorkerId::of(b"worker"),
        action: ActionId::of(&lsn.to_be_bytes()),
        function: "compile".to_owned(),
        object: ObjectRef::Inline(Blob(vec![fill; bytes].into())),
        priority: 2,
        queue: None,
        retries_max: 3,
        run: Run::Opens,
    };
    Record { lsn: Lsn(lsn), at: Timestamp(1_000), prev: Lsn::ZERO, cause: Cause::UNKNOWN, event }
}

fn records(lsns: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    lsns.map(|lsn| record(lsn, 120)).collect()
}

/// Opens the log and returns it with what it was found to hold.
fn open_with(path: &Path, options: OpenOptions) -> Result<(SledLog, Vec<Record>), Error> {
    let dir = Arc::new(DataDir::lock(path)?);
    let mut found = Vec::new();
    let log = SledLog::open(&dir, options, |record| {
        found.push(record);
        Ok::<_, String>(())
    })?;
    Ok((log, found))
}

fn open(path: &Path) -> Result<(SledLog, Vec<Record>), Error> {
    open_with(path, OpenOptions::default())
}

/// A closed log of `count` records, appended in batches of 10.
fn filled(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, found) = open(dir.path()).unwrap();
    assert!(found.is_empty() && log.last() == Lsn::ZERO);
    for batch in records(1..=count).chunks(10) {
        log.append(batch).unwrap();
    }
    log.sync_mark().unwrap();
    dir
}

#[test]
fn what_was_appended_is_found() {
    let dir = filled(105);
    let (mut log, found) = open(dir.path()).unwrap();
    assert_eq!(found, records(1..=105));
    log.append(&records(106..=106)).unwrap();
    let reader = log.reader();
    assert_eq!(reader.get(Lsn(106)).unwrap(), Some(record(106, 120)));
    assert_eq!(reader.get(Lsn(107)).unwrap(), None);
    let scan =
        |from, to| -> Vec<Record> { reader.scan(Lsn(from), Lsn(to)).map(Result::unwrap).collect() };
    assert_eq!(scan(5, 7), records(5..=7));
    assert_eq!(scan(106, u64::MAX), records(106..=106));
    assert_eq!(scan(7, 5), []);
    assert_eq!(reader.first(), Lsn(1));
    assert!(reader.disk_bytes() > 0);
}
