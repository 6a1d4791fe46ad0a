//! What a collection takes, what it leaves, and what comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;
use crate::clock::Clock;
use crate::domain::{Millis, Timestamp};

const HOUR: i64 = 3_600_000_000;

/// A clock that is set by hand, in microseconds.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_000 * HOUR)))
    }

    fn forward(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

fn hasty() -> Options {
    Options { grace: Millis(0), garbage_bytes: 64 << 10, copy_bytes_per_second: 0, ..small() }
}

fn patient() -> Options {
    Options { grace: Millis(24 * 3_600_000), ..hasty() }
}

fn open_at(dir: &Path, options: Options, clock: &Arc<Hand>) -> Store {
    Store::open_with(dir, options, Arc::<Hand>::clone(clock)).unwrap()
}

fn collect(store: &Store, live: &[ChunkId]) -> Collected {
    let live: BTreeSet<_> = live.iter().collect();
    let mark = store.begin_collection();
    store.collect(mark, &|id| live.contains(id), &|| false).unwrap()
}

#[test]
fn what_nobody_wants_goes_and_space_comes_back() {
    let hasty = || Options { group_bytes: 256 << 10, ..hasty() };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let chunks: Vec<_> = (0..24).map(|seed| content(256 << 10, seed)).collect();
    let ids: Vec<_> = chunks.iter().map(|bytes| store.put_unnamed(bytes).unwrap()).collect();
    let before = store.inner.generations.numbers().len();
    assert!(before >= 6, "{before} generations");
    // One chunk of each generation, and all of the first.
    let live = ids.iter().enumerate().filter(|(n, _)| *n < 4 || n % 4 == 0);
    let live: Vec<_> = live.map(|(_, id)| *id).collect();
    let done = collect(&store, &live);
    assert_eq!((done.chunks, done.bytes), (15, 15 * (256 << 10)));
    assert!(done.generations_dropped >= 4, "{done:?}");
    assert!(done.bytes_copied >= 4 * (256 << 10), "{done:?}");
    assert!(done.disk_after * 2 < done.disk_before, "{done:?}");
    assert_eq!(store.stats().disk_bytes, done.disk_after);
    assert_eq!(
        store.ids(),
        live.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    for (id, bytes) in ids.iter().zip(&chunks).filter(|(id, _)| live.contains(id)) {
        assert!(&bytes_of(&store, id) == bytes);
    }
    // Nothing is left to do, and nothing comes back.
    let again = collect(&store, &live);
    assert_eq!((again.chunks, again.bytes_copied, again.generations_dropped), (0, 0, 0));
    drop(store);
    let store = open(dir.path(), hasty());
    assert_eq!(store.stats().count, 9);
    for id in &store.ids() {
        store.verify(id).unwrap();
    }
    // All of it.
    let done = collect(&store, &[]);
    assert_eq!((done.chunks, store.stats().count), (9, 0));
    assert_eq!(store.inner.generations.numbers().len(), 1);
    drop(store);
    let store = open(dir.path(), hasty());
    assert_eq!(store.stats().count, 0);
    store.put(ids[0], &chunks[0]).unwrap();
    store.verify(&ids[0]).unwrap();
    assert_no_blobs(dir.path());
}

#[test]
fn small_stores_give_space_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let keep = store.put_unnamed(&content(50_000, 1)).unwrap();
    let gone = store.put_unnamed(&content(50_000, 2)).unwrap();
    let done = collect(&store, &[keep]);
    assert_eq!((done.chunks, done.generations_dropped), (1, 0), "too little to begin another one");
    store.put_unnamed(&content(50_000, 3)).unwrap();
    // What was forgotten before a restart counts as garbage afterwards.
    drop(store);
    let store = open(dir.path(), hasty());
    assert!(!store.contains(&gone), "forgotten durably");
    let done = collect(&store, &[keep]);
    assert_eq!((done.chunks, done.generations_dropped, done.bytes_copied), (1, 1, 50_000));
    assert_eq!(store.inner.generations.numbers(), [2]);
    store.verify(&keep).unwrap();
}

#[test]
fn uploads_and_wants_are_kept_for_the_grace_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::new();
    let bytes = content(10_000, 1);
    let mut store = open_at(dir.path(), patient(), &clock);
    let wanted = store.put_unnamed(&bytes).unwrap();
    let unwanted = store.put_unnamed(&content(10_000, 2)).unwrap();
    // Found present again and again, in each way, over five days; the process is killed each time.
    for round in 0..10 {
        clock.forward(14 * HOUR);
        match round % 4 {
            0 => assert_eq!(store.want(&[wanted]).unwrap().0, []),
            1 => assert_eq!(store.put(wanted, &bytes).unwrap(), Put::Held),
            2 => {
                let mut batch = store.batch();
                assert_eq!(batch.put(wanted, &bytes).unwrap(), Put::Held);
                batch.commit().unwrap();
            }
            _ => {
                let mut writer = store.writer(wanted).unwrap();
                writer.write(&bytes).unwrap();
                assert_eq!(writer.finish().unwrap(), Put::Held);
            }
        }
        clock.forward(23 * HOUR);
        drop(store);
        store = open_at(dir.path(), patient(), &clock);
        collect(&store, &[]);
        assert!(store.contains(&wanted), "round {round}");
    }
    assert!(!store.contains(&unwanted));
    // A reference keeps a chunk as well; without one it goes when its time has come.
    clock.forward(8 * HOUR);
    collect(&store, &[wanted]);
    assert!(store.contains(&wanted));
    collect(&store, &[]);
    assert!(!store.contains(&wanted));
}

#[test]
fn a_want_is_written_down_rarely() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::new();
    let store = open_at(dir.path(), patient(), &clock);
    let ids: Vec<_> = (0..20).map(|seed| store.put_unnamed(&[seed]).unwrap()).collect();
    let mut synced = 0;
    for _ in 0..24 {
        clock.forward(HOUR);
        let mut stale = Vec::new();
        assert_eq!(store.look_all(&ids, &mut stale), []);
        synced += usize::from(!stale.is_empty());
        store.touch(&stale).unwrap();
    }
    assert_eq!(synced, 3, "every seventh hour");
}

#[test]
fn what_a_dropped_generation_said_about_others_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Hand::new();
    let mut store = open_at(dir.path(), patient(), &clock);
    // The wanted chunk fills most of its generation, so that this one stays.
    let wanted = store.put_unnamed(&content(1 << 20, 1)).unwrap();
    clock.forward(20 * HOUR);
    let garbage = store.put_unnamed(&content(100 << 10, 2)).unwrap();
    assert_eq!(store.inner.generations.numbers(), [1, 2]);
    drop(store.want(&[wanted]).unwrap());
    clock.forward(31 * HOUR);
    drop(store.want(&[wanted]).unwrap());
    // The second want was written into the generation that goes now.
    let done = collect(&store, &[]);
    assert_eq!((done.chunks, done.generations_dropped), (1, 1), "{done:?}");
    assert!(!store.contains(&garbage));
    assert_eq!(store.inner.generations.numbers(), [1, 3]);
    drop(store);
    clock.forward(29 * HOUR);
    store = open_at(dir.path(), patient(), &clock);
    collect(&store, &[]);
    assert!(store.contains(&wanted), "29 hours after a want at a grace of 24, up to 30");
    clock.forward(2 * HOUR);
    collect(&store, &[]);
    assert!(!store.contains(&wanted));
}

#[test]
fn holds_readers_and_uploads_keep_what_they_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let bytes = content(200_000, 1);
    let id = store.put_unnamed(&bytes).unwrap();
    // Found present under a hold, which outlives the beginning of the collection but not its end.
    let (missing, hold) = store.want(&[id]).unwrap();
    assert_eq!(missing, []);
    let mark = store.begin_collection();
    drop(hold);
    store.collect(mark, &|_| false, &|| false).unwrap();
    assert!(store.contains(&id), "held at the beginning");
    // Used after the beginning.
    let mark = store.begin_collection();
    drop(store.want(&[id]).unwrap());
    store.collect(mark, &|_| false, &|| false).unwrap();
    assert!(store.contains(&id), "used after the beginning");
    // Being read, half-way, over several collections.
    let mut reader = store.read(&id).unwrap();
    let mut half = vec![0; 100_000];
    reader.read_exact(&mut half).unwrap();
    collect(&store, &[]);
    collect(&store, &[]);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!([half, rest].concat(), bytes);
    // An upload that found it present and hasn't ended; the reader is gone.
    let mut writer = store.writer(id).unwrap();
    writer.write(&bytes[..10_000]).unwrap();
    drop(reader);
    collect(&store, &[]);
    assert!(store.contains(&id), "being uploaded");
    writer.write(&bytes[10_000..]).unwrap();
    assert_eq!(writer.finish().unwrap(), Put::Held);
    // A batch that found it present and isn't committed.
    let mut batch = store.batch();
    assert_eq!(batch.put(id, &bytes).unwrap(), Put::Held);
    collect(&store, &[]);
    assert!(store.contains(&id), "in a batch");
    batch.commit().unwrap();
    // Uploaded under a hold, with the collection begun before the upload and after the hold.
    let hold = store.hold();
    let other = store.put_unnamed(b"other").unwrap();
    collect(&store, &[]);
    assert!(store.contains(&other), "uploaded under a hold");
    drop(hold);
    collect(&store, &[]);
    assert_eq!(store.stats().count, 0, "nobody needs anything any more");
}

#[test]
fn readers_follow_a_chunk_to_its_new_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let bytes = content(300_000, 1);
    let id = store.put_unnamed(&bytes).unwrap();
    store.put_unnamed(&content(900_000, 2)).unwrap();
    store.put_unnamed(b"in the next generation").unwrap();
    let mut reader = store.read(&id).unwrap();
    let mut half = vec![0; 150_001];
    reader.read_exact(&mut half).unwrap();
    let done = collect(&store, &[id]);
    assert_eq!((done.generations_dropped, done.bytes_copied), (1, 300_000));
    assert!(!dir.path().join("g000001").exists());
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!([half, rest].concat() == bytes);
}

#[test]
fn a_collection_stops_when_told_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let ids: Vec<_> =
        (0..16).map(|seed| store.put_unnamed(&content(256 << 10, seed)).unwrap()).collect();
    let live: Vec<_> = ids.iter().step_by(3).copied().collect();
    for asked_max in [0, 1, 2, 3, 5, 8, 13, 21] {
        let asked = AtomicI64::new(0);
        let stop = || asked.fetch_add(1, Ordering::SeqCst) >= asked_max;
        let mark = store.begin_collection();
        let done = store.collect(mark, &|id| live.contains(id), &stop).unwrap();
        assert!(done.stopped || done.chunks == 0);
        for id in &live {
            store.verify(id).unwrap();
        }
    }
    assert!(!collect(&store, &live).stopped);
    assert_eq!(store.stats().count, live.len() as u64);
}

#[test]
fn copying_keeps_to_its_pace() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { copy_bytes_per_second: 1 << 20, ..hasty() };
    let store = open(dir.path(), options);
    let live = store.put_unnamed(&content(400 << 10, 1)).unwrap();
    store.put_unnamed(&content(700 << 10, 2)).unwrap();
    let begin = crate::clock::monotonic();
    let done = collect(&store, &[live]);
    assert_eq!(done.bytes_copied, 400 << 10);
    assert!(begin.elapsed().as_millis() >= 300, "{:?}", begin.elapsed());
}

#[test]
fn a_damaged_chunk_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), hasty());
    let bytes = content(100_000, 1);
    let ids = [1, 2, 3].map(|seed| store.put_unnamed(&content(100_000, seed)).unwrap());
    store.put_unnamed(&content(900_000, 4)).unwrap();
    store.put_unnamed(b"in the next generation").unwrap();
    let wrong = content(PIECE, 9);
    store.with(1, |generation| generation.write_pieces(&ids[0], 3, &wrong, PIECE_BYTES)).unwrap();
    store.with(1, |generation| generation.remove_pieces(&ids[1], 3, 4)).unwrap();
    let done = collect(&store, &ids);
    assert_eq!((done.generations_dropped, done.bytes_copied), (1, 100_000));
    assert_eq!(store.missing(&ids), ids[..2]);
    store.verify(&ids[2]).unwrap();
    assert_eq!(store.put(ids[0], &bytes).unwrap(), Put::Stored);
    store.verify(&ids[0]).unwrap();
}

/// Threads that want chunks, upload those that are missing, and rely on them as long as they hold
/// them, while another one collects all the time and nothing is referred to.
#[test]
fn nothing_wanted_is_lost_to_collections_that_run_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { generation_bytes: 600_000, garbage_bytes: 100_000, ..hasty() };
    let store = open(dir.path(), options);
    let chunks: Vec<_> =
        (0..16).map(|seed| content(20_000 + 7_000 * usize::from(seed), seed)).collect();
    let ids: Vec<_> = chunks.iter().map(|bytes| ChunkId::of(bytes)).collect();
    let over = AtomicBool::new(false);
    let referred = std::sync::Mutex::new(BTreeSet::new());
    let (mut collections, mut total) = (0, Collected::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4_usize)
            .map(|thread| {
                let (store, chunks, ids, referred) = (&store, &chunks, &ids, &referred);
                scope.spawn(move || {
                    for round in 0..60_usize {
                        let first = (thread * 5 + round * 3) % 16;
                        let wanted: Vec<_> = (0..3).map(|n| (first + n * 2) % 16).collect();
                        let names: Vec<_> = wanted.iter().map(|n| ids[*n]).collect();
                        let (missing, hold) = store.want(&names).unwrap();
                        for n in wanted.iter().filter(|n| missing.contains(&ids[**n])) {
                            let mut writer = store.writer(ids[*n]).unwrap();
                            chunks[*n].chunks(9_000).for_each(|part| writer.write(part).unwrap());
                            writer.finish().unwrap();
                        }
                        if round % 2 == 0 {
                            for id in &names {
                                store.verify(id).unwrap();
                            }
                        } else {
                            // Referred to, as the log does it, then the hold is not needed.
                            referred.lock().unwrap().extend(names.iter().map(|id| (thread, *id)));
                            drop(hold);
                            std::thread::yield_now();
                            for id in &names {
                                store.verify(id).unwrap();
                            }
                            referred.lock().unwrap().retain(|(by, _)| *by != thread);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            // All of them end before the collections do, however they end.
            let mut failed = 0;
            for thread in threads {
                failed += u32::from(thread.join().is_err());
            }
            over.store(true, Ordering::SeqCst);
            assert_eq!(failed, 0, "threads failed");
        });
        while !over.load(Ordering::SeqCst) {
            let mark = store.begin_collection();
            let marks: BTreeSet<_> =
                referred.lock().unwrap().iter().map(|(_, id): &(usize, ChunkId)| *id).collect();
            let done = store.collect(mark, &|id| marks.contains(id), &|| false).unwrap();
            collections += 1;
            total.chunks += done.chunks;
            total.generations_dropped += done.generations_dropped;
            total.bytes_copied += done.bytes_copied;
        }
    });
    assert!(collections > 10 && total.chunks > 20, "{collections} collections: {total:?}");
    assert!(total.generations_dropped > 2, "{total:?}");
    assert_no_blobs(dir.path());
    drop(store);
    let store = open(dir.path(), hasty());
    for id in &store.ids() {
        store.verify(id).unwrap();
    }
}
