//! Whatever was acknowledged is there after a power cut, and the chunk store opens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/powercut.rs"]
mod powercut;

use std::sync::mpsc;

use ledgerun::chunks::{Options, Store};
use ledgerun::domain::ChunkId;
use powercut::Disk;

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
    let disk = match Disk::new(2_048) {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("skipped: no disk to cut the power of ({reason})");
            return;
        }
    };
    let path = disk.path().join("chunks");
    // Several generations, but few: reading here and there opens sealed ones again and again.
    let options = || Options { generation_bytes: 192 << 20, ..Options::default() };
    let mut survived = Vec::new();
    for round in 0..10_u64 {
        let store = Store::open(&path, options()).unwrap();
        let (sender, acknowledged) = mpsc::channel();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (store, sender) = (&store, sender.clone());
                let first_seed = (round * 3 + thread) * 1_000_000;
                scope.spawn(move || upload(store, first_seed, &sender));
            }
            survived.extend(acknowledged.iter().take(15 + usize::try_from(round).unwrap()));
            disk.cut();
        });
        survived.extend(acknowledged.try_iter());
        drop(store);
        disk.restart();
        let store = Store::open(&path, options()).unwrap();
        assert_eq!(store.missing(&survived), [], "round {round}");
        store.ids().iter().for_each(|id| store.verify(id).unwrap());
    }
}
