//! How the engine reads a result: what it would stop over is a failed assertion here.

use std::collections::BTreeMap;

use ledgerun::domain::{ContentHash, ObjectId};
use ledgerun::wire::cb::{Field, Modes, Object, validate};

use crate::bytes::{COMPRESSED, OBJECT};
use crate::wire::{PKG, Reply};

/// A build's result as the engine sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Built {
    pub(crate) root: Vec<u8>,
    /// Values by id, unpacked.
    pub(crate) values: BTreeMap<ObjectId, Vec<u8>>,
    pub(crate) errors: Vec<String>,
}

impl Built {
    #[track_caller]
    pub(crate) fn read(reply: &Reply) -> Self {
        assert_eq!((reply.status, reply.media()), (200, PKG));
        let (root, attachments) = read_package(&reply.body);
        let object = Object::parse(root.clone()).unwrap();
        let errors = object.get("Messages").into_iter().flat_map(Field::children);
        let errors =
            errors.filter(|message| message.get("Level").unwrap().as_str() == Some("Error"));
        let errors: Vec<_> = errors
            .map(|message| message.get("Message").unwrap().as_str().unwrap().to_owned())
            .collect();
        let mut values = BTreeMap::new();
        for value in object.get("Values").into_iter().flat_map(Field::children) {
            let hash = value.get("RawHash").unwrap().as_attachment().unwrap().hash();
            let content = attachments.get(&hash).expect("every value is attached").clone();
            assert_eq!(value.get("RawSize").unwrap().as_u64(), Some(content.len() as u64));
            values.insert(value.get("Id").unwrap().as_object_id().unwrap(), content);
        }
        assert!(errors.is_empty() || values.is_empty(), "the engine drops values beside errors");
        Self { root, values, errors }
    }
}

/// Reads a package message. Gives the root and the attachments, unpacked.
fn read_package(bytes: &[u8]) -> (Vec<u8>, BTreeMap<ContentHash, Vec<u8>>) {
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    assert_eq!(word(0), 0xaa77_aacc, "magic");
    let count = word(4) as usize + 1;
    let mut payload = 16 + 32 * count;
    let (mut root, mut attachments) = (Vec::new(), BTreeMap::new());
    for index in 0..count {
        let at = 16 + 32 * index;
        let size = u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let flags = word(at + 8);
        let hash = ContentHash(*bytes[at + 12..].first_chunk().unwrap());
        let content = &bytes[payload..payload + size];
        payload += size;
        assert_eq!(flags & !(COMPRESSED | OBJECT), 0, "flags of entry {index}");
        if index == 0 {
            assert_ne!(flags & OBJECT, 0, "the root is an object");
            root = if flags & COMPRESSED == 0 { content.to_vec() } else { unpack(content) };
            let rules = Modes::DEFAULT.and(Modes::NAMES).and(Modes::PADDING);
            assert!(validate(&root, rules).is_empty(), "the root is an object the engine reads");
            assert_eq!(ContentHash::of(&root), hash);
        } else {
            assert_eq!(flags, COMPRESSED, "an object here stops the engine");
            let raw = unpack(content);
            assert_eq!(ContentHash::of(&raw), hash);
            assert!(attachments.insert(hash, raw).is_none(), "{hash} is there twice");
        }
    }
    assert_eq!(payload, bytes.len(), "nothing follows");
    (root, attachments)
}

/// Unpacks a compressed buffer after what the engine checks of it.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    let (head, body) = bytes.split_at(64);
    assert_eq!(head[..4], [0xb7, 0x75, 0x63, 0x62], "magic");
    let total = u64::from_be_bytes(*head[24..].first_chunk().unwrap());
    assert_eq!(total, bytes.len() as u64, "size in all");
    let raw_size = u64::from_be_bytes(*head[16..].first_chunk().unwrap()) as usize;
    let blocks = u32::from_be_bytes(*head[12..].first_chunk().unwrap()) as usize;
    let checked = if head[8] == 0 { 64 } else { 64 + 4 * blocks };
    assert_eq!(head[4..8], crc32fast::hash(&bytes[8..checked]).to_be_bytes(), "checksum");
    match head[8] {
        0 => {
            assert_eq!((raw_size, &head[9..12]), (body.len(), &[0, 0, 0][..]));
            body.to_vec()
        }
        4 => {
            let (table, mut body) = body.split_at(4 * blocks);
            let mut raw = Vec::new();
            for size in table.as_chunks::<4>().0 {
                let (block, rest) = body.split_at(u32::from_be_bytes(*size) as usize);
                body = rest;
                let length = (raw_size - raw.len()).min(1 << head[11]);
                if block.len() < length {
                    raw.extend(lz4_flex::block::decompress(block, length).unwrap());
                } else {
                    raw.extend(block);
                }
            }
            raw
        }
        method => panic!("method {method}"),
    }
}
