//! Whatever was acknowledged is there after a power cut, and the chunk store opens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/powercut.rs"]
mod powercut;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

use ledgerun::chunks::{Options, Store};
use ledgerun::domain::{ChunkId, Millis};
use powercut::disk;

/// Uploads until the disk fails; reports what was acknowledged.
fn upload(store: &Store, first_seed: u64, acknowledged: &mpsc::Sender<ChunkId>) {
    for seed in first_seed.. {
        let mut bytes = vec![0; [500, 4_096, 60_000, 1 << 20, 5 << 20][(seed % 5) as usize]];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let Ok(mut writer) = store.writer(ChunkId::of(&bytes)) else { return };
        let written = bytes.chunks(100_000).try_for_each(|part| writer.write(part));
        let id = writer.id();
        if written.is_err() || writer.finish().is_err() {
            return;
        }
        let _ = acknowledged.send(id);
    }
}

#[test]
fn no_acknowledged_chunk_is_lost_when_the_power_is_cut() {
    let Some(disk) = disk(2_048) else { return };
    let path = disk.path().join("chunks");
    // Several generations, but few: reading here and there opens sealed ones again and again.
    let options = || Options { generation_bytes: 192 << 20, ..Options::default() };
    let mut survived = Vec::new();
    for round in 0..10_u64 {
        let store = Store::open(&path, options()).unwrap();
        let (sender, acknowledged) = mpsc::channel();
        let before = survived.len();
        let enough = 15 + usize::try_from(round).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (store, sender) = (&store, sender.clone());
                let first_seed = (round * 3 + thread) * 1_000_000;
                scope.spawn(move || upload(store, first_seed, &sender));
            }
            // They end when the uploads do.
            drop(sender);
            survived.extend(acknowledged.iter().take(enough));
            // Not what is answered during the cut: a sync under way may report a success then.
            survived.extend(acknowledged.try_iter());
            disk.cut();
        });
        assert!(survived.len() - before >= enough, "uploads failed before the cut");
        drop(store);
        disk.restart();
        let store = Store::open(&path, options()).unwrap();
        assert_eq!(store.missing(&survived), [], "round {round}");
        for id in &store.ids() {
            store.verify(id).unwrap();
        }
    }
}

/// Uploads until the disk fails. Every third chunk is referred to before its upload begins, and
/// reported when it is acknowledged; the others are garbage at once.
fn upload_some_to_keep(
    store: &Store,
    first_seed: u64,
    referred: &Mutex<BTreeSet<ChunkId>>,
    acknowledged: &mpsc::Sender<ChunkId>,
) {
    for seed in first_seed.. {
        let mut bytes = vec![0; [500, 40_000, 300_000, 4_096][(seed % 4) as usize]];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let id = ChunkId::of(&bytes);
        let kept = seed % 3 == 0;
        if kept {
            referred.lock().unwrap().insert(id);
        }
        if store.put(id, &bytes).is_err() {
            return;
        }
        if kept {
            let _ = acknowledged.send(id);
        }
    }
}

#[test]
fn no_chunk_referred_to_is_lost_when_the_power_is_cut_while_others_are_collected() {
    let Some(disk) = disk(1_024) else { return };
    let path = disk.path().join("chunks");
    let options = || Options {
        // Few generations: reading here and there opens sealed ones again and again.
        generation_bytes: 16 << 20,
        segment_bytes: 2 << 20,
        grace: Millis(0),
        garbage_bytes: 2 << 20,
        copy_bytes_per_second: 0,
        ..Options::default()
    };
    let referred = Mutex::new(BTreeSet::new());
    let dropped = AtomicU64::new(0);
    let mut survived = Vec::new();
    for round in 0..6_u64 {
        let store = Store::open(&path, options()).unwrap();
        let (sender, acknowledged) = mpsc::channel();
        let before = survived.len();
        let enough = 40 + 9 * usize::try_from(round).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (store, sender, referred) = (&store, sender.clone(), &referred);
                let first_seed = (round * 2 + thread) * 1_000_000;
                scope.spawn(move || upload_some_to_keep(store, first_seed, referred, &sender));
            }
            scope.spawn(|| {
                loop {
                    let mark = store.begin_collection();
                    let live = |id: &ChunkId| referred.lock().unwrap().contains(id);
                    let Ok(done) = store.collect(mark, &live, &|| false) else { return };
                    if store.check().is_err() {
                        return;
                    }
                    dropped.fetch_add(done.generations_dropped, Ordering::Relaxed);
                    // The uploads share a lock with it that isn't fair.
                    std::thread::yield_now();
                }
            });
            drop(sender);
            survived.extend(acknowledged.iter().take(enough));
            disk.cut();
        });
        assert!(survived.len() - before >= enough, "uploads failed before the cut");
        drop(store);
        disk.restart();
        let store = Store::open(&path, options()).unwrap();
        assert_eq!(store.missing(&survived), [], "round {round}");
        // What was referred to, and garbage that a crash brought back: all of it is whole.
        for id in &store.ids() {
            store.verify(id).unwrap();
        }
    }
    assert!(dropped.load(Ordering::Relaxed) > 5, "{dropped:?} generations dropped");
}
