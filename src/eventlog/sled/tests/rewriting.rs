//! Rewriting the log against real files, and a crash at every step of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::super::{Rewrite, SledLog};
use super::{accepting, filled, open, open_with, record, records, tamper};
use crate::domain::{ContentHash, Lsn};
use crate::eventlog::codec::Chain;
use crate::eventlog::compact::{Marker, Step};
use crate::eventlog::{Adopted, DataDir, Error, EventLog, Kind, LogReader};

/// A state of more pieces than one.
fn body() -> Vec<u8> {
    (0..80_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// The log of `path` from `first` on, beside it; every third record from before is kept.
fn rewritten(log: &SledLog, dir: &Arc<DataDir>, first: u64) -> Rewrite {
    let old = log.reader().pinned();
    let end = Lsn(first - 1);
    let chain = Chain::of(end, &old.value(end).unwrap().unwrap());
    let mut next = Rewrite::begin(dir, end, chain).unwrap();
    next.body().write_all(&body()).unwrap();
    for value in old.kept().chain(old.scan_values(old.first(), end)) {
        let (lsn, value) = value.unwrap();
        if lsn.0.is_multiple_of(3) {
            next.keep(lsn, &value).unwrap();
        }
    }
    next.seal(7, ContentHash::of(&body())).unwrap();
    next
}

fn compacted(path: &Path, first: u64) {
    let (mut log, _) = open(path).unwrap();
    let dir = log.dir().unwrap();
    let mut next = rewritten(&log, &dir, first);
    next.copy(&*log.reader(), log.last()).unwrap();
    next.check(&mut |_| true).unwrap();
    assert!(matches!(log.adopt(next).unwrap(), Adopted::Done(_)));
}

/// Whether a reader gives what a log of `last` records gives that begins with `first`.
fn holds(reader: &dyn LogReader, first: u64, last: u64) {
    assert_eq!(reader.first(), Lsn(first));
    let all: Vec<_> = reader.scan(Lsn(0), Lsn(u64::MAX)).map(Result::unwrap).collect();
    assert_eq!(all, records(first..=last));
    for lsn in 1..=last {
        let found = reader.get(Lsn(lsn)).unwrap();
        let there = lsn >= first || lsn.is_multiple_of(3);
        assert_eq!(found, there.then(|| records(lsn..=lsn).remove(0)), "record {lsn}");
    }
    let kept: Vec<u64> = reader.kept().map(|value| value.unwrap().0.0).collect();
    assert_eq!(kept, (1..first).filter(|lsn| lsn.is_multiple_of(3)).collect::<Vec<_>>());
    if first > 1 {
        let base = reader.base().unwrap();
        assert_eq!((base.lsn, base.layout), (Lsn(first - 1), 7));
        assert_eq!((base.digest, base.kept), (ContentHash::of(&body()), kept.len() as u64));
        let mut found = Vec::new();
        reader.base_body().read_to_end(&mut found).unwrap();
        assert!(found == body(), "another state");
        reader.check_base().unwrap();
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("log"));
    names.sort();
    names
}

#[test]
fn a_rewritten_log_takes_the_place_of_the_old_one_under_its_writer() {
    let dir = filled(500);
    let (mut log, _) = open(dir.path()).unwrap();
    let data = log.dir().unwrap();
    let reader = log.reader();
    let mut next = rewritten(&log, &data, 300);
    next.copy(&*reader, Lsn(450)).unwrap();
    // The writer goes on.
    log.append(&records(501..=510)).unwrap();
    next.copy(&*reader, Lsn(505)).unwrap();
    next.check(&mut |_| true).unwrap();
    log.append(&records(511..=511)).unwrap();
    let old = reader.pinned();
    let mut begun = reader.scan(Lsn(1), Lsn(511));
    assert_eq!(begun.next().unwrap().unwrap().lsn, Lsn(1));
    let Adopted::Done(replaced) = log.adopt(next).unwrap() else { panic!("not adopted") };
    holds(&*reader, 300, 511);
    log.append(&records(512..=520)).unwrap();
    holds(&*reader, 300, 520);
    // Who began before finishes.
    assert_eq!(
        begun.map(|record| record.unwrap().lsn.0).collect::<Vec<_>>(),
        (2..=511).collect::<Vec<_>>()
    );
    assert_eq!(old.first(), Lsn(1));
    let replaced = replaced.remove().expect("somebody still reads it");
    assert_eq!(names(dir.path()), ["log", "log.old", "log.swap"]);
    drop(old);
    assert!(replaced.remove().is_none());
    assert_eq!(names(dir.path()), ["log"]);
    drop((log, reader, data));
    let (mut log, found) = open(dir.path()).unwrap();
    assert_eq!(found, records(300..=520));
    log.append(&records(521..=521)).unwrap();
    holds(&*log.reader(), 300, 521);
}

#[test]
fn a_compacted_log_can_be_compacted_again() {
    let dir = filled(400);
    for first in [2, 3, 100, 399, 400] {
        compacted(dir.path(), first);
        let (log, found) = open(dir.path()).unwrap();
        assert_eq!(found, records(first..=400));
        holds(&*log.reader(), first, 400);
        assert_eq!(names(dir.path()), ["log"]);
    }
}

#[test]
fn a_crash_after_every_step_leaves_a_whole_log() {
    for done in 0..=Step::ALL.len() {
        let dir = filled(200);
        let (log, _) = open(dir.path()).unwrap();
        let data = log.dir().unwrap();
        let mut next = rewritten(&log, &data, 120);
        next.copy(&*log.reader(), Lsn(200)).unwrap();
        let last = log.last;
        next.complete(&log.reader.current(), last).unwrap();
        let marker = Marker { last: last.lsn, chain: last.chain };
        for step in &Step::ALL[..done] {
            next.names().perform(*step, marker).unwrap();
        }
        // Nothing of what would tidy up runs.
        next.leave();
        drop((next, log, data));
        let moved = Step::ALL[..done].contains(&Step::MoveOld);
        let first = if moved { 120 } else { 1 };
        let (mut log, found) = open(dir.path()).unwrap();
        assert_eq!(found, records(first..=200), "{done} steps");
        log.append(&records(201..=205)).unwrap();
        holds(&*log.reader(), first, 205);
        assert_eq!(names(dir.path()), ["log"], "{done} steps");
    }
}

#[test]
fn what_is_given_up_leaves_nothing() {
    let dir = filled(50);
    let (log, _) = open(dir.path()).unwrap();
    let data = log.dir().unwrap();
    let mut next = rewritten(&log, &data, 20);
    next.copy(&*log.reader(), Lsn(30)).unwrap();
    assert_eq!(names(dir.path()), ["log", "log.next"]);
    drop(next);
    assert_eq!(names(dir.path()), ["log"]);
    holds(&*log.reader(), 1, 50);
}

#[test]
fn one_that_lacks_records_or_has_others_is_not_taken() {
    let (dir, other) = (filled(60), filled(60));
    let (mut log, _) = open(dir.path()).unwrap();
    let data = log.dir().unwrap();
    let mut next = rewritten(&log, &data, 20);
    assert_eq!(next.copy(&*log.reader(), Lsn(61)).unwrap_err().kind(), Kind::Damaged);
    drop(next);
    // Begun from another chain.
    let mut next = Rewrite::begin(&data, Lsn(19), Chain([7; 8])).unwrap();
    next.seal(1, ContentHash::default()).unwrap();
    let Adopted::Not(error) = log.adopt(next).unwrap() else { panic!("adopted") };
    assert_eq!(error.kind(), Kind::Damaged);
    holds(&*log.reader(), 1, 60);
    log.append(&records(61..=61)).unwrap();
    drop(other);
}

/// Flips a bit of each part of the files in turn, where the words of the state are.
#[test]
fn a_damaged_state_is_noticed_when_the_log_is_opened() {
    let dir = filled(100);
    compacted(dir.path(), 80);
    let db = dir.path().join("log/db");
    let bytes = fs::read(&db).unwrap();
    let piece = &body()[8_000..8_032];
    let all = bytes.windows(piece.len()).enumerate().filter(|(_, window)| *window == piece);
    let places: Vec<usize> = all.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let file = fs::File::options().write(true).open(&db).unwrap();
    for at in &places {
        file.write_all_at(&[bytes[*at] ^ 4], *at as u64).unwrap();
    }
    let Err(error) = open(dir.path()) else { panic!("opened") };
    assert_eq!(error.kind(), Kind::Damaged);
    // In the file's last segment it is the end of what the storage engine reads, and so a lost tail.
    assert!(error.to_string().contains("from a backup"), "{error}");
    fs::write(&db, &bytes).unwrap();
    drop(open(dir.path()).unwrap());
}

/// A copy of the log and its mark.
fn copied(path: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("log")).unwrap();
    for name in ["log/conf", "log/db", "hwm"] {
        fs::copy(path.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// What the storage engine doesn't notice, since it was written like this.
#[test]
fn a_state_or_a_kept_record_that_is_another_is_noticed_too() {
    type Change = fn(&::sled::Db);
    let changes: [(&str, Change); 4] = [
        ("its state is damaged", |db| {
            let base = db.open_tree("base").unwrap();
            let (key, piece) = base.last().unwrap().unwrap();
            let mut piece = piece.to_vec();
            piece[5] ^= 1;
            base.insert(key, piece).unwrap();
        }),
        ("its state has", |db| {
            db.open_tree("base").unwrap().pop_max().unwrap();
        }),
        ("some are missing", |db| {
            db.open_tree("kept").unwrap().pop_max().unwrap();
        }),
        ("its head is damaged", |db| {
            let meta = db.open_tree("meta").unwrap();
            let mut head = meta.get("base").unwrap().unwrap().to_vec();
            head[20] ^= 1;
            meta.insert("base", head).unwrap();
        }),
    ];
    let dir = filled(100);
    compacted(dir.path(), 80);
    for (words, change) in changes {
        let copy = copied(dir.path());
        let db = ::sled::Config::new().path(copy.path().join("log")).segment_size(512 << 10);
        let db = db.open().unwrap();
        change(&db);
        db.flush().unwrap();
        drop(db);
        let Err(Error::Damaged { damage, .. }) = open(copy.path()) else { panic!("opened") };
        let source = std::error::Error::source(&damage).map(ToString::to_string);
        assert!(source.clone().unwrap().contains(words), "{source:?}");
    }
}

#[test]
fn the_end_of_a_compacted_log_may_be_given_up() {
    let dir = filled(2_000);
    compacted(dir.path(), 1_000);
    let (mut log, _) = open(dir.path()).unwrap();
    for first in (2_001..4_000).step_by(100) {
        log.append(&records(first..=first + 99)).unwrap();
    }
    drop(log);
    let length = fs::metadata(dir.path().join("log/db")).unwrap().len();
    let (mut rests, mut nothings) = (0, 0);
    for left in 1..12 {
        let copy = copied(dir.path());
        let db = fs::File::options().write(true).open(copy.path().join("log/db")).unwrap();
        db.set_len(length * left / 12).unwrap();
        let Err(error) = open(copy.path()) else { panic!("opened with {left} parts") };
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
        let (mut log, found) = open_with(copy.path(), accepting()).unwrap();
        let last = log.last().0;
        // With nothing of the state nothing is left at all, and records begin anew.
        let (first, count) = if last == 0 { (1, &mut nothings) } else { (1_000, &mut rests) };
        *count += 1;
        assert_eq!(found, records(first..=last), "{left} parts");
        log.append(&records(last + 1..=last + 5)).unwrap();
        holds(&*log.reader(), first, last + 5);
        drop(log);
        assert_eq!(open(copy.path()).unwrap().0.last(), Lsn(last + 5));
    }
    assert!(rests > 2 && nothings > 0);
}

#[test]
fn what_was_kept_is_nothing_without_the_state() {
    let dir = filled(100);
    compacted(dir.path(), 80);
    tamper(&dir, |db, events| {
        db.open_tree("meta").unwrap().remove("base").unwrap();
        events.clear().unwrap();
    });
    let (log, found) = open_with(dir.path(), accepting()).unwrap();
    assert!(found.is_empty());
    holds(&*log.reader(), 1, 0);
}

#[test]
fn space_is_given_back() {
    let dir = filled_with_much();
    let before = used(dir.path());
    compacted(dir.path(), 4_900);
    let (log, _) = open(dir.path()).unwrap();
    let after = used(dir.path());
    // A third of the records stays.
    assert!(after * 3 < before * 2, "{before} bytes before, {after} after");
    assert!(log.reader().disk_bytes() <= after);
}

fn filled_with_much() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    for batch in (1..=5_000).map(|lsn| record(lsn, 1_500)).collect::<Vec<_>>().chunks(500) {
        log.append(batch).unwrap();
    }
    dir
}

/// What the file system says it takes.
fn used(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(path.join("log")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}
