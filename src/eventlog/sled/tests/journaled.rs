//! What a crash kept the database from, and what the journal makes up for.

use super::*;

/// A copy of the log's database, for [`put_back`].
fn kept_database(dir: &Path) -> tempfile::TempDir {
    let kept = tempfile::tempdir().unwrap();
    copy(&dir.join("log"), kept.path());
    kept
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The database as it was when it was copied: what came later it did not write down.
fn put_back(kept: &tempfile::TempDir, dir: &Path) {
    fs::remove_dir_all(dir.join("log")).unwrap();
    fs::create_dir(dir.join("log")).unwrap();
    copy(kept.path(), &dir.join("log"));
}

fn append(path: &Path, lsns: std::ops::RangeInclusive<u64>, batch: usize) {
    let (mut log, _) = open(path).unwrap();
    for batch in records(lsns).chunks(batch) {
        log.append(batch).unwrap();
    }
    // As at a kill: nothing is settled.
}

#[test]
fn what_the_database_did_not_write_down_is_in_the_journal() {
    for batch in [1, 7, 90] {
        let dir = filled_by(10, 40);
        let kept = kept_database(dir.path());
        append(dir.path(), 41..=130, batch);
        put_back(&kept, dir.path());
        let (mut log, found) = open(dir.path()).unwrap();
        assert_eq!(found, records(1..=130));
        // It goes on from there, and the database has it all by now.
        log.append(&records(131..=140)).unwrap();
        log.sync_mark().unwrap();
        drop(log);
        assert_eq!(open(dir.path()).unwrap().1, records(1..=140));
    }
}

#[test]
fn the_journal_begins_anew_only_when_the_database_has_it_all() {
    // With the mark, and when it is full.
    let large: Vec<Record> = (11..=2_810).map(|lsn| record(lsn, 3_500)).collect();
    for first in [records(11..=60), large] {
        let dir = filled_by(10, 10);
        let (mut log, _) = open(dir.path()).unwrap();
        for part in first.chunks(50) {
            log.append(part).unwrap();
        }
        if first.len() == 50 {
            log.sync_mark().unwrap();
        }
        // As a power cut leaves it: what it was not told to write down, it didn't.
        let kept = kept_database(dir.path());
        let next = first.last().unwrap().lsn.next().0;
        log.append(&records(next..=next + 9)).unwrap();
        drop(log);
        put_back(&kept, dir.path());
        let (_, found) = open(dir.path()).unwrap();
        assert_eq!(found, [records(1..=10), first, records(next..=next + 9)].concat());
    }
}

#[test]
fn the_journal_makes_up_for_a_lost_end() {
    let dir = filled_by(10, 10);
    append(dir.path(), 11..=2_000, 10);
    let file = File::options().write(true).open(db(&dir)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 64 * 1_024).unwrap();
    let (log, found) = open(dir.path()).unwrap();
    assert_eq!(found, records(1..=2_000));
    drop(log);
    assert_eq!(open(dir.path()).unwrap().1.len(), 2_000);
}

#[test]
fn what_was_appended_in_one_piece_is_taken_from_it_in_one_piece() {
    let dir = filled_by(10, 10);
    let kept = kept_database(dir.path());
    append(dir.path(), 11..=40, 15);
    put_back(&kept, dir.path());
    // The second piece is torn.
    let journal = File::options().write(true).open(dir.path().join("journal")).unwrap();
    let first = |bytes: &[u8]| bytes.windows(8).rposition(|part| part == b"LRUNJNL1").unwrap();
    let second = first(&fs::read(dir.path().join("journal")).unwrap());
    journal.write_all_at(&[0; 50], second as u64 + 400).unwrap();
    let damage = damage_of(&dir);
    assert!(matches!(damage, Damage::LostHistory { last: Lsn(25), mark: Lsn(40) }), "{damage}");
}

#[test]
fn a_journal_of_later_records_does_not_hide_those_between() {
    let dir = filled_by(10, 20);
    let kept = kept_database(dir.path());
    append(dir.path(), 21..=30, 10);
    append(dir.path(), 31..=40, 10);
    put_back(&kept, dir.path());
    let damage = damage_of(&dir);
    assert!(matches!(damage, Damage::LostHistory { last: Lsn(20), mark: Lsn(40) }), "{damage}");
    // Those are given up, and not taken for what comes in their place.
    let (mut log, found) = open_with(dir.path(), accepting()).unwrap();
    assert_eq!(found.len(), 20);
    let others: Vec<Record> = (21..=30).map(|lsn| record(lsn, 121)).collect();
    log.append(&others).unwrap();
    drop(log);
    put_back(&kept, dir.path());
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!(found, [records(1..=20), others].concat());
}

#[test]
fn what_is_larger_than_the_journal_is_durable_all_the_same() {
    let dir = filled_by(10, 10);
    let large: Vec<Record> = (11..=2_810).map(|lsn| record(lsn, 3_500)).collect();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&large).unwrap();
    let kept = kept_database(dir.path());
    log.append(&records(2_811..=2_820)).unwrap();
    drop(log);
    put_back(&kept, dir.path());
    let (_, found) = open(dir.path()).unwrap();
    assert_eq!(found.len(), 2_820);
    assert_eq!(found[10..2_810], large);
}

#[test]
fn without_its_journal_the_log_takes_nothing() {
    let dir = filled_by(10, 10);
    let (mut log, _) = open(dir.path()).unwrap();
    fs::remove_file(dir.path().join("journal")).unwrap();
    let failed = log.append(&records(11..=12)).unwrap_err();
    assert_eq!(failed.kind(), Kind::Storage);
    assert!(matches!(log.append(&records(11..=12)).unwrap_err(), Error::Poisoned));
}
