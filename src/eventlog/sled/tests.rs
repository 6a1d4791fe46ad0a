//! The log against real files, good and damaged.

mod journaled;
mod rewriting;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::codec::{Chain, Encoder};
use super::super::{Damage, DataDir, Error, EventLog, Kind};
use super::{OpenOptions, Records, SledLog};
use crate::domain::object::Blob;
use crate::domain::record::RECORD_BYTES_MAX;
use crate::domain::{ActionId, Cause, Event, Lsn, ObjectRef, Record, Run, Timestamp, WorkerId};

mod resumed;

/// Its object is noise, which doesn't pack.
fn record(lsn: u64, bytes: usize) -> Record {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&lsn.to_be_bytes()).finalize_xof().fill(&mut noise);
    let event = Event::JobSubmitted {
        worker: WorkerId::of(b"worker"),
        action: ActionId::of(&lsn.to_be_bytes()),
        function: "compile".to_owned(),
        object: ObjectRef::Inline(Blob(noise.into())),
        priority: 2,
        queue: None,
        retries_max: 3,
        run: Run::Opens,
        recorded: None,
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
    filled_by(10, count)
}

/// Its journal is empty, as after a clean stop.
fn filled_by(batch: usize, count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, found) = open(dir.path()).unwrap();
    assert!(found.is_empty() && log.last() == Lsn::ZERO);
    for batch in records(1..=count).chunks(batch) {
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

#[test]
fn refusals_write_nothing_and_the_log_goes_on() {
    let dir = filled(3);
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&[]).unwrap();
    let gap = log.append(&[record(4, 1), record(6, 1)]).unwrap_err();
    assert!(matches!(gap, Error::OutOfOrder { lsn: Lsn(6), expected: Lsn(5) }));
    let large = log.append(&[record(4, 1), record(5, RECORD_BYTES_MAX)]).unwrap_err();
    assert_eq!((gap.kind(), large.kind()), (Kind::Refused, Kind::Refused));
    assert_eq!(log.reader().get(Lsn(4)).unwrap(), None);
    log.append(&records(4..=5)).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).unwrap().1, records(1..=5));
}

#[test]
fn one_process_at_a_time() {
    let dir = filled(1);
    let (log, _) = open(dir.path()).unwrap();
    assert_eq!(open(dir.path()).err().unwrap().kind(), Kind::InUse);
    // A reader keeps the database open, so it keeps the directory too.
    let reader = log.reader();
    drop(log);
    assert_eq!(open(dir.path()).err().unwrap().kind(), Kind::InUse);
    drop(reader);
    open(dir.path()).unwrap();
}

#[test]
fn records_of_any_size_leave_no_blob_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    let overhead = {
        let mut encoder = Encoder::default();
        encoder.encode(&record(1, 3_000), Chain::START).unwrap().0.len() - 3_000
    };
    // Enough for sled to consolidate its pages many times.
    for batch in (1..=3_000).collect::<Vec<u64>>().chunks(100) {
        let batch: Vec<Record> =
            batch.iter().map(|lsn| record(*lsn, RECORD_BYTES_MAX - overhead - 8)).collect();
        log.append(&batch).unwrap();
    }
    drop(log);
    let (log, found) = open(dir.path()).unwrap();
    assert_eq!(found.len(), 3_000);
    assert_eq!(fs::read_dir(dir.path().join("log/blobs")).unwrap().count(), 0);
    assert!(log.reader().disk_bytes() > 3_000 * 4_000);
}

// Damage.

fn db(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("log/db")
}

fn damage_of(dir: &tempfile::TempDir) -> Damage {
    match open(dir.path()) {
        Err(Error::Damaged { damage, .. }) => damage,
        Err(other) => panic!("not damage: {other}"),
        Ok((log, _)) => panic!("opened, with {} records", log.last()),
    }
}

/// Changes the log behind its back.
fn tamper(dir: &tempfile::TempDir, change: impl FnOnce(&::sled::Db, &::sled::Tree)) {
    let config = ::sled::Config::new().path(dir.path().join("log"));
    // Another test's child may hold the lock for a moment.
    let db = crate::durable::open_unlocked(|| config.open()).unwrap();
    change(&db, &db.open_tree("events").unwrap());
    db.flush().unwrap();
}

fn accepting() -> OpenOptions {
    OpenOptions { accept_lost_history: true }
}

#[test]
fn a_cut_tail_is_lost_history_that_only_the_operator_may_accept() {
    let dir = filled(2_000);
    let file = File::options().write(true).open(db(&dir)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 64 * 1_024).unwrap();
    let refused = open(dir.path()).err().unwrap();
    assert_eq!(refused.kind(), Kind::Damaged);
    let Error::Damaged { damage: Damage::LostHistory { last, mark }, .. } = refused else {
        panic!("{refused}")
    };
    assert!(last < mark && mark == Lsn(2_000));
    let text = refused.to_string();
    assert!(text.contains("--accept-lost-history") && text.contains("log"), "{text}");
    assert!(matches!(damage_of(&dir), Damage::LostHistory { .. }), "refused again");

    let (mut log, found) = open_with(dir.path(), accepting()).unwrap();
    assert_eq!(found, records(1..=last.0));
    log.append(&[record(last.0 + 1, 50)]).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).unwrap().0.last(), last.next());
}

#[test]
fn a_log_that_is_gone_is_lost_history() {
    let dir = filled(20);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    assert!(matches!(damage_of(&dir), Damage::LostHistory { last: Lsn::ZERO, mark: Lsn(20) }));
}

#[test]
fn flipped_bytes_never_pass_and_never_panic() {
    let template = filled(600);
    let length = fs::metadata(db(&template)).unwrap().len();
    for step in 0..12 {
        let dir = filled(600);
        let at = 16 + step * (length - 64) / 12;
        let file = File::options().read(true).write(true).open(db(&dir)).unwrap();
        let mut bytes = [0; 32];
        file.read_exact_at(&mut bytes, at).unwrap();
        file.write_all_at(&bytes.map(|byte| byte ^ 0x5a), at).unwrap();
        match open(dir.path()) {
            // It hit a place that is no longer used.
            Ok((_, found)) => assert_eq!(found, records(1..=600), "at {at}"),
            Err(error) => assert_eq!(error.kind(), Kind::Damaged, "at {at}: {error}"),
        }
    }
}

#[test]
fn gaps_and_strange_keys_are_found() {
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| drop(events.remove(Lsn(17).to_key()).unwrap()));
    assert!(matches!(damage_of(&dir), Damage::Gap { expected: Lsn(17), found: Lsn(18) }));
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| drop(events.insert([0, 1], "x").unwrap()));
    assert!(matches!(damage_of(&dir), Damage::Key(2)));
}

#[test]
fn records_lie_in_frames_that_are_found_by_their_first() {
    let dir = filled_by(100, 400);
    tamper(&dir, |_, events| assert!(events.iter().count() <= 32, "about 16 in each"));
    let (log, found) = open(dir.path()).unwrap();
    assert_eq!(found, records(1..=400));
    let reader = log.reader();
    for record in records(1..=400) {
        assert_eq!(reader.get(record.lsn).unwrap(), Some(record.clone()));
        let scanned: Vec<Record> =
            reader.scan(record.lsn, Lsn(record.lsn.0 + 20)).map(Result::unwrap).collect();
        assert_eq!(scanned, records(record.lsn.0..=400.min(record.lsn.0 + 20)));
    }
    assert_eq!(reader.get(Lsn(401)).unwrap(), None);
    assert_eq!(reader.get(Lsn::ZERO).unwrap(), None);
    assert_eq!(reader.scan(Lsn(401), Lsn(500)).count(), 0);
}

/// Exchanges the frame of the records 11 to 20.
fn reframed(change: impl FnOnce(&[u8]) -> Vec<u8>) -> tempfile::TempDir {
    let dir = filled(30);
    tamper(&dir, |_, events| {
        let frame = events.get(Lsn(11).to_key()).unwrap().unwrap();
        events.insert(Lsn(11).to_key(), change(&frame)).unwrap();
    });
    dir
}

/// The values of the records in `frame`, each behind its length, as a frame that isn't packed.
fn plain(frame: &[u8]) -> Vec<u8> {
    let values = Records::of(Lsn(11), frame.to_vec().into()).map(|record| record.unwrap().1);
    let lengths = |value: &[u8]| u16::try_from(value.len()).unwrap().to_be_bytes();
    let values = values.flat_map(|value| [&lengths(&value), &value[..]].concat());
    [2].into_iter().chain(values).collect()
}

#[test]
fn a_damaged_frame_is_named_by_the_record_it_breaks_off_at() {
    let told = |dir: &tempfile::TempDir| {
        let damage = damage_of(dir);
        let source = std::error::Error::source(&damage).unwrap().to_string();
        (damage.to_string(), source)
    };
    let (damage, source) = told(&reframed(|frame| frame[..frame.len() - 1].to_vec()));
    assert_eq!(damage, "record 11 is not readable");
    assert!(source.contains("can't be unpacked"), "{source}");
    let cut = |by: usize| {
        reframed(|frame| {
            let frame = plain(frame);
            frame[..frame.len() - by].to_vec()
        })
    };
    assert_eq!(open(cut(0).path()).unwrap().1, records(1..=30));
    let (damage, source) = told(&cut(1));
    assert_eq!(damage, "record 20 is not readable");
    assert!(source.contains("breaks off at byte"), "{source}");
    // A frame that ends earlier, but whole, is a gap.
    let value = {
        let mut encoder = Encoder::default();
        encoder.encode(&record(20, 120), Chain::START).unwrap().0.len()
    };
    assert!(matches!(
        damage_of(&cut(value + 2)),
        Damage::Gap { expected: Lsn(20), found: Lsn(21) }
    ));
}

#[test]
fn an_exchanged_record_breaks_the_chain() {
    // In the middle the record after it notices.
    let dir = filled_by(1, 30);
    let mut encoder = Encoder::default();
    tamper(&dir, |_, events| {
        let value = events.get(Lsn(9).to_key()).unwrap().unwrap();
        let after = Chain(value[1..9].try_into().unwrap());
        let (forged, _) = encoder.encode(&record(9, 7), after).unwrap();
        events.insert(Lsn(9).to_key(), forged).unwrap();
    });
    assert!(matches!(damage_of(&dir), Damage::Chain(Lsn(10))));
    // At the end the high-water file does.
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| {
        let value = events.get(Lsn(30).to_key()).unwrap().unwrap();
        let after = Chain(value[1..9].try_into().unwrap());
        let (forged, _) = encoder.encode(&record(30, 7), after).unwrap();
        events.insert(Lsn(30).to_key(), forged).unwrap();
    });
    assert!(matches!(damage_of(&dir), Damage::OtherHistory { lsn: Lsn(30) }));
    open_with(dir.path(), accepting()).unwrap();
    assert_eq!(open(dir.path()).unwrap().0.last(), Lsn(30));
}

#[test]
fn an_unreadable_record_is_named() {
    let dir = filled_by(1, 30);
    tamper(&dir, |_, events| drop(events.insert(Lsn(12).to_key(), &[7_u8; 40][..]).unwrap()));
    let damage = damage_of(&dir);
    assert_eq!(damage.to_string(), "record 12 is not readable");
    let source = std::error::Error::source(&damage).unwrap().to_string();
    assert_eq!(source, "codec version 7 is unknown, the newest here is 1");
}

#[test]
fn a_record_that_the_fold_rejects_ends_the_opening() {
    let dir = filled(30);
    let data = Arc::new(DataDir::lock(dir.path()).unwrap());
    let result = SledLog::open(&data, OpenOptions::default(), |record| {
        if record.lsn < Lsn(8) { Ok(()) } else { Err("no such job") }
    });
    let Err(Error::Damaged { damage: Damage::Rejected { lsn: Lsn(8), source }, .. }) = result
    else {
        panic!("opened")
    };
    assert_eq!(source.to_string(), "no such job");
}

fn snapshots(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap."))
        .collect()
}

#[test]
fn damaged_snapshots_of_the_engine_lose_nothing() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let cut = |path: &Path| fs::write(path, b"short").unwrap();
    for damage in [&flip as &dyn Fn(&Path), &cut] {
        let dir = filled(500);
        drop(open(dir.path()).unwrap());
        let found = snapshots(&dir);
        assert!(!found.is_empty(), "the engine wrote none");
        for path in &found {
            damage(path);
        }
        let plain = ::sled::Config::new().path(dir.path().join("log")).open();
        assert!(plain.is_err(), "the engine copes by itself, this guard can go");
        assert_eq!(open(dir.path()).unwrap().1, records(1..=500));
        assert_eq!(open(dir.path()).unwrap().1.len(), 500, "and it stays repaired");
    }
}

#[test]
fn a_half_written_snapshot_is_cleared_away() {
    let dir = filled(50);
    let stray = dir.path().join("log/snap.0000000000001000.generating");
    fs::write(&stray, b"half").unwrap();
    assert_eq!(open(dir.path()).unwrap().1.len(), 50);
    assert!(!stray.exists());
}

#[test]
fn a_damaged_configuration_is_damage() {
    let dir = filled(5);
    fs::write(dir.path().join("log/conf"), b"garbage that is no configuration").unwrap();
    assert!(matches!(damage_of(&dir), Damage::Database { .. }));
    let text = open(dir.path()).err().unwrap().to_string();
    assert!(text.contains(&dir.path().join("log").display().to_string()), "{text}");
    assert!(text.contains("backup"), "{text}");
}

#[test]
fn the_high_water_file_survives_a_torn_write_but_not_more() {
    let dir = filled(30);
    let path = dir.path().join("hwm");
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), 64);
    for slot in [0, 32] {
        let mut torn = good.clone();
        torn[slot + 10..slot + 20].fill(0xee);
        fs::write(&path, torn).unwrap();
        open(dir.path()).unwrap();
        fs::write(&path, &good).unwrap();
    }
    fs::write(&path, [0xee; 64]).unwrap();
    assert!(matches!(damage_of(&dir), Damage::Mark));
    fs::write(&path, b"short").unwrap();
    assert!(matches!(damage_of(&dir), Damage::Mark));
    open_with(dir.path(), accepting()).unwrap();
    // A backup of the log alone has no such file.
    fs::remove_file(&path).unwrap();
    assert_eq!(open(dir.path()).unwrap().0.last(), Lsn(30));
    assert_eq!(fs::read(&path).unwrap().len(), 64);
}

#[test]
fn a_newer_schema_is_refused_and_a_missing_one_noticed() {
    let schema = |dir: &tempfile::TempDir, value: Option<u32>| {
        tamper(dir, |db, _| {
            let meta = db.open_tree("meta").unwrap();
            match value {
                Some(value) => drop(meta.insert("schema", &value.to_be_bytes()).unwrap()),
                None => drop(meta.remove("schema").unwrap()),
            }
        });
    };
    let dir = filled(5);
    let newest = crate::eventlog::migrate::SCHEMA;
    schema(&dir, Some(newest + 1));
    let refused = open(dir.path()).err().unwrap();
    let expected = matches!(refused, Error::TooNew { found, known, .. } if (found, known) == (newest + 1, newest));
    assert!(expected, "{refused}");
    assert_eq!(refused.kind(), Kind::Damaged);
    assert!(refused.to_string().contains("newer version"), "{refused}");
    schema(&dir, None);
    assert!(matches!(damage_of(&dir), Damage::NoSchema));
    schema(&dir, Some(1));
    open(dir.path()).unwrap();
}

#[test]
fn an_interrupted_creation_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join("log.new");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("conf"), b"").unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&records(1..=2)).unwrap();
    assert!(!unfinished.exists());
}
