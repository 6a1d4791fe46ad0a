//! What holds for every recording.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

use ledgerun::chunks::{Options, Store};
use ledgerun::domain::{ChunkId, Event, JobState, Lsn, Outcome, Record};
use ledgerun::replay::archive::{self, Archive, Encoder, Item, Reader, verify};
use ledgerun::replay::export;
use ledgerun::replay::source::{Imported, Live, Recording};
use proptest::prelude::*;

use super::world::{Step, World, steps};

/// An archive that is read and written again, entry by entry.
pub(crate) fn rewritten(bytes: &[u8]) -> Vec<u8> {
    let mut reader = Reader::open(bytes).unwrap();
    let mut encoder = Encoder::new(Vec::new(), reader.head()).unwrap();
    while let Some(item) = reader.advance().unwrap() {
        match item {
            Item::Log { value, .. } => encoder.log(value).unwrap(),
            Item::Context { lsn, value } => encoder.context(lsn, value).unwrap(),
            Item::Chunk { chunk, bytes } => encoder.chunk(&chunk, bytes).unwrap(),
            Item::Data(data) => encoder.data(data).unwrap(),
        }
    }
    encoder.finish().unwrap()
}

/// Everything a recording gives, whatever it is read from.
type All = (Vec<Record>, Vec<(Lsn, JobState, Lsn)>, BTreeMap<ChunkId, Option<Vec<u8>>>);

fn all(recording: &dyn Recording, chunks: &[ChunkId]) -> All {
    let records: Vec<Record> = recording.records().map(|record| record.unwrap()).collect();
    assert!(records.is_sorted_by(|a, b| a.lsn < b.lsn), "records are out of order");
    for record in &records {
        assert_eq!(recording.record(record.lsn).unwrap().as_ref(), Some(record));
    }
    for beyond in [Lsn(0), Lsn(records.last().unwrap().lsn.0 + 1), Lsn(u64::MAX)] {
        assert_eq!(recording.record(beyond).unwrap(), None);
    }
    let recorded = recording.recorded().unwrap();
    let jobs = recorded.jobs().iter().map(|job| (job.lsn, job.state, job.end)).collect();
    let content = |chunk| {
        let mut bytes = Vec::new();
        let mut reader = recording.chunk(chunk).unwrap()?;
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(recording.chunk_bytes(chunk).unwrap(), Some(bytes.len() as u64));
        Some(bytes)
    };
    let chunks = chunks.iter().map(|chunk| (*chunk, content(chunk))).collect();
    (records, jobs, chunks)
}

/// Takes an archive in as an import does, and opens it.
fn import(store: &Store, bytes: &[u8]) -> ChunkId {
    let summary = verify(bytes, &mut |_| {}).unwrap();
    let skeleton = &bytes[..usize::try_from(summary.skeleton_bytes).unwrap()];
    let file = Archive::open(Mutex::new(Cursor::new(bytes.to_vec()))).unwrap();
    for entry in file.chunks() {
        let entry = entry.unwrap();
        if entry.bytes.is_some() {
            let mut content = Vec::new();
            file.content(&entry).read_to_end(&mut content).unwrap();
            store.put(entry.chunk, &content).unwrap();
        }
    }
    store.put_unnamed(skeleton).unwrap()
}

fn check(world: &World, recording: Lsn) {
    let bytes = world.export(recording);
    assert!(rewritten(&bytes) == bytes, "reading and writing changes the archive");

    let summary = verify(bytes.as_slice(), &mut |_| {}).unwrap();
    let range = world.range(recording);
    assert_eq!((summary.head.start, summary.head.stop), (range.start, range.stop));
    assert_eq!(summary.file_bytes, bytes.len() as u64);
    let size = export::measure(&*world.reader(), &world.store, range, &world.published.views);
    let (size, _) = size.unwrap();
    assert_eq!((summary.jobs, summary.chunks, summary.bytes), (size.jobs, size.chunks, size.bytes));

    let file = Archive::open(Mutex::new(Cursor::new(bytes.clone()))).unwrap();
    let chunks: Vec<ChunkId> = file.chunks().map(|entry| entry.unwrap().chunk).collect();
    assert_eq!(chunks.len() as u64, summary.chunks);

    let elsewhere = tempfile::tempdir().unwrap();
    let store = Store::open(elsewhere.path(), Options::default()).unwrap();
    let skeleton = import(&store, &bytes);
    let imported = Imported::open(store.clone(), &skeleton).unwrap();
    let live = Live::open(world.reader(), world.store.clone(), range, &world.published.views);
    let told = all(&live.unwrap().0, &chunks);
    assert_eq!(all(&file, &chunks), told);
    assert_eq!(all(&imported, &chunks), told);

    let mut again = Vec::new();
    export::imported(&store, &skeleton, &mut again).unwrap();
    assert!(again == bytes, "an imported recording exports to other bytes");
    check_ends(world, &told, range.stop);
}

/// Every job's end is the one that the service saw, and has what belongs to it.
fn check_ends(world: &World, (records, jobs, _): &All, stop: Lsn) {
    let by_lsn: BTreeMap<Lsn, &Event> = records.iter().map(|r| (r.lsn, &r.event)).collect();
    for (lsn, state, end) in jobs {
        assert!(state.is_final(), "job {lsn} of a complete recording is {state}");
        let completes = matches!(
            by_lsn[end],
            Event::AttemptFinished { outcome: Outcome::Completed { .. }, .. }
        );
        assert_eq!(completes, *state == JobState::Completed, "job {lsn} ended by {end}");
        // What happened to it after the recording was complete is not told.
        if let Some(row) = world.published.views.job(*lsn)
            && !world.log.live().iter().any(|record| {
                record.lsn > stop
                    && matches!(record.event, Event::JobRescheduled { job, .. } if job == *lsn)
            })
        {
            assert_eq!(row.state, *state, "job {lsn}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_recording_is_told_the_same_from_everywhere(
        before in steps(0..40),
        during in steps(0..80),
        after in steps(0..40),
    ) {
        let mut world = World::new();
        let play = |world: &mut World, steps: &[Step]| steps.iter().for_each(|step| world.step(step));
        play(&mut world, &before);
        let recording = world.start((before.len() % 2 == 0).then_some("random"));
        play(&mut world, &during);
        world.stop();
        play(&mut world, &after);
        world.settle();
        let early = world.export(recording);
        check(&world, recording);
        play(&mut world, &before);
        prop_assert!(world.export(recording) == early, "what comes later changes the archive");
    }
}

#[test]
fn the_sample_has_something_of_everything() {
    let (world, recording) = World::sample();
    check(&world, recording);
    let bytes = world.export(recording);
    let summary = verify(bytes.as_slice(), &mut |_| {}).unwrap();
    assert!(summary.missing > 0 && summary.chunks > summary.missing && summary.jobs > 20);
    let mut reader = Reader::open(bytes.as_slice()).unwrap();
    let (mut before, mut after) = (0, 0);
    while let Some(item) = reader.advance().unwrap() {
        if let Item::Context { lsn, .. } = item {
            if lsn < summary.head.start { before += 1 } else { after += 1 }
        }
    }
    assert!(before > 3, "{before} records from before");
    assert!(after > 2, "{after} records from after");
    assert_eq!(summary.workers.len(), 2);
    let error = archive::Archive::open(Mutex::new(Cursor::new(&bytes[..100]))).unwrap_err();
    assert!(error.to_string().contains("byte"), "{error}");
}
