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

/// Log files, one of each schema: a `MessagePack` array of the values, whose LSNs count from 1.
const INITIAL: &[u8] = include_bytes!("../migrations/0001_initial/fixture.msgpack");
const QUEUES: &[u8] = include_bytes!("../migrations/0002_queues/fixture.msgpack");
const RECORDINGS: &[u8] = include_bytes!("../migrations/0003_recordings/fixture.msgpack");
const ALL: [&[u8]; 3] = [INITIAL, QUEUES, RECORDINGS];

fn values(file: &[u8]) -> Vec<Vec<u8>> {
    let values: Vec<serde_bytes::ByteBuf> = rmp_serde::from_slice(file).unwrap();
    values.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()
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

#[test]
fn the_log_has_every_kind_of_event() {
    let mut missing: Vec<usize> = (0..KINDS).collect();
    for record in decode(&values(RECORDINGS)) {
        missing.retain(|known| *known != kind(&record.event));
    }
    assert_eq!(missing, [0; 0]);
}
