//! What a start begins with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::Opening;
use super::super::PastOptions;
use super::{files, fold, log, lsns};
use crate::domain::{Lsn, Record};
use crate::eventlog::{DataDir, EventLog as _, Fold, LogReader, Mark, OpenOptions, SledLog};
use crate::views::{ApplyError, Published};

/// Counts what an opening is given.
struct Counting(Opening, usize);

impl Fold for Counting {
    type Error = ApplyError;

    fn begin(&mut self, log: &dyn LogReader) -> Result<Mark, crate::eventlog::Error> {
        self.0.begin(log)
    }

    fn apply(&mut self, record: Record) -> Result<(), ApplyError> {
        self.1 += 1;
        self.0.apply(record)
    }
}

/// Checkpoints of a log, one every 10 records.
fn written(dir: &Path, records: &[Record]) {
    let past = super::open(dir, records);
    for at in (10..=records.len()).step_by(10) {
        past.write_last(&fold(&records[..at]), Duration::from_mins(1));
    }
}

/// A data directory with a log and such checkpoints.
fn data(records: &[Record]) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let dir = Arc::new(DataDir::lock(data.path()).unwrap());
    let mut log = SledLog::open(&dir, OpenOptions::default(), |_| Ok::<_, ApplyError>(())).unwrap();
    log.append(records).unwrap();
    log.sync_mark().unwrap();
    drop(log);
    written(&dir.checkpoints(), records);
    data
}

/// The state after opening, and how many records were folded for it.
fn open(data: &Path, options: OpenOptions) -> (Published, usize) {
    let dir = Arc::new(DataDir::lock(data).unwrap());
    let past = PastOptions { dir: Some(dir.checkpoints()), ..PastOptions::default() };
    let mut counting = Counting(Opening::begin(&past), 0);
    SledLog::open_with(&dir, options, &mut counting).unwrap();
    (counting.0.done(), counting.1)
}

/// Whether the state is that of all records, and how many of them were folded.
fn folded(data: &Path, records: &[Record]) -> usize {
    let (state, folded) = open(data, OpenOptions::default());
    assert_eq!(state.digest(), fold(records).digest());
    folded
}

fn newest(data: &Path) -> PathBuf {
    files(&data.join("checkpoints")).pop().unwrap()
}

#[test]
fn only_what_came_after_the_newest_is_folded() {
    let records = log(0, 35);
    let data = data(&records);
    assert_eq!(lsns(&data.path().join("checkpoints")), [10, 20, 30]);
    for (kept, left) in [(3, 5), (2, 15), (1, 25), (0, 35)] {
        assert_eq!(files(&data.path().join("checkpoints")).len(), kept);
        assert_eq!(folded(data.path(), &records), left);
        if kept > 0 {
            fs::remove_file(newest(data.path())).unwrap();
        }
    }
    fs::remove_dir(data.path().join("checkpoints")).unwrap();
    assert_eq!(folded(data.path(), &records), 35);
}

#[test]
fn the_one_before_a_damaged_one_is_taken() {
    let records = log(0, 35);
    let data = data(&records);
    let good = fs::read(newest(data.path())).unwrap();
    for at in (0..good.len()).step_by(7) {
        let file = newest(data.path());
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        assert_eq!(folded(data.path(), &records), 15, "byte {at}");
        fs::write(data.path().join("checkpoints/00000000000000000030.state"), &good).unwrap();
    }
    fs::write(newest(data.path()), &good[..good.len() / 2]).unwrap();
    assert_eq!(folded(data.path(), &records), 15);
    // All of them.
    for file in files(&data.path().join("checkpoints")) {
        fs::write(file, b"").unwrap();
    }
    assert_eq!(folded(data.path(), &records), 35);
}

#[test]
fn those_of_another_log_are_left_aside() {
    let (records, other) = (log(0, 35), log(1, 35));
    let data = data(&records);
    let foreign = tempfile::tempdir().unwrap();
    written(foreign.path(), &other);
    let copied =
        data.path().join("checkpoints").join(files(foreign.path())[2].file_name().unwrap());
    fs::copy(&files(foreign.path())[2], &copied).unwrap();
    assert_eq!(folded(data.path(), &records), 15);
    assert!(copied.exists(), "it may be the log that is the wrong one");
    // One under the name of another.
    fs::copy(&files(&data.path().join("checkpoints"))[0], &copied).unwrap();
    assert_eq!(folded(data.path(), &records), 15);
    // One of a future that the log lost.
    let long = log(0, 60);
    written(&data.path().join("checkpoints"), &long);
    assert_eq!(folded(data.path(), &records), 5);
    let accepting = OpenOptions { accept_lost_history: true };
    assert_eq!(open(data.path(), accepting).1, 5);
}

#[test]
fn those_of_another_program_are_left_aside() {
    let records = log(0, 35);
    let data = data(&records);
    let file = newest(data.path());
    let mut bytes = fs::read(&file).unwrap();
    bytes[15] += 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(folded(data.path(), &records), 15);
    assert!(file.exists());
}

#[test]
fn without_a_directory_the_log_is_folded() {
    let records = log(0, 12);
    let mut opening = Opening::begin(&PastOptions::default());
    let log = crate::eventlog::MemoryLog::holding(records.clone());
    assert_eq!(opening.begin(&*log.reader()).unwrap(), Mark::START);
    for record in records.clone() {
        opening.apply(record).unwrap();
    }
    let state = opening.done();
    assert_eq!((state.lsn(), state.digest()), (Lsn(12), fold(&records).digest()));
}
