//! What must be refused.

use std::io::Cursor;
use std::sync::Mutex;

use ledgerun::domain::{ChunkId, Lsn};
use ledgerun::replay::archive::{Archive, Encoder, Error, Head, Item, Reader, verify};

use super::forge::{self, Block, CONTEXT, DATA, LOG, TABLE};
use super::world::{Step, World};

/// A recording of one job with one large input, small enough to be changed at every byte.
fn small() -> Vec<u8> {
    let mut world = World::new();
    let recording = world.start(None);
    world.step(&Step::Submit { action: 1, worker: 0, queue: 9, fresh: false });
    world.stop();
    world.step(&Step::Assign);
    world.step(&Step::Finish { attempt: 0, how: 5 });
    world.export(recording)
}

fn refusal(bytes: &[u8]) -> Option<(u64, String)> {
    match verify(bytes, &mut |_| {}) {
        Ok(_) => None,
        Err(Error::Refused { offset, reason }) => {
            assert!(offset <= bytes.len() as u64, "byte {offset} of {}: {reason}", bytes.len());
            Some((offset, reason.to_string()))
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The change is refused, with words that say this.
#[track_caller]
fn refused(blocks: &[Block], why: &str) -> u64 {
    let (offset, reason) = refusal(&forge::join(blocks)).expect("a forgery is taken");
    assert!(reason.contains(why), "byte {offset}: {reason}; not: {why}");
    offset
}

#[test]
fn every_flipped_bit_is_refused_where_it_is_found() {
    let bytes = small();
    assert_eq!(refusal(&bytes), None);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let (offset, reason) = refusal(&flipped).unwrap_or_else(|| panic!("byte {at} may change"));
        // At the latest behind the block that it is in.
        assert!(offset <= at as u64 + 2_000_000, "byte {at}: found at {offset}: {reason}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small();
    for length in 0..bytes.len() {
        let (offset, reason) = refusal(&bytes[..length]).expect("a part is taken for the whole");
        assert!(offset <= length as u64, "{offset}");
        assert_eq!(reason, "it breaks off", "after {length} bytes");
        assert_eq!(offset, length as u64);
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    let bytes = small();
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(refusal(&longer), Some((bytes.len() as u64, "bytes follow the end".to_owned())));
    assert!(refusal(&[bytes.as_slice(), &bytes].concat()).is_some());
}

#[test]
fn blocks_have_one_order() {
    let blocks = forge::parse(&small());
    assert_eq!(forge::join(&blocks), small());
    for at in 0..blocks.len() {
        let mut without = blocks.clone();
        without.remove(at);
        assert!(refusal(&forge::join(&without)).is_some(), "block {at} may be left out");
        let mut twice = blocks.clone();
        twice.insert(at, blocks[at].clone());
        assert!(refusal(&forge::join(&twice)).is_some(), "block {at} may be there twice");
        for other in at + 1..blocks.len() {
            let mut swapped = blocks.clone();
            swapped.swap(at, other);
            assert!(refusal(&forge::join(&swapped)).is_some(), "{at} and {other} may be swapped");
        }
        let mut split = blocks.clone();
        if split[at].payload.len() > 40 {
            let rest = split[at].payload.split_off(20);
            split.insert(at + 1, Block { kind: blocks[at].kind, payload: rest });
            assert!(refusal(&forge::join(&split)).is_some(), "block {at} may be split");
        }
        for kind in [0, 7, 255] {
            let mut unknown = blocks.clone();
            unknown[at].kind = kind;
            refused(&unknown, "unknown kind");
        }
    }
}

fn of_kind(blocks: &mut [Block], kind: u8) -> &mut Vec<u8> {
    &mut blocks.iter_mut().find(|block| block.kind == kind).unwrap().payload
}

#[test]
fn records_have_one_order_and_one_place() {
    let bytes = small();
    let blocks = forge::parse(&bytes);
    let values = forge::log_values(&blocks);
    let with = |values: &[Vec<u8>]| {
        let mut forged = blocks.clone();
        let payload = of_kind(&mut forged, LOG);
        payload.truncate(8);
        for value in values {
            payload.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            payload.extend(value);
        }
        forged
    };
    assert_eq!(with(&values), blocks);
    let mut swapped = values.clone();
    swapped.swap(1, 2);
    refused(&with(&swapped), "does not follow");
    refused(&with(&values[1..]), "does not start a recording");
    refused(&with(&values[..values.len() - 1]), "ends before");
    let mut again = values.clone();
    again.push(values[1].clone());
    refused(&with(&again), "more records");
    // The record says that it is another.
    let mut moved = blocks.clone();
    let payload = of_kind(&mut moved, LOG);
    payload[7] += 1;
    refused(&moved, "stands where");
    let mut context = blocks.clone();
    let payload = of_kind(&mut context, CONTEXT);
    payload[..8].copy_from_slice(&u64::MAX.to_be_bytes());
    assert!(refusal(&forge::join(&context)).is_some());
    // All of them say so: each has the place of the one before it in its chain.
    let mut reader = Reader::open(bytes.as_slice()).unwrap();
    let Head { name, start, stop } = reader.head().clone();
    let head = Head { name, start: start.next(), stop: stop.next() };
    let mut encoder = Encoder::new(Vec::new(), &head).unwrap();
    while let Some(Item::Log { value, .. }) = reader.advance().unwrap() {
        encoder.log(value).unwrap();
    }
    let (_, reason) = refusal(&encoder.finish().unwrap()).unwrap();
    assert!(reason.contains("does not follow"), "{reason}");
    let mut long = blocks.clone();
    of_kind(&mut long, LOG)[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    refused(&long, "which no record has");
    let mut short = blocks.clone();
    of_kind(&mut short, LOG)[8..12].copy_from_slice(&4_000_u32.to_be_bytes());
    assert!(refusal(&forge::join(&short)).is_some());
}

#[test]
fn the_table_is_exactly_what_is_referred_to() {
    let blocks = forge::parse(&small());
    let entries: Vec<Vec<u8>> = blocks
        .iter()
        .find(|b| b.kind == TABLE)
        .unwrap()
        .payload
        .chunks(28)
        .map(<[u8]>::to_vec)
        .collect();
    let with = |entries: &[Vec<u8>]| {
        let mut forged = blocks.clone();
        *of_kind(&mut forged, TABLE) = entries.concat();
        forged
    };
    let missing = entries.iter().position(|entry| entry[20..] == [255; 8]).unwrap();
    for at in 0..entries.len() {
        let mut without = entries.clone();
        without.remove(at);
        assert!(refusal(&forge::join(&with(&without))).is_some(), "entry {at} may be left out");
        let mut twice = entries.clone();
        twice.insert(at, entries[at].clone());
        refused(&with(&twice), "out of order");
    }
    let mut without = entries.clone();
    without.remove(missing);
    refused(&with(&without), "is not in the chunk table");
    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    refused(&with(&swapped), "out of order");
    let extra = ChunkId::of(b"nobody needs it");
    let mut more = entries.clone();
    more.push([extra.0.as_bytes().as_slice(), &[255; 8]].concat());
    more.sort();
    let offset = refused(&with(&more), "nothing refers to it");
    let bytes = forge::join(&with(&more));
    let at = usize::try_from(offset).unwrap();
    assert_eq!(&bytes[at..at + 20], extra.0.as_bytes());
}

#[test]
fn lengths_that_lie_are_refused() {
    let blocks = forge::parse(&small());
    let table = blocks.iter().find(|b| b.kind == TABLE).unwrap().payload.clone();
    for entry in 0..table.len() / 28 {
        for length in [0, 1, 7, 1_999, 1 << 40, u64::MAX - 1, u64::MAX] {
            let mut forged = blocks.clone();
            let lie = &mut of_kind(&mut forged, TABLE)[entry * 28 + 20..entry * 28 + 28];
            if lie == length.to_be_bytes() {
                continue;
            }
            lie.copy_from_slice(&length.to_be_bytes());
            assert!(refusal(&forge::join(&forged)).is_some(), "entry {entry} may claim {length}");
        }
    }
    // The length of a block.
    let bytes = small();
    for claimed in [0_u32, 1, 1_048_576, 1_048_577, u32::MAX] {
        let mut forged = bytes.clone();
        forged[12..16].copy_from_slice(&claimed.to_be_bytes());
        assert!(refusal(&forged).is_some());
    }
}

#[test]
fn a_chunk_with_other_bytes_is_refused() {
    let blocks = forge::parse(&small());
    let length = blocks.iter().find(|b| b.kind == DATA).unwrap().payload.len();
    for at in [0, length / 2, length - 1] {
        let mut forged = blocks.clone();
        of_kind(&mut forged, DATA)[at] ^= 1;
        refused(&forged, "hashes to");
    }
}

/// Behind checksums that fit, a change is refused or it is another archive, and either way nothing
/// panics.
#[test]
fn every_sealed_change_is_refused_or_means_something() {
    let blocks = forge::parse(&small());
    let mut taken = 0;
    for (index, block) in blocks.iter().enumerate() {
        for at in 0..block.payload.len() {
            let mut forged = blocks.clone();
            forged[index].payload[at] ^= 1 << (at % 8);
            let bytes = forge::join(&forged);
            if refusal(&bytes).is_none() && block.kind != 6 {
                assert!([LOG, CONTEXT].contains(&block.kind), "byte {at} of block {}", block.kind);
                assert!(super::laws::rewritten(&bytes) == bytes);
                taken += 1;
            }
            if let Ok(archive) = Archive::open(Mutex::new(Cursor::new(bytes))) {
                archive.records().for_each(drop);
                archive.chunks().for_each(drop);
                let _ = archive.record(Lsn(7));
            }
        }
    }
    // A time, for instance.
    assert!(taken > 0, "nothing was sealed");
}
