//! Indexes of sealed generations, what a crash leaves beside them, and stores of older versions.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::domain::Millis;

fn hasty() -> Options {
    Options { grace: Millis(0), garbage_bytes: 64 << 10, copy_bytes_per_second: 0, ..small() }
}

/// Fills several generations; names and contents.
fn filled(dir: &Path) -> Vec<(ChunkId, Vec<u8>)> {
    let store = open(dir, hasty());
    let put = |seed| {
        let bytes = content(256 << 10, seed);
        (store.put_unnamed(&bytes).unwrap(), bytes)
    };
    (0..12).map(put).collect()
}

fn indexes(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "index")).collect();
    found.sort();
    found
}

fn assert_all_there(dir: &Path, chunks: &[(ChunkId, Vec<u8>)]) {
    let store = open(dir, hasty());
    assert_eq!(store.stats().count, chunks.len() as u64);
    for (id, bytes) in chunks {
        assert!(&bytes_of(&store, id) == bytes);
    }
}

#[test]
fn a_start_opens_no_sealed_generation() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = filled(dir.path());
    let found = indexes(dir.path());
    assert_eq!(found.len(), 2, "{found:?}");
    // A generation that can't be opened is not noticed by a start.
    let aside = dir.path().join("aside");
    let sealed = dir.path().join("g000001");
    fs::rename(sealed.join("db"), &aside).unwrap();
    fs::create_dir(sealed.join("db")).unwrap();
    let store = open(dir.path(), hasty());
    assert_eq!(store.stats().count, 12);
    drop(store);
    fs::remove_dir(sealed.join("db")).unwrap();
    fs::rename(aside, sealed.join("db")).unwrap();
    assert_all_there(dir.path(), &chunks);
}

#[test]
fn missing_and_damaged_indexes_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = filled(dir.path());
    let found = indexes(dir.path());
    let right = fs::read(&found[0]).unwrap();
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&found[0]).unwrap(),
        &|| fs::write(&found[0], &right[..right.len() - 1]).unwrap(),
        &|| fs::write(&found[0], b"").unwrap(),
        &|| assert!(fs::copy(&found[1], &found[0]).unwrap() > 0),
    ];
    for damage in damages {
        damage();
        assert_all_there(dir.path(), &chunks);
        assert_eq!(fs::read(&found[0]).unwrap(), right);
    }
    // While the store is open, nothing relies on it either.
    let store = open(dir.path(), hasty());
    fs::write(&found[0], b"garbage").unwrap();
    let live: Vec<_> = chunks[2..].iter().map(|(id, _)| *id).collect();
    let mark = store.begin_collection();
    store.collect(mark, &|id| live.contains(id), &|| false).unwrap();
    drop(store);
    assert_all_there(dir.path(), &chunks[2..]);
}

#[test]
fn leftovers_of_a_crash_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = filled(dir.path());
    let found = indexes(dir.path());
    // Removed half-way: renamed, with files missing; its index still there. Its chunks were
    // copied before, so here they are gone for good.
    fs::rename(dir.path().join("g000001"), dir.path().join("g000001.dead")).unwrap();
    fs::remove_file(dir.path().join("g000001.dead/conf")).unwrap();
    // An index of the generation that grows, which tells of the past.
    fs::copy(&found[1], dir.path().join("g000003.index")).unwrap();
    fs::write(dir.path().join(".new-xyz"), b"half").unwrap();
    assert_all_there(dir.path(), &chunks[4..]);
    assert!(!dir.path().join("g000001.dead").exists());
    assert_eq!(indexes(dir.path()), [dir.path().join("g000002.index")]);
}

/// A crash after the copies and before the old generation is gone leaves chunks in two.
#[test]
fn chunks_in_two_generations_are_held_once() {
    let dir = tempfile::tempdir().unwrap();
    let twin = tempfile::tempdir().unwrap();
    let chunks = filled(dir.path());
    for name in ["g000001", "g000001.index"] {
        let status = std::process::Command::new("cp")
            .arg("-r")
            .args([dir.path().join(name), twin.path().join(name)])
            .status();
        assert!(status.unwrap().success());
    }
    let live: Vec<_> = [0, 4, 5, 6, 7].map(|n: usize| chunks[n].0).to_vec();
    let is_live = |id: &ChunkId| live.contains(id);
    let store = open(dir.path(), hasty());
    let mark = store.begin_collection();
    let done = store.collect(mark, &is_live, &|| false).unwrap();
    assert!(done.bytes_copied > 0 && !dir.path().join("g000001").exists(), "{done:?}");
    drop(store);
    for name in ["g000001", "g000001.index"] {
        fs::rename(twin.path().join(name), dir.path().join(name)).unwrap();
    }
    let store = open(dir.path(), hasty());
    // The others of that generation are garbage that is there again, whole.
    assert_eq!(store.stats().count, 5 + 3);
    for id in &store.ids() {
        store.verify(id).unwrap();
    }
    let mark = store.begin_collection();
    let done = store.collect(mark, &is_live, &|| false).unwrap();
    assert_eq!((done.chunks, done.bytes_copied), (3, 0), "{done:?}");
    assert!(!dir.path().join("g000001").exists());
    for id in &live {
        store.verify(id).unwrap();
    }
}

#[test]
fn generations_with_larger_segments_are_read_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut chunks = Vec::new();
    for (seed, segment_bytes) in [(1, 8 << 20), (2, 512 << 10), (3, 2 << 20)] {
        let store = open(dir.path(), Options { segment_bytes, ..small() });
        let bytes = content(3 * PIECE, seed);
        chunks.push((store.put_unnamed(&bytes).unwrap(), bytes));
        drop(store);
        assert_all_there(dir.path(), &chunks);
    }
}

#[test]
fn damaged_notes_of_one_with_larger_segments_lose_nothing_either() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Options { segment_bytes: 8 << 20, ..small() });
    let bytes = content(3 * PIECE, 1);
    let chunks = [(store.put_unnamed(&bytes).unwrap(), bytes)];
    drop(store);
    // The engine writes its notes when it opens.
    drop(open(dir.path(), small()));
    let mut damaged = 0;
    for entry in fs::read_dir(dir.path().join("g000001")).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            let mut notes = fs::read(entry.path()).unwrap();
            notes[9] ^= 1;
            fs::write(entry.path(), notes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    assert_all_there(dir.path(), &chunks);
}

/// Manifests of 16 bytes without a time, and no indexes.
#[test]
fn stores_of_older_versions_are_read_and_their_chunks_kept_for_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let chunks = filled(dir.path());
    for path in &indexes(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    for number in 1..=3 {
        let path = dir.path().join(format!("g{number:06}"));
        let db = sled::Config::new().path(path).segment_size(small().segment_bytes).open().unwrap();
        let manifests = db.open_tree("manifests").unwrap();
        for entry in &manifests {
            let (key, value) = entry.unwrap();
            manifests.insert(key, &value[..16]).unwrap();
        }
        db.drop_tree("wants").unwrap();
        db.flush().unwrap();
    }
    for _ in 0..2 {
        let store = open(dir.path(), Options { grace: Options::default().grace, ..hasty() });
        assert_eq!(store.stats().count, 12);
        let mark = store.begin_collection();
        let done = store.collect(mark, &|_| false, &|| false).unwrap();
        assert_eq!(done.chunks, 0);
    }
    // The times of the newest generation went into another one, since it was full.
    assert_eq!(indexes(dir.path()).len(), 3);
    assert_all_there(dir.path(), &chunks);
    let store = open(dir.path(), hasty());
    let mark = store.begin_collection();
    assert_eq!(store.collect(mark, &|_| false, &|| false).unwrap().chunks, 12);
}
