//! Logs of every schema there was can be read, and today's is written as it was.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/samples.rs"]
mod samples;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use kinds::{KINDS, kind};
use ledgerun::domain::{ContentHash, Lsn, Record};
use ledgerun::eventlog::codec::{self, Chain, Encoder};
use ledgerun::eventlog::{Adopted, DataDir, EventLog, OpenOptions, Rewrite, SledLog};
use serde_bytes::ByteBuf;

/// Log files, one of each schema: a `MessagePack` array of the values, whose LSNs count from 1.
const INITIAL: &[u8] = include_bytes!("../migrations/0001_initial/fixture.msgpack");
const QUEUES: &[u8] = include_bytes!("../migrations/0002_queues/fixture.msgpack");
const RECORDINGS: &[u8] = include_bytes!("../migrations/0003_recordings/fixture.msgpack");
const ALL: [&[u8]; 3] = [INITIAL, QUEUES, RECORDINGS];

fn values(file: &[u8]) -> Vec<Vec<u8>> {
    let values: Vec<ByteBuf> = rmp_serde::from_slice(file).unwrap();
    values.into_iter().map(ByteBuf::into_vec).collect()
}

/// Decodes a log and checks its chain.
fn decode(values: &[Vec<u8>]) -> Vec<Record> {
    let mut chain = Chain::START;
    let decoded = (1..).zip(values).map(|(lsn, value)| {
        let (record, after) = codec::decode(Lsn(lsn), value).unwrap();
        assert_eq!(after, chain, "record {lsn}");
        chain = Chain::of(Lsn(lsn), value);
        record
    });
    decoded.collect()
}

fn encode(records: &[Record]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::default();
    let mut chain = Chain::START;
    let values = records.iter().map(|record| {
        let (value, next) = encoder.encode(record, chain).unwrap();
        chain = next;
        value.to_vec()
    });
    values.collect()
}

/// Opens the log below `path`, and gives the records it found.
fn open(path: &Path) -> (SledLog, Vec<Record>) {
    let data = Arc::new(DataDir::lock(path).unwrap());
    let mut found = Vec::new();
    let log = SledLog::open(&data, OpenOptions::default(), |record| {
        found.push(record);
        Ok::<_, String>(())
    });
    (log.unwrap(), found)
}

/// Whether the log below `path` holds the first of the samples, and takes another record. How many it held.
fn goes_on(path: &Path) -> usize {
    let (mut log, found) = open(path);
    assert_eq!(found, samples::records()[..found.len()]);
    let next = Record { lsn: log.last().next(), ..found[0].clone() };
    log.append(std::slice::from_ref(&next)).unwrap();
    drop(log);
    assert_eq!(open(path).1.last(), Some(&next));
    found.len()
}

#[test]
fn every_log_is_still_read() {
    for file in ALL {
        let read = decode(&values(file));
        assert_eq!(read, samples::records()[..read.len()]);
    }
    let newest = decode(&values(RECORDINGS));
    // For people, and so that a change of the names in JSON is noticed too.
    insta::assert_snapshot!(serde_json::to_string_pretty(&newest).unwrap());
    assert_eq!(newest, samples::records());
}

#[test]
fn the_same_records_give_the_same_bytes() {
    for file in ALL {
        let today = encode(&samples::records());
        for (lsn, (old, new)) in (1..).zip(values(file).iter().zip(today)) {
            assert_eq!(hex::encode(old), hex::encode(new), "record {lsn}");
        }
    }
}

#[test]
fn an_old_log_lives_in_a_database_of_today() {
    let dir = tempfile::tempdir().unwrap();
    let old = decode(&values(INITIAL));
    open(dir.path()).0.append(&old).unwrap();
    assert_eq!(open(dir.path()).1, old);
}

/// Of schema 4 on, a fixture is the entries of the tree themselves, each with its key.
const FRAMES: &[u8] = include_bytes!("../migrations/0004_frames/fixture.msgpack");

#[test]
fn a_log_of_frames_is_still_read_and_goes_on() {
    let entries: Vec<(ByteBuf, ByteBuf)> = rmp_serde::from_slice(FRAMES).unwrap();
    let dir = tempfile::tempdir().unwrap();
    {
        let db = sled::open(dir.path().join("log")).unwrap();
        db.open_tree("meta").unwrap().insert("schema", &4_u32.to_be_bytes()).unwrap();
        let events = db.open_tree("events").unwrap();
        for (key, value) in &entries {
            events.insert(key, value.as_slice()).unwrap();
        }
        db.flush().unwrap();
    }
    assert!(entries.len() < goes_on(dir.path()) / 2, "most lie in frames");
}

/// Of schema 5 on, a fixture is the trees themselves, each as its entries.
const COMPACTION: &[u8] = include_bytes!("../migrations/0005_compaction/fixture.msgpack");
const PACKED: &[u8] = include_bytes!("../migrations/0006_packed_frames/fixture.msgpack");
const JOURNALED: &[u8] = include_bytes!("../migrations/0007_journal/fixture.msgpack");

/// The beginning of a journal with records that no database had.
const JOURNAL: &[u8] = include_bytes!("../migrations/0007_journal/journal");

type Trees = BTreeMap<String, Vec<(ByteBuf, ByteBuf)>>;

/// The first record that was not folded, and the state that the others were folded into.
const FIRST: Lsn = Lsn(30);
const STATE: &[u8] = b"the views know what this is";

/// A log of all samples, compacted: of the oldest records every other one is kept.
fn compact(path: &Path) {
    let (mut log, _) = open(path);
    let data = log.dir().unwrap();
    log.append(&samples::records()).unwrap();
    let (old, end) = (log.reader(), Lsn(FIRST.0 - 1));
    let chain = Chain::of(end, &old.value(end).unwrap().unwrap());
    let mut next = Rewrite::begin(&data, end, chain).unwrap();
    next.body().write_all(STATE).unwrap();
    for value in old.scan_values(Lsn(1), end).step_by(2) {
        let (lsn, value) = value.unwrap();
        next.keep(lsn, &value).unwrap();
    }
    next.seal(1, ContentHash::of(STATE)).unwrap();
    next.copy(&*old, log.last()).unwrap();
    assert!(matches!(log.adopt(next).unwrap(), Adopted::Done(_)));
}

fn trees(path: &Path) -> Trees {
    let db = sled::Config::new().path(path.join("log")).segment_size(512 << 10).open().unwrap();
    let entries = |name: &str| {
        let entries = db.open_tree(name).unwrap();
        let entries = entries.iter().map(Result::unwrap);
        entries.map(|(key, value)| (bytes(&key), bytes(&value))).collect()
    };
    let bytes_of = ["meta", "base", "kept", "events"];
    bytes_of.into_iter().map(|name| (name.to_owned(), entries(name))).collect()
}

fn bytes(bytes: &[u8]) -> ByteBuf {
    ByteBuf::from(bytes.to_vec())
}

#[test]
fn a_compacted_log_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    compact(dir.path());
    let fixture: Trees = rmp_serde::from_slice(JOURNALED).unwrap();
    let today = trees(dir.path());
    for (name, entries) in &fixture {
        assert_eq!(&today[name], entries, "tree {name}");
    }
}

#[test]
fn a_compacted_log_is_still_read_and_goes_on() {
    for fixture in [COMPACTION, PACKED, JOURNALED] {
        check_compacted(&rmp_serde::from_slice(fixture).unwrap());
    }
}

fn check_compacted(fixture: &Trees) {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = sled::open(dir.path().join("log")).unwrap();
        for (name, entries) in fixture {
            let tree = db.open_tree(name).unwrap();
            for (key, value) in entries {
                tree.insert(key, value.as_slice()).unwrap();
            }
        }
        db.flush().unwrap();
    }
    let (mut log, found) = open(dir.path());
    let all = samples::records();
    let (folded, left) = all.split_at(usize::try_from(FIRST.0).unwrap() - 1);
    assert_eq!(found, left[..found.len()]);
    let reader = log.reader();
    for (index, record) in folded.iter().enumerate() {
        let kept = (index % 2 == 0).then(|| record.clone());
        assert_eq!(reader.get(record.lsn).unwrap(), kept);
    }
    let mut state = Vec::new();
    reader.base_body().read_to_end(&mut state).unwrap();
    assert_eq!(state, STATE);
    let base = reader.base().unwrap();
    assert_eq!((base.layout, base.digest, reader.first()), (1, ContentHash::of(STATE), FIRST));
    let next = Record { lsn: log.last().next(), ..found[0].clone() };
    log.append(std::slice::from_ref(&next)).unwrap();
    assert_eq!(reader.get(next.lsn).unwrap(), Some(next));
}

#[test]
fn a_journal_is_still_read_and_its_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("journal"), JOURNAL).unwrap();
    assert!(goes_on(dir.path()) > 40);
}

#[test]
fn the_log_has_every_kind_of_event() {
    let mut missing: Vec<usize> = (0..KINDS).collect();
    for record in decode(&values(RECORDINGS)) {
        missing.retain(|known| *known != kind(&record.event));
    }
    assert_eq!(missing, [0; 0]);
}
