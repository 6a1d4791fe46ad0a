//! Whatever was acknowledged is there after a power cut, and the log opens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/powercut.rs"]
mod powercut;

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use ledgerun::domain::object::{Blob, INLINE_BYTES_MAX};
use ledgerun::domain::{
    ActionId, Cause, ContentHash, Event, Lsn, ObjectRef, Record, Run, Timestamp, WorkerId,
};
use ledgerun::eventlog::codec::Chain;
use ledgerun::eventlog::{Adopted, DataDir, EventLog, OpenOptions, Rewrite, SledLog};
use powercut::disk;

/// A record of up to the largest size a submission takes, in a scattered but repeatable way.
fn record(lsn: u64) -> Record {
    let scattered = lsn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let bytes = usize::try_from(scattered).unwrap() % INLINE_BYTES_MAX;
    let event = Event::JobSubmitted {
        worker: WorkerId::of(b"worker"),
        action: ActionId::of(&lsn.to_be_bytes()),
        function: "compile".repeat(1 + bytes / 10),
        object: ObjectRef::Inline(Blob(vec![0xab; bytes].into())),
        priority: 2,
        queue: None,
        retries_max: 3,
        run: Run::Opens,
        recorded: None,
    };
    Record { lsn: Lsn(lsn), at: Timestamp(0), prev: Lsn::ZERO, cause: Cause::UNKNOWN, event }
}

/// Opens the log and checks that it holds the records from 1 on.
fn open(path: &Path) -> SledLog {
    let dir = Arc::new(DataDir::lock(path).unwrap());
    SledLog::open(&dir, OpenOptions::default(), |found| {
        if found == record(found.lsn.0) { Ok(()) } else { Err("another record than was written") }
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

/// Appends until the disk fails, in batches of 1 to 199; reports each acknowledged LSN.
fn write_on(mut log: SledLog, acknowledged: &mpsc::Sender<u64>) {
    let mut last = log.last().0;
    for size in (1..200).map(|n| n * 37 % 200).cycle() {
        let batch: Vec<Record> = (last + 1..=last + size).map(record).collect();
        if log.append(&batch).is_err() {
            return;
        }
        last += size;
        let _ = acknowledged.send(last);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let Some(disk) = disk(1_024) else { return };
    let path = disk.path().join("data");
    let mut survived = 0;
    for round in 1..=4_u64 {
        let log = open(&path);
        assert!(log.is_write_through(), "ext4 can");
        assert!(log.last().0 >= survived);
        // Somewhere in the middle of what the writer does after this many records.
        let target = log.last().0 + 1_500 * round;
        let (sender, acknowledged) = mpsc::channel();
        let writer = std::thread::spawn(move || write_on(log, &sender));
        while acknowledged.recv().unwrap() < target {}
        // Not what is answered during the cut: a sync under way may report a success then.
        survived = acknowledged.try_iter().last().unwrap_or(target);
        disk.cut();
        writer.join().unwrap();
        disk.restart();
        let log = open(&path);
        assert!(log.last().0 >= survived, "{} of {survived} are left", log.last());
    }
}

/// Writes the log anew with a state in place of the records before `first`, of which every tenth is
/// kept, and takes that for the log.
fn rewrite(log: &mut SledLog, state: &[u8], first: Lsn) {
    let old = log.reader().pinned();
    let end = Lsn(first.0 - 1);
    let chain = Chain::of(end, &old.value(end).unwrap().unwrap());
    let mut next = Rewrite::begin(&log.dir().unwrap(), end, chain).unwrap();
    next.body().write_all(state).unwrap();
    for value in old.kept().chain(old.scan_values(old.first(), end)) {
        let (lsn, value) = value.unwrap();
        if lsn.0.is_multiple_of(10) {
            next.keep(lsn, &value).unwrap();
        }
    }
    next.seal(1, ContentHash::of(state)).unwrap();
    next.copy(&*old, log.last()).unwrap();
    assert!(matches!(log.adopt(next).unwrap(), Adopted::Done(_)));
}

#[test]
fn a_rewritten_log_is_whole_when_the_power_is_cut_as_soon_as_it_is_taken() {
    let Some(disk) = disk(256) else { return };
    let path = disk.path().join("data");
    for round in 1..=3_u64 {
        let mut log = open(&path);
        let from = log.last().0 + 1;
        let to = from + 399;
        for first in (from..=to).step_by(50) {
            log.append(&(first..first + 50).map(record).collect::<Vec<_>>()).unwrap();
        }
        let state = vec![u8::try_from(round).unwrap(); 100_000];
        let first = Lsn(to - 150);
        rewrite(&mut log, &state, first);
        disk.cut();
        drop(log);
        disk.restart();
        let mut log = open(&path);
        let reader = log.reader();
        assert_eq!((reader.first(), log.last()), (first, Lsn(to)));
        reader.check_base().unwrap();
        let kept: Vec<u64> = reader.kept().map(|value| value.unwrap().0.0).collect();
        assert_eq!(kept, (10..first.0).step_by(10).collect::<Vec<_>>());
        log.append(&[record(to + 1)]).unwrap();
    }
}

#[test]
fn a_full_disk_opens_on_the_space_set_aside() {
    let Some(disk) = disk(400) else { return };
    let path = disk.path().join("data");
    let mut log = open(&path);
    // One by one: the engine's notes grow with what it was asked to write.
    (1..=400).for_each(|lsn| log.append(&[record(lsn)]).unwrap());
    drop(log);
    let ballast = path.join("ballast");
    assert!(ballast.exists());
    let filler = disk.path().join("filler");
    std::io::copy(&mut std::io::repeat(1), &mut std::fs::File::create(&filler).unwrap())
        .unwrap_err();
    // A whole scan makes sled write its notes, for which there is no room.
    for entry in std::fs::read_dir(path.join("log")).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    std::io::copy(
        &mut std::io::repeat(1),
        &mut std::fs::File::options().append(true).open(&filler).unwrap(),
    )
    .unwrap_err();
    let mut log = open(&path);
    assert_eq!(log.last(), Lsn(400));
    assert!(!ballast.exists());
    log.append(&[record(401)]).unwrap();
    drop(log);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(open(&path).last(), Lsn(401));
    assert!(ballast.exists());
}
