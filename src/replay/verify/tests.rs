use bytes::Bytes;

use super::*;
use crate::domain::event::Event;
use crate::domain::{Cause, Guid, Host, ObjectRef, QueueId, Record, Timestamp, WorkerId};
use crate::eventlog::Value;
use crate::eventlog::codec::{self, Chain};

const DESCRIPTOR: &[u8] = b"not even an object";

/// A log of values as they are. The second fold reads `again` of them.
#[derive(Clone)]
struct Values {
    values: Vec<(Lsn, Bytes)>,
    again: usize,
}

impl LogReader for Values {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, eventlog::Error> {
        self.scan(lsn, lsn).next().transpose()
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, eventlog::Error>> + Send + '_> {
        let wanted = self.values.iter().take(self.again);
        let wanted = wanted.filter(move |(lsn, _)| (from..=to).contains(lsn));
        Box::new(wanted.map(|(lsn, value)| Ok(codec::decode(*lsn, value).unwrap().0)))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        let wanted = self.values.iter().filter(move |(lsn, _)| (from..=to).contains(lsn));
        Box::new(wanted.cloned().map(Ok))
    }

    fn first(&self) -> Lsn {
        Lsn::FIRST
    }

    fn pinned(&self) -> std::sync::Arc<dyn LogReader> {
        std::sync::Arc::new(self.clone())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn queue(number: u32) -> Event {
    Event::QueueCreated {
        queue: QueueId::new(number).unwrap(),
        token: None,
        name: None,
        metadata: None,
        retries_max: None,
        expire_after: None,
        max_running: None,
    }
}

/// A log of two queues, a worker whose descriptor is a chunk, and a queue.
fn log() -> (Values, Published) {
    let worker = Event::WorkerRegistered {
        worker: WorkerId::of(b"worker"),
        descriptor: ObjectRef::Chunk(ChunkId::of(DESCRIPTOR)),
        name: "worker".into(),
        host: Host::Linux,
        build_system: Guid::default(),
        functions: Vec::new(),
    };
    let mut state = Published::default();
    let mut chain = Chain::START;
    let mut encoder = codec::Encoder::default();
    let mut values = Vec::new();
    for event in [queue(1), queue(2), worker, queue(3)] {
        let record = state.views.stamp(Timestamp(7), Cause::UNKNOWN, event);
        state.apply(&record).unwrap();
        let (value, after) = encoder.encode(&record, chain).unwrap();
        values.push((record.lsn, Bytes::copy_from_slice(value)));
        chain = after;
    }
    (Values { values, again: usize::MAX }, state)
}

fn kinds(
    log: &Values,
    store: &Store,
    live: Option<&Published>,
) -> Vec<(&'static str, Option<u64>)> {
    let report = verify(log, store, Lsn(4), live, &mut |_| true).unwrap();
    assert_eq!(report.good, report.problems.is_empty());
    assert_eq!(report.problems_count, report.problems.len() as u64);
    report.problems.iter().map(|problem| (problem.kind, problem.lsn.map(|lsn| lsn.0))).collect()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), chunks::Options::default()).unwrap();
    store.put(ChunkId::of(DESCRIPTOR), DESCRIPTOR).unwrap();
    (dir, store)
}

#[test]
fn a_sound_instance_is_good() {
    let (_dir, store) = store();
    let (log, state) = log();
    let mut told = Vec::new();
    let report = verify(&log, &store, Lsn(4), Some(&state), &mut |progress| {
        told.push((progress.phase, progress.done, progress.total));
        true
    });
    let report = report.unwrap();
    assert!(report.good && report.problems.is_empty(), "{report:?}");
    assert_eq!((report.records, report.digest), (4, Some(state.digest())));
    assert_eq!((report.chunks, report.bytes), (1, DESCRIPTOR.len() as u64));
    let steps = [(Phase::FirstFold, 4), (Phase::SecondFold, 4), (Phase::Chunks, 1)];
    let steps: Vec<_> =
        steps.iter().flat_map(|(phase, n)| [(*phase, 0, *n), (*phase, *n, *n)]).collect();
    assert_eq!(told, steps);
}

#[test]
fn every_damage_is_told_with_its_place() {
    let (_dir, store) = store();
    let (sound, state) = log();

    let mut gap = sound.clone();
    gap.values.remove(1);
    assert_eq!(kinds(&gap, &store, None), [("gap", Some(2)), ("fold", Some(3))]);
    let mut short = sound.clone();
    short.values.pop();
    assert_eq!(kinds(&short, &store, None), [("gap", Some(4))]);

    // Another record in the middle, which is readable and can have happened.
    let mut other = sound.clone();
    let (record, after) = codec::decode(Lsn(2), &other.values[1].1).unwrap();
    let record = Record { at: Timestamp(6), ..record };
    let mut encoder = codec::Encoder::default();
    other.values[1].1 = encoder.encode(&record, after).unwrap().0.to_vec().into();
    assert_eq!(kinds(&other, &store, None), [("chain", Some(3))]);

    let mut garbled = sound.clone();
    garbled.values[2].1.truncate(20);
    assert_eq!(kinds(&garbled, &store, None), [("record", Some(3)), ("chain", Some(4))]);

    let half = Values { again: 2, ..sound.clone() };
    let report = verify(&half, &store, Lsn(4), None, &mut |_| true).unwrap();
    let text = &report.problems[0].error;
    assert!(text.starts_with("a second fold differs first in its position: "), "{text}");

    // One part of the service's own state is not what the log says.
    let mut live = Published::default();
    for record in sound.scan(Lsn(1), Lsn(3)) {
        live.apply(&record.unwrap()).unwrap();
    }
    let parts = (state.parts(), live.parts());
    let differing: Vec<&str> = (parts.0.iter().zip(&parts.1))
        .filter(|(one, other)| one != other)
        .map(|((name, _), _)| *name)
        .collect();
    assert_eq!(differing, ["position", "queues", "rest"]);
    assert_eq!(kinds(&sound, &store, Some(&live)), [("digest", None)]);

    let bare = tempfile::tempdir().unwrap();
    let bare = Store::open(bare.path(), chunks::Options::default()).unwrap();
    assert_eq!(kinds(&sound, &bare, None), [("missing_chunk", Some(3))]);
}

#[test]
fn it_stops_when_nobody_listens() {
    let (_dir, store) = store();
    let (log, _) = log();
    let stopped = verify(&log, &store, Lsn(4), None, &mut |told| told.phase != Phase::Chunks);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
}
