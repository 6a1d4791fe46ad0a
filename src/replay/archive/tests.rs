use std::io::Cursor;

use super::*;
use crate::domain::{Cause, ChunkId, Event, Record, Timestamp, WorkerId};
use crate::eventlog::codec::{self, Chain};

fn values(range: std::ops::RangeInclusive<u64>) -> Vec<(Lsn, Vec<u8>)> {
    let mut encoder = codec::Encoder::default();
    let mut chain = Chain::START;
    let mut all = Vec::new();
    for lsn in 1..=*range.end() {
        let event = Event::WorkerRetired { worker: WorkerId::of(&lsn.to_be_bytes()) };
        let record = Record {
            lsn: Lsn(lsn),
            at: Timestamp(1),
            prev: Lsn::ZERO,
            cause: Cause::UNKNOWN,
            event,
        };
        let (value, after) = encoder.encode(&record, chain).unwrap();
        all.push((Lsn(lsn), value.to_vec()));
        chain = after;
    }
    all.split_off(usize::try_from(*range.start()).unwrap() - 1)
}

#[test]
fn it_is_read_as_it_was_written() {
    let head = Head { name: Some("n".to_owned()), start: Lsn(3), stop: Lsn(2_000) };
    let all = values(1..=2_010);
    let mut encoder = Encoder::new(Vec::new(), &head).unwrap();
    for (_, value) in &all[2..2_000] {
        encoder.log(value).unwrap();
    }
    for (lsn, value) in [&all[1], &all[2_000], &all[2_001], &all[2_009]] {
        encoder.context(*lsn, value).unwrap();
    }
    encoder.chunk(&ChunkId::of(b"x"), Some(1)).unwrap();
    encoder.data(b"x").unwrap();
    let bytes = encoder.finish().unwrap();
    let mut reader = Reader::open(Cursor::new(&bytes)).unwrap();
    let mut count = 0;
    while let Some(item) = reader.advance().unwrap() {
        count += 1;
        if let Item::Log { lsn, value } = item {
            assert_eq!(value, all[usize::try_from(lsn.0).unwrap() - 1].1);
        }
    }
    assert_eq!(count, 1_998 + 4 + 2);
    assert_eq!(reader.offset(), bytes.len() as u64);
}
