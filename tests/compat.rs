//! Logs of every schema there was can be read, and today's is written as it was.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/samples.rs"]
mod samples;

use std::sync::Arc;

use kinds::{KINDS, kind};
use ledgerun::domain::{Lsn, Record};
use ledgerun::eventlog::codec::{self, Chain, Encoder};
use ledgerun::eventlog::{DataDir, EventLog, OpenOptions, SledLog};
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
    let open = |found: &mut Vec<Record>| {
        let data = Arc::new(DataDir::lock(dir.path()).unwrap());
        SledLog::open(&data, OpenOptions::default(), |record| {
            found.push(record);
            Ok::<_, String>(())
        })
    };
    let old = decode(&values(INITIAL));
    open(&mut Vec::new()).unwrap().append(&old).unwrap();
    let mut found = Vec::new();
    open(&mut found).unwrap();
    assert_eq!(found, old);
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
    let open = |found: &mut Vec<Record>| {
        let data = Arc::new(DataDir::lock(dir.path()).unwrap());
        SledLog::open(&data, OpenOptions::default(), |record| {
            found.push(record);
            Ok::<_, String>(())
        })
    };
    let mut found = Vec::new();
    let mut log = open(&mut found).unwrap();
    assert_eq!(found, samples::records()[..found.len()]);
    assert!(entries.len() < found.len() / 2, "most lie in frames");
    let next = Record { lsn: log.last().next(), ..found[0].clone() };
    log.append(std::slice::from_ref(&next)).unwrap();
    drop(log);
    found.clear();
    drop(open(&mut found).unwrap());
    assert_eq!(found.last(), Some(&next));
}

#[test]
fn the_log_has_every_kind_of_event() {
    let mut missing: Vec<usize> = (0..KINDS).collect();
    for record in decode(&values(RECORDINGS)) {
        missing.retain(|known| *known != kind(&record.event));
    }
    assert_eq!(missing, [0; 0]);
}
