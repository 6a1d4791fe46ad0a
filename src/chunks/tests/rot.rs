//! Pages that rot while the store is open.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::*;

/// A chunk that lies beside another in the order of names: their first bytes are the same.
fn beside(id: ChunkId) -> Vec<u8> {
    let mut seeds = 0_u32..;
    let near = |bytes: &Vec<u8>| ChunkId::of(bytes).0.as_bytes()[..2] == id.0.as_bytes()[..2];
    seeds.find_map(|seed| Some(seed.to_le_bytes().repeat(10)).filter(near)).unwrap()
}

/// Changes one byte of this content, wherever the database has written it, and nothing else: it may be
/// writing.
fn rot(dir: &Path, content: &[u8]) {
    let path = dir.join("g000001/db");
    let file = File::options().write(true).open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let all = bytes.windows(content.len()).enumerate().filter(|(_, part)| *part == content);
    let places: Vec<usize> = all.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "it is not there");
    for at in places {
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    }
}

/// A store whose first generation has a page that rotted where the second value is to be written.
fn rotten(dir: &Path) -> (Store, Vec<u8>) {
    let options =
        Options { piece_bytes: 64, cache_bytes: 64 << 10, generation_bytes: 1 << 30, ..small() };
    let store = open(dir, options);
    // Of very many pages.
    let large = store.put_unnamed(&content(1 << 20, 1)).unwrap();
    // Behind it in the order of names, and later: so that at most its last pieces are in that page, too.
    let mut all = (2..).map(|seed| content(60, seed));
    let hit = all.find(|bytes| ChunkId::of(bytes) > large).unwrap();
    let id = store.put_unnamed(&hit).unwrap();
    rot(dir, &hit);
    let mut most = vec![0; (1 << 20) - (16 << 10)];
    for _ in 0..5 {
        store.read(&large).unwrap().read_exact(&mut most).unwrap();
    }
    (store, beside(id))
}

#[test]
fn what_meets_a_rotten_page_is_written_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (store, bytes) = rotten(dir.path());
    let id = store.put_unnamed(&bytes).unwrap();
    assert_eq!(store.inner.generations.numbers(), [1, 2]);
    assert_eq!(bytes_of(&store, &id), bytes);
    store.check().unwrap();
    // So is what comes later, and all of it is there after a restart.
    let later = store.put_unnamed(b"later").unwrap();
    drop(store);
    let store = open(dir.path(), small());
    assert_eq!((bytes_of(&store, &id), bytes_of(&store, &later)), (bytes, b"later".to_vec()));
}

#[test]
fn an_upload_that_meets_a_rotten_page_may_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, start) = rotten(dir.path());
    let long = content(100_000, 250);
    // Its name is another one's than its content's until the end, so that it can be chosen.
    let mut writer = store.writer(ChunkId::of(&start)).unwrap();
    let refused = long.chunks(5_000).find_map(|part| writer.write(part).err()).unwrap();
    assert!(matches!(refused, Error::Rotten { .. }), "{refused:?}");
    drop(writer);
    store.check().unwrap();
    let mut writer = store.writer(ChunkId::of(&long)).unwrap();
    writer.write(&long).unwrap();
    writer.finish().unwrap();
    assert_eq!(bytes_of(&store, &ChunkId::of(&long)), long);
    assert_eq!(store.inner.generations.numbers(), [1, 2]);
}
