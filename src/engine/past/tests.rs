//! Checkpoints that are damaged, foreign, too many; and how little is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Error, Past, PastOptions};
use crate::domain::{
    ActionId, Blob, Cause, Event, Guid, Host, Lsn, ObjectRef, Record, Run, Timestamp, WorkerId,
};
use crate::eventlog::{self, EventLog as _, LogReader, MemoryLog};
use crate::views::Published;

mod starts;

const EVERY: u64 = 10;

/// A worker, and one job after another.
fn log(salt: u8, len: usize) -> Vec<Record> {
    let mut state = Published::default();
    let mut records = Vec::new();
    for number in 0..len {
        let worker = WorkerId::of(b"w");
        let event = if number == 0 {
            Event::WorkerRegistered {
                worker,
                descriptor: ObjectRef::Inline(Blob::default()),
                name: "tester".into(),
                host: Host::Linux,
                build_system: Guid([1; 16]),
                functions: Vec::new(),
            }
        } else {
            Event::JobSubmitted {
                worker,
                action: ActionId::of(&[&[salt], &number.to_le_bytes()[..]].concat()),
                function: "Test".into(),
                object: ObjectRef::Inline(Blob::default()),
                priority: 0,
                queue: None,
                retries_max: 2,
                run: Run::Opens,
                recorded: None,
            }
        };
        let at = Timestamp(i64::try_from(number).unwrap());
        let record = state.views.stamp(at, Cause::UNKNOWN, event);
        state.apply(&record).unwrap();
        records.push(record);
    }
    records
}

fn fold(records: &[Record]) -> Published {
    let mut state = Published::default();
    for record in records {
        state.apply(record).unwrap();
    }
    state
}

/// Counts the records it gives.
struct Counting {
    log: MemoryLog,
    read: Arc<AtomicUsize>,
    first: Lsn,
}

impl LogReader for Counting {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, eventlog::Error> {
        self.log.get(lsn)
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, eventlog::Error>> + Send + '_> {
        Box::new(self.log.scan(from, to).inspect(|_| {
            self.read.fetch_add(1, Ordering::Relaxed);
        }))
    }

    fn scan_values(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = eventlog::Value> + Send + '_> {
        self.log.scan_values(from, to)
    }

    fn first(&self) -> Lsn {
        self.first
    }

    fn pinned(&self) -> Arc<dyn LogReader> {
        let (log, read) = (self.log.clone(), Arc::clone(&self.read));
        Arc::new(Self { log, read, first: self.first })
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn options(dir: &Path) -> PastOptions {
    PastOptions {
        dir: Some(dir.to_owned()),
        checkpoint_every: EVERY,
        recent_max: 1,
        recent_rows_max: 0,
        ..PastOptions::default()
    }
}

fn open(dir: &Path, records: &[Record]) -> Past {
    open_with(options(dir), records)
}

fn open_with(options: PastOptions, records: &[Record]) -> Past {
    let past = Past::open(options, MemoryLog::holding(records.to_vec()).reader());
    past.checkpoints.look();
    past
}

/// Checkpoints of a log, one every `EVERY` records.
fn written(dir: &Path, records: &[Record]) {
    let past = open(dir, records);
    for at in (1..=records.len()).filter(|at| at.is_multiple_of(10)) {
        past.write_checkpoint(&fold(&records[..at]));
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn lsns(dir: &Path) -> Vec<u64> {
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    files(dir).iter().map(name).collect()
}

#[test]
fn what_is_read_follows_the_checkpoints_and_not_the_log() {
    let records = log(0, 1_005);
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &records);
    let read = Arc::new(AtomicUsize::new(0));
    let log = MemoryLog::holding(records.clone());
    let counting = Counting { log, read: Arc::clone(&read), first: Lsn::FIRST };
    let past = Past::open(options(dir.path()), Arc::new(counting));
    for at in [1_005_usize, 500, 999, 17] {
        let state = past.at(Lsn(at as u64), Lsn(1_005)).unwrap();
        assert_eq!(state.digest(), fold(&records[..at]).digest());
        // At 1,000 jobs and as many executions a state is worth writing down every 500 records.
        assert!(read.swap(0, Ordering::Relaxed) <= 500, "at {at}");
    }
    assert!(past.at(Lsn(1_000), Lsn(1_005)).is_ok());
    assert!(read.swap(0, Ordering::Relaxed) <= 500);
    past.follow(&Arc::new(fold(&records[..1_000])));
    past.at(Lsn(1_003), Lsn(1_005)).unwrap();
    assert_eq!(read.swap(0, Ordering::Relaxed), 3, "the trail is nearer");
    past.at(Lsn(1_003), Lsn(1_005)).unwrap();
    assert_eq!(read.load(Ordering::Relaxed), 0, "and then it is at hand");
}

#[test]
fn a_long_way_leaves_checkpoints_for_the_next() {
    let records = log(0, 95);
    let dir = tempfile::tempdir().unwrap();
    let past = open(dir.path(), &records);
    past.at(Lsn(94), Lsn(95)).unwrap();
    let found = lsns(dir.path());
    assert!(found.first() == Some(&10) && found.len() >= 3, "{found:?}");
    assert!(found.iter().all(|lsn| *lsn <= 94));
}

/// Every byte of a checkpoint counts: whichever is another, or missing, the file is not used, and the
/// answer is right all the same.
#[test]
fn damage_is_noticed_wherever_it_is() {
    let records = log(0, 25);
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &records[..15]);
    let [file] = &files(dir.path())[..] else { panic!("one checkpoint") };
    let good = fs::read(file).unwrap();
    let right = fold(&records[..20]).digest();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(file, bytes).unwrap();
        let past = open(dir.path(), &records);
        assert!(past.checkpoint(Lsn(20)).is_none(), "{what}");
        assert!(!file.exists(), "{what}: it is deleted");
        if bytes.len() != good.len() {
            assert_eq!(past.at(Lsn(20), Lsn(25)).unwrap().digest(), right, "{what}");
        }
        for file in files(dir.path()) {
            fs::remove_file(file).unwrap();
        }
    };
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        refused(&bytes, &format!("byte {at}"));
    }
    for len in [0, 7, 111, 112, good.len() - 1] {
        refused(&good[..len], &format!("{len} bytes"));
    }
    refused(&[&good[..], &[0]].concat(), "one byte more");
    fs::write(file, &good).unwrap();
    assert!(open(dir.path(), &records).checkpoint(Lsn(20)).is_some(), "untouched");
}

/// A file whose head says something else from now on, and has the checksum for it.
fn reheaded(good: &[u8], place: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = good.to_vec();
    changed[place..place + bytes.len()].copy_from_slice(bytes);
    let mut sum = [0; 8];
    blake3::Hasher::new().update(&changed[..104]).finalize_xof().fill(&mut sum);
    changed[104..112].copy_from_slice(&sum);
    changed
}

/// In version 1 the digest is of the whole state.
#[test]
fn a_checkpoint_of_the_version_before_is_read() {
    let records = log(0, 15);
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &records);
    let file = &files(dir.path())[0];
    let past = || open(dir.path(), &records);
    let state = past().checkpoint(Lsn(12)).unwrap();
    assert_ne!(state.digest(), state.brief_digest());
    let older = reheaded(&fs::read(file).unwrap(), 8, &1_u32.to_be_bytes());
    fs::write(file, reheaded(&older, 32, state.digest().as_bytes())).unwrap();
    assert_eq!(past().checkpoint(Lsn(12)).unwrap().digest(), state.digest());
    fs::write(file, older).unwrap();
    assert!(past().checkpoint(Lsn(12)).is_none(), "with the digest of version 2");
}

/// A body that is whole and of the right layout, but not the state that the head promises.
#[test]
fn another_state_is_not_taken_for_this_one() {
    let (records, other) = (log(0, 15), log(1, 15));
    let [dir, another] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    written(dir.path(), &records);
    written(another.path(), &other);
    let [file, foreign] = [&files(dir.path())[0], &files(another.path())[0]];
    let (mine, theirs) = (fs::read(file).unwrap(), fs::read(foreign).unwrap());
    assert_eq!(mine.len(), theirs.len());
    // Its body with our head but for what the head says of the body's bytes.
    let bytes = [&mine[..72], &theirs[72..]].concat();
    fs::write(file, reheaded(&bytes, 72, &theirs[72..104])).unwrap();
    let past = open(dir.path(), &records);
    assert!(file.exists(), "the head is right");
    assert!(past.checkpoint(Lsn(12)).is_none());
    assert!(!file.exists());
}

#[test]
fn checkpoints_of_another_log_are_deleted() {
    let (records, other) = (log(0, 35), log(1, 35));
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &other);
    assert!(!files(dir.path()).is_empty());
    let past = open(dir.path(), &records);
    assert!(files(dir.path()).is_empty());
    assert_eq!(past.at(Lsn(30), Lsn(35)).unwrap().digest(), fold(&records[..30]).digest());
    // The same of one that is longer than the log is now.
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &records);
    let kept = lsns(dir.path()).into_iter().filter(|lsn| *lsn <= 15).collect::<Vec<_>>();
    open(dir.path(), &records[..15]);
    assert_eq!(lsns(dir.path()), kept);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let records = log(0, 15);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join(".new-abc"), "half").unwrap();
    written(dir.path(), &records);
    open(dir.path(), &records);
    let names: Vec<_> = files(dir.path());
    assert!(names.iter().any(|name| name.ends_with("notes.txt")));
    assert!(!names.iter().any(|name| name.ends_with(".new-abc")), "a half-written one goes");
}

#[test]
fn all_together_fit_into_their_space() {
    let records = log(0, 400);
    let dir = tempfile::tempdir().unwrap();
    let unbounded = PastOptions { checkpoint_every: 50, ..options(dir.path()) };
    let past = open_with(unbounded.clone(), &records);
    past.write_checkpoint(&fold(&records));
    let largest = fs::metadata(&files(dir.path())[0]).unwrap().len();
    fs::remove_file(&files(dir.path())[0]).unwrap();
    let space_bytes = 3 * largest + 100;
    let past = open_with(PastOptions { space_bytes, ..unbounded.clone() }, &records);
    for at in (50..=400).step_by(50) {
        past.write_checkpoint(&fold(&records[..at]));
        let bytes: u64 =
            files(dir.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(bytes <= space_bytes);
    }
    let kept = lsns(dir.path());
    assert!(kept.len() >= 3);
    // Less space from the next start on: the newest two stay all the same. And none.
    open_with(PastOptions { space_bytes: 1, ..unbounded.clone() }, &records);
    assert_eq!(lsns(dir.path()), kept[kept.len() - 2..]);
    let none = open_with(PastOptions { space_bytes: 0, ..unbounded }, &records);
    none.write_checkpoint(&fold(&records));
    none.write_last(&fold(&records), Duration::from_mins(1));
    assert!(files(dir.path()).is_empty());
    assert_eq!(none.at(Lsn(399), Lsn(400)).unwrap().digest(), fold(&records[..399]).digest());
}

/// One for each stop, but not for ever.
#[test]
fn stops_leave_their_state_and_no_heap_of_files() {
    let records = log(0, 60);
    let dir = tempfile::tempdir().unwrap();
    let patience = Duration::from_mins(1);
    for at in [3_usize, 4, 4, 7, 15, 19, 19, 22, 38, 41] {
        let past = open(dir.path(), &records);
        past.write_last(&fold(&records[..at]), patience);
        assert_eq!(past.checkpoint(Lsn(60)).unwrap().lsn(), Lsn(at as u64));
    }
    assert_eq!(lsns(dir.path()), [15, 38, 41], "10 apart, but for the newest two");
    // It is given up, and then nothing is left of it.
    let past = open(dir.path(), &records);
    past.write_last(&fold(&records[..55]), Duration::ZERO);
    assert_eq!(lsns(dir.path()), [15, 38, 41]);
}

#[test]
fn before_the_kept_window_nothing_is_given() {
    let records = log(0, 40);
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &records);
    let log = MemoryLog::holding(records.clone());
    let counting = Counting { log, read: Arc::default(), first: Lsn(21) };
    let past = Past::open(options(dir.path()), Arc::new(counting));
    let gone = past.at(Lsn(19), Lsn(40)).unwrap_err();
    assert!(matches!(gone, Error::Gone { first: Lsn(21) }), "{gone}");
    for at in [20_usize, 21, 40] {
        let state = past.at(Lsn(at as u64), Lsn(40));
        assert_eq!(state.unwrap().digest(), fold(&records[..at]).digest());
    }
}
