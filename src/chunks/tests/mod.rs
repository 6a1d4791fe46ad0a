//! Borders, wrong content, and uploads that meet.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Barrier;

use super::*;
use crate::domain::ChunkId;

mod collecting;
mod rot;
mod sealing;

/// The length of a piece, as the defaults have it.
const PIECE_BYTES: u32 = 4_080;
const PIECE: usize = PIECE_BYTES as usize;

/// Bytes that differ from piece to piece.
fn content(bytes: usize, seed: u8) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut content);
    content
}

/// Small groups and generations, so that every border is met with little data.
fn small() -> Options {
    Options {
        group_bytes: 16 << 10,
        generation_bytes: 1 << 20,
        segment_bytes: 512 << 10,
        ..Options::default()
    }
}

fn open(dir: &Path, options: Options) -> Store {
    Store::open(dir, options).unwrap()
}

fn bytes_of(store: &Store, id: &ChunkId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(id).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn pieces_in(store: &Store) -> usize {
    let generations = &store.inner.generations;
    let count = |number| generations.with(number, |open| Ok(open.piece_count())).unwrap();
    generations.numbers().into_iter().filter_map(count).sum()
}

fn assert_no_blobs(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        // Read as a directory; an index file has none.
        let blobs = entry.unwrap().path().join("blobs");
        assert!(!blobs.exists() || std::fs::read_dir(blobs).unwrap().next().is_none());
    }
}

#[test]
fn every_size_around_a_border_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let memory = small().group_bytes;
    let group = memory / PIECE * PIECE;
    let borders = [PIECE, 2 * PIECE, group, memory, 2 * group, 2 * memory];
    let mut sizes = vec![0, 1, 100_000];
    sizes.extend(borders.into_iter().flat_map(|border| [border - 1, border, border + 1]));
    let store = open(dir.path(), small());
    let mut ids = Vec::new();
    for (seed, &size) in sizes.iter().enumerate() {
        for way in 0..4_u8 {
            let bytes = content(size, u8::try_from(seed).unwrap() * 4 + way);
            let id = ChunkId::of(&bytes);
            match way {
                0 => drop(store.put(id, &bytes).unwrap()),
                1 => {
                    let mut writer = store.writer(id).unwrap();
                    bytes.chunks(777).for_each(|part| writer.write(part).unwrap());
                    writer.finish().unwrap();
                }
                2 => {
                    let mut spool = store.spool().unwrap();
                    bytes.chunks(5_000).for_each(|part| spool.write(part).unwrap());
                    assert_eq!(spool.finish().unwrap(), id);
                }
                _ => {
                    let mut batch = store.batch();
                    batch.put(id, &bytes).unwrap();
                    batch.commit().unwrap();
                }
            }
            assert_eq!(bytes_of(&store, &id), bytes, "{size} bytes by way {way}");
            assert_eq!(store.len(&id), Some(size as u64));
            ids.push((id, bytes));
        }
    }
    let before = store.stats();
    drop(store);
    let store = open(dir.path(), small());
    assert_eq!((store.stats().count, store.stats().bytes), (before.count, before.bytes));
    for (id, bytes) in &ids {
        assert_eq!(&bytes_of(&store, id), bytes);
        store.verify(id).unwrap();
    }
    assert_no_blobs(dir.path());
}

#[test]
fn the_default_group_has_no_special_border() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Options::default());
    for (seed, size) in [(4 << 20) - 1, 4 << 20, (4 << 20) + 1].into_iter().enumerate() {
        let bytes = content(size, u8::try_from(seed).unwrap());
        let id = ChunkId::of(&bytes);
        let mut writer = store.writer(id).unwrap();
        writer.write(&bytes).unwrap();
        assert_eq!(writer.finish().unwrap(), Put::Stored);
        assert!(bytes_of(&store, &id) == bytes);
    }
    assert_no_blobs(dir.path());
}

#[test]
fn ranges_and_seeks_read_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(50_000, 1);
    let id = store.put_unnamed(&bytes).unwrap();
    for (from, count) in
        [(0, 1), (PIECE - 1, 2), (PIECE, PIECE), (49_999, 5), (50_000, 1), (60_000, 9)]
    {
        let mut part = Vec::new();
        let range = store.read(&id).unwrap().range(from as u64, count as u64);
        range.take(1 << 20).read_to_end(&mut part).unwrap();
        let (from, to) = (from.min(50_000), (from + count).min(50_000));
        assert_eq!(part, bytes[from..to]);
    }
    let mut reader = store.read(&id).unwrap();
    reader.seek(SeekFrom::End(-10)).unwrap();
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert_eq!(end, bytes[49_990..]);
    assert!(reader.seek(SeekFrom::Current(-60_000)).is_err());
}

#[test]
fn wrong_content_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(100_000, 1);
    let lie = ChunkId::of(b"something else");
    assert!(matches!(store.put(lie, &bytes), Err(Error::Mismatch { .. })));
    let mut writer = store.writer(lie).unwrap();
    writer.write(&bytes).unwrap();
    assert!(pieces_in(&store) > 0, "the test must stream");
    assert!(matches!(writer.finish(), Err(Error::Mismatch { expected, .. }) if expected == lie));
    let mut cut = store.writer(ChunkId::of(&bytes)).unwrap();
    cut.write(&bytes[..90_000]).unwrap();
    drop(cut);
    let mut batch = store.batch();
    batch.put_unnamed(&bytes[..5_000]).unwrap();
    drop(batch);
    assert_eq!((store.stats().count, store.stats().bytes, pieces_in(&store)), (0, 0, 0));
    assert!(!store.contains(&lie));
    assert!(matches!(store.read(&lie), Err(Error::Missing(_))));
}

#[test]
fn held_chunks_are_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(40_000, 1);
    let id = ChunkId::of(&bytes);
    assert_eq!(store.put(id, &bytes).unwrap(), Put::Stored);
    let pieces = pieces_in(&store);
    assert_eq!(store.put(id, &bytes).unwrap(), Put::Held);
    let mut writer = store.writer(id).unwrap();
    writer.write(&bytes).unwrap();
    assert_eq!(writer.finish().unwrap(), Put::Held);
    let mut liar = store.writer(id).unwrap();
    liar.write(&content(40_000, 2)).unwrap();
    assert!(matches!(liar.finish(), Err(Error::Mismatch { .. })));
    let mut batch = store.batch();
    assert_eq!(batch.put(id, &bytes).unwrap(), Put::Held);
    let other = batch.put_unnamed(b"new").unwrap();
    assert_eq!(batch.put(other, b"new").unwrap(), Put::Held);
    assert!(!store.contains(&other), "not before the commit");
    batch.commit().unwrap();
    assert_eq!(pieces_in(&store), pieces + 1);
    assert_eq!((store.stats().count, store.stats().bytes), (2, 40_003));
    let gone = ChunkId::of(b"gone");
    let far = ChunkId::of(b"far");
    assert_eq!(store.missing(&[gone, id, far, gone, other]), [gone, far]);
}

#[test]
fn a_liar_and_a_staller_stop_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(100_000, 1);
    let id = ChunkId::of(&bytes);
    // Streams lies under the name, longer than the truth.
    let mut liar = store.writer(id).unwrap();
    liar.write(&content(200_000, 2)).unwrap();
    // Comes second, so it spools; honest.
    let mut second = store.writer(id).unwrap();
    second.write(&bytes).unwrap();
    // Says half of the truth and then nothing more.
    let mut staller = store.writer(id).unwrap();
    staller.write(&bytes[..50_000]).unwrap();
    assert_eq!(second.finish().unwrap(), Put::Stored);
    assert!(bytes_of(&store, &id) == bytes);
    liar.write(&content(50_000, 3)).unwrap();
    assert!(matches!(liar.finish(), Err(Error::Mismatch { .. })));
    assert!(bytes_of(&store, &id) == bytes);
    assert_eq!(pieces_in(&store), bytes.len().div_ceil(PIECE));
    drop(staller);
    store.verify(&id).unwrap();
}

#[test]
fn lies_that_began_before_the_chunk_was_held_do_not_touch_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(100_000, 1);
    let id = ChunkId::of(&bytes);
    let mut liar = store.writer(id).unwrap();
    liar.write(b"still in memory").unwrap();
    store.put(id, &bytes).unwrap();
    liar.write(&content(100_000, 2)).unwrap();
    store.verify(&id).unwrap();
    assert!(matches!(liar.finish(), Err(Error::Mismatch { .. })));
    store.verify(&id).unwrap();
}

#[test]
fn an_honest_stream_that_was_overtaken_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(100_000, 1);
    let id = ChunkId::of(&bytes);
    let mut slow = store.writer(id).unwrap();
    slow.write(&bytes[..70_000]).unwrap();
    assert_eq!(store.put(id, &bytes).unwrap(), Put::Stored);
    slow.write(&bytes[70_000..]).unwrap();
    assert_eq!(slow.finish().unwrap(), Put::Held);
    store.verify(&id).unwrap();
    // The same with both verified before either is kept.
    let bytes = content(100_000, 2);
    let id = ChunkId::of(&bytes);
    let mut first = store.writer(id).unwrap();
    first.write(&bytes).unwrap();
    let first = first.verify().unwrap();
    let mut second = store.writer(id).unwrap();
    second.write(&bytes).unwrap();
    let mut batch = store.batch();
    batch.add(first).unwrap();
    assert_eq!(second.finish().unwrap(), Put::Stored);
    batch.commit().unwrap();
    store.verify(&id).unwrap();
}

#[test]
fn many_uploads_of_few_names_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let start = Barrier::new(12);
    std::thread::scope(|scope| {
        for thread in 0..12_u8 {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                for seed in 0..6 {
                    let bytes = content(20_000 + 9_000 * usize::from(seed), seed);
                    let id = ChunkId::of(&bytes);
                    let lies = thread % 3 == 0;
                    let mut writer = store.writer(id).unwrap();
                    for part in bytes.chunks(6_000) {
                        let wrong = content(part.len(), thread);
                        writer.write(if lies { &wrong } else { part }).unwrap();
                    }
                    if thread % 3 == 1 {
                        // Batches that share names in different orders must not wait for ever.
                        let other = content(5_000, 50 + seed);
                        let mut batch = store.batch();
                        if thread % 2 == 0 {
                            batch.put_unnamed(&other).unwrap();
                            batch.add(writer.verify().unwrap()).unwrap();
                        } else {
                            batch.add(writer.verify().unwrap()).unwrap();
                            batch.put_unnamed(&other).unwrap();
                        }
                        batch.commit().unwrap();
                        assert!(bytes_of(store, &id) == bytes);
                        continue;
                    }
                    match writer.finish() {
                        Ok(_) => assert!(!lies),
                        Err(error) => assert!(lies, "{error}"),
                    }
                    if !lies {
                        assert!(bytes_of(store, &id) == bytes);
                    }
                }
            });
        }
    });
    assert_eq!(store.stats().count, 12);
    store.ids().iter().for_each(|id| store.verify(id).unwrap());
    drop(store);
    let store = open(dir.path(), small());
    store.ids().iter().for_each(|id| store.verify(id).unwrap());
    assert_eq!(store.stats().count, 12);
}

#[test]
fn generations_follow_each_other_and_all_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let chunks: Vec<_> = (0..24).map(|seed| content(256 << 10, seed)).collect();
    let ids: Vec<_> = chunks.iter().map(|bytes| store.put_unnamed(bytes).unwrap()).collect();
    assert!(dir.path().join("g000005").is_dir());
    drop(store);
    for _ in 0..2 {
        let store = open(dir.path(), small());
        for (id, bytes) in ids.iter().zip(&chunks).rev() {
            assert!(&bytes_of(&store, id) == bytes);
        }
        assert!(store.inner.generations.sealed_open() <= 2);
    }
    assert_no_blobs(dir.path());
}

#[test]
fn a_damaged_chunk_is_told_and_can_be_uploaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), small());
    let bytes = content(30_000, 1);
    for damage in 0..3 {
        let id = store.put_unnamed(&bytes).unwrap();
        store
            .with(1, |generation| match damage {
                0 => generation.remove_pieces(&id, 3, 4),
                1 => generation.write_pieces(&id, 3, &bytes[..100], PIECE_BYTES),
                _ => generation.write_pieces(&id, 3, &bytes[..PIECE], PIECE_BYTES),
            })
            .unwrap();
        match store.verify(&id).unwrap_err() {
            Error::Damaged { id: told, offset, .. } if damage < 2 => {
                assert_eq!((told, offset), (id, 3 * u64::from(PIECE_BYTES)));
            }
            Error::Damaged { id: told, offset: 0, .. } => assert_eq!(told, id),
            other => panic!("{other}"),
        }
        assert!(!store.contains(&id));
        assert_eq!(store.missing(&[id]), [id]);
        assert_eq!(store.put(id, &bytes).unwrap(), Put::Stored);
        store.verify(&id).unwrap();
    }
}
