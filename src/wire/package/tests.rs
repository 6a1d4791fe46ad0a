use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::domain::hash::ContentHash;
use crate::wire::compressed::{self, Packing};

const LIMITS: Limits = Limits {
    root_bytes_max: 1 << 16,
    attachments_max: 100,
    total_bytes_max: 1 << 20,
    attachment_bytes_max: 1 << 18,
    raw_bytes_max: 1 << 19,
};

/// An object that refers to "Hello world".
const ROOT: &str = "03198f03726566e7e6fb7d2869d109b62cdb1227208d4016cdaa0a";
/// Plain root, compressed attachment.
const P1: &str = "ccaa77aa0100000000000000000000001b0000000000000002000000417c47bd\
    efab38398106419c7b89dcb8be9578d64b0000000000000001000000e7e6fb7d\
    2869d109b62cdb1227208d4016cdaa0a03198f03726566e7e6fb7d2869d109b6\
    2cdb1227208d4016cdaa0ab77563621ca5b18b00000000000000010000000000\
    00000b000000000000004be7e6fb7d2869d109b62cdb1227208d4016cdaa0af6\
    603d95223c6a698137d94548656c6c6f20776f726c64";
/// Compressed root, compressed attachment: what the engine sends.
const P2: &str = "ccaa77aa0100000000000000000000005b0000000000000003000000417c47bd\
    efab38398106419c7b89dcb8be9578d64b0000000000000001000000e7e6fb7d\
    2869d109b62cdb1227208d4016cdaa0ab77563624372c6700000000000000001\
    000000000000001b000000000000005b417c47bdefab38398106419c7b89dcb8\
    be9578d66997ea5135d37be92020440603198f03726566e7e6fb7d2869d109b6\
    2cdb1227208d4016cdaa0ab77563621ca5b18b00000000000000010000000000\
    00000b000000000000004be7e6fb7d2869d109b62cdb1227208d4016cdaa0af6\
    603d95223c6a698137d94548656c6c6f20776f726c64";
/// Empty root alone.
const P3: &str = "ccaa77aa000000000000000000000000020000000000000002000000cd60d752\
    82bae1f9754e8cbc7590d8b3ed2f4c930200";
/// Plain root, plain attachment.
const P4: &str = "ccaa77aa0100000000000000000000001b0000000000000002000000417c47bd\
    efab38398106419c7b89dcb8be9578d60b0000000000000000000000e7e6fb7d\
    2869d109b62cdb1227208d4016cdaa0a03198f03726566e7e6fb7d2869d109b6\
    2cdb1227208d4016cdaa0a48656c6c6f20776f726c64";
/// Package made of compact binary fields.
const L1: &str = "10417c47bdefab38398106419c7b89dcb8be9578d603198f03726566e7e6fb7d\
    2869d109b62cdb1227208d4016cdaa0a0fe7e6fb7d2869d109b62cdb1227208d\
    4016cdaa0a060b48656c6c6f20776f726c6401";
/// The oldest kind of those, as it begins and ends.
const L2: &str = "03198f03726566e7e6fb7d2869d109b62cdb1227208d4016cdaa0a0e417c47bd\
    efab38398106419c7b89dcb8be9578d6064bb77563621ca5b18b000000000000\
    0001000000000000000b000000000000004be7e6fb7d2869d109b62cdb122720\
    8d4016cdaa0af6603d95223c6a698137d94548656c6c6f20776f726c640fe7e6\
    fb7d2869d109b62cdb1227208d4016cdaa0a01";
/// Payload of a local file reference.
const R1: &str = "0000000000000000ffffffffffffffff0800000000000000433a2f782e646174";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// Parses with pieces of `step` bytes.
fn stream(
    message: &[u8],
    step: usize,
    limits: Limits,
    available: Option<u64>,
) -> Result<Package, Error> {
    let mut parser = Parser::new(limits, available);
    let mut root = None;
    let mut attachments: Vec<Attachment> = Vec::new();
    let mut ended = 0;
    for piece in message.chunks(step.max(1)) {
        let mut input = piece;
        while let Some(event) = parser.next(&mut input)? {
            match event {
                Event::Root(bytes) => assert!(root.replace(bytes).is_none()),
                Event::Begin { index, entry } => {
                    assert_eq!(index as usize, attachments.len() + 1);
                    assert_eq!(ended, attachments.len());
                    attachments.push(Attachment {
                        hash: entry.hash,
                        object: entry.object,
                        content: Vec::new(),
                    });
                }
                Event::Content(piece) => {
                    assert!(!piece.is_empty());
                    attachments.last_mut().unwrap().content.extend_from_slice(piece);
                }
                Event::End { index, .. } => {
                    ended += 1;
                    assert_eq!(index as usize, ended);
                }
            }
        }
        assert!(input.is_empty());
    }
    let entries = parser.finish()?;
    assert_eq!(ended, attachments.len());
    Ok(Package { root: root.unwrap(), root_hash: entries[0].hash, attachments })
}

fn check_reads(message: &[u8], root: &[u8], contents: &[&[u8]]) {
    let package = parse(message, LIMITS).unwrap();
    assert_eq!(package.root, root);
    assert_eq!(package.root_hash, ContentHash::of(root));
    let found: Vec<&[u8]> =
        package.attachments.iter().map(|attachment| attachment.content.as_slice()).collect();
    assert_eq!(found, contents);
    for attachment in &package.attachments {
        assert_eq!(attachment.hash, ContentHash::of(&attachment.content));
    }
    for step in [1, 2, 15, 16, 64, 4096] {
        assert_eq!(stream(message, step, LIMITS, None).as_ref(), Ok(&package));
        assert_eq!(
            stream(message, step, LIMITS, Some(message.len() as u64)).as_ref(),
            Ok(&package)
        );
    }
}

/// Header and table of a message with these lines, then `payloads`.
fn message(lines: &[(u64, u32, ContentHash)], payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0xcc, 0xaa, 0x77, 0xaa];
    bytes.extend_from_slice(&u32::try_from(lines.len() - 1).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    for (size, flags, hash) in lines {
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(hash.as_bytes());
    }
    bytes.extend_from_slice(&payloads.concat());
    bytes
}

/// A root and one attachment with these flags and payload.
fn with_attachment(flags: u32, hash: ContentHash, payload: &[u8]) -> Vec<u8> {
    let root = bytes(ROOT);
    message(
        &[(root.len() as u64, 2, ContentHash::of(&root)), (payload.len() as u64, flags, hash)],
        &[root.as_slice(), payload],
    )
}

#[test]
fn vectors_read() {
    let root = bytes(ROOT);
    for text in [P1, P2, P4] {
        check_reads(&bytes(text), &root, &[b"Hello world"]);
    }
    check_reads(&bytes(P3), &[2, 0], &[]);
}

#[test]
fn vectors_are_written() {
    assert_eq!(write(&bytes(ROOT), &[b"Hello world"]).unwrap(), bytes(P1));
    assert_eq!(write(&[2, 0], &[]).unwrap(), bytes(P3));
    let packed = compressed::encode(b"Hello world", Packing::Stored);
    let part = Part::Compressed {
        hash: ContentHash::of(b"Hello world"),
        payload_bytes: packed.len() as u64,
    };
    let plan = Plan::new(&bytes(ROOT), vec![part]).unwrap();
    assert_eq!(plan.total_bytes(), 182);
    assert!(part.head().is_empty());
    assert_eq!([plan.head(), &packed].concat(), bytes(P1));
    let twice = vec![Part::stored(ContentHash::of(b"a"), 1); 2];
    assert!(matches!(Plan::new(&[2, 0], twice), Err(Error::Duplicate { entry: 2, .. })));
}

#[test]
fn object_attachments_are_read() {
    let object = [2, 0];
    check_reads(&with_attachment(2, ContentHash::of(&object), &object), &bytes(ROOT), &[&object]);
    let packed = compressed::encode(&object, Packing::Stored);
    let message = with_attachment(3, ContentHash::of(&object), &packed);
    assert!(parse(&message, LIMITS).unwrap().attachments[0].object);
    check_reads(&with_attachment(0, ContentHash::of(b""), b""), &bytes(ROOT), &[b""]);
}

#[test]
fn packages_of_fields_are_recognised() {
    for (text, first) in [(L1, 0x10), (L2, 0x03)] {
        let error = Error::FieldPackage { first };
        assert_eq!(parse(&bytes(text), LIMITS), Err(error.clone()));
        assert_eq!(stream(&bytes(text), 1, LIMITS, None), Err(error));
    }
    for first in [0x10, 0x02, 0x03, 0x0e, 0x0f, 0x06, 0x01] {
        assert_eq!(parse(&[first], LIMITS), Err(Error::FieldPackage { first }));
    }
    assert_eq!(parse(b"PK\x03\x04", LIMITS), Err(Error::Magic { found: 0x504b_0304 }));
    assert_eq!(parse(b"", LIMITS), Err(Error::Truncated { offset: 0, missing: 16 }));
}

#[test]
fn local_references_are_never_followed() {
    let payload = bytes(R1);
    let hash = ContentHash::of(b"whatever");
    let offset = 16 + 32 + 8;
    for flags in [8, 9] {
        assert_eq!(
            parse(&with_attachment(flags, hash, &payload), LIMITS),
            Err(Error::LocalReference { entry: 1, offset })
        );
    }
    assert!(matches!(
        parse(&with_attachment(1, hash, &payload), LIMITS),
        Err(Error::Payload { entry: 1, offset: 107, source: compressed::Error::Truncated { .. } })
    ));
}

#[test]
fn tables_that_lie() {
    let p1 = bytes(P1);
    let set = |at: usize, value: &[u8]| {
        let mut bad = p1.clone();
        bad[at..at + value.len()].copy_from_slice(value);
        let whole = parse(&bad, LIMITS);
        assert_eq!(stream(&bad, 5, LIMITS, Some(bad.len() as u64)), whole);
        whole.unwrap_err()
    };
    assert_eq!(set(8, &[1]), Error::Reserved { offset: 8, found: 1 });
    assert_eq!(set(15, &[1]), Error::Reserved { offset: 12, found: 1 << 24 });
    assert_eq!(
        set(4, &[0xff; 4]),
        Error::TableSize { count: u32::MAX, expected: 48 + 32 * 0xffff_ffff, available: 182 }
    );
    assert_eq!(set(24, &[0]), Error::RootNotObject { offset: 24, flags: 0 });
    assert_eq!(set(24, &[6]), Error::ErrorEntry { entry: 0, offset: 24 });
    assert_eq!(set(24, &[11]), Error::LocalReference { entry: 0, offset: 24 });
    assert_eq!(set(56, &[4]), Error::ErrorEntry { entry: 1, offset: 56 });
    assert_eq!(set(56, &[17]), Error::Flags { entry: 1, offset: 56, flags: 17 });
    assert_eq!(set(16, &[0x1c]), Error::Length { expected: 183, available: 182 });
    assert_eq!(set(48, &[0xff; 8]), Error::TooLarge { found: u64::MAX, limit: 1 << 20 });
    assert_eq!(
        set(60, &p1[28..48]),
        Error::Duplicate { entry: 1, offset: 60, hash: ContentHash::of(&bytes(ROOT)) }
    );
    assert!(matches!(set(28, &[0]), Error::Hash { entry: 0, offset: 80, .. }));
    assert!(matches!(set(60, &[0]), Error::Hash { entry: 1, offset: 107, .. }));
    assert!(matches!(
        set(181, b"!"),
        Error::Payload { entry: 1, source: compressed::Error::Hash { .. }, .. }
    ));
    let trailing = [p1.as_slice(), b"!"].concat();
    assert_eq!(parse(&trailing, LIMITS), Err(Error::Length { expected: 182, available: 183 }));
    assert_eq!(stream(&trailing, 9, LIMITS, None), Err(Error::Trailing { offset: 182 }));
}

#[test]
fn limits_hold() {
    let (p1, p2) = (bytes(P1), bytes(P2));
    let none = Limits { attachments_max: 0, ..LIMITS };
    assert_eq!(parse(&p1, none), Err(Error::TooManyAttachments { found: 1, limit: 0 }));
    let small = Limits { total_bytes_max: 181, ..LIMITS };
    assert_eq!(stream(&p1, 9, small, None), Err(Error::TooLarge { found: 182, limit: 181 }));
    let small = Limits { root_bytes_max: 26, ..LIMITS };
    for message in [&p1, &p2] {
        assert_eq!(parse(message, small), Err(Error::RootTooLarge { found: 27, limit: 26 }));
    }
    let small = Limits { attachment_bytes_max: 10, ..LIMITS };
    let error = Error::AttachmentTooLarge { entry: 1, offset: 107, found: 11, limit: 10 };
    assert_eq!(parse(&p1, small), Err(error.clone()));
    assert_eq!(parse(&bytes(P4), small), Err(error));
    let small = Limits { raw_bytes_max: 37, ..LIMITS };
    let error = Error::TooLargeUnpacked { entry: 1, offset: 107, found: 38, limit: 37 };
    assert_eq!(parse(&p1, small), Err(error));
    assert!(parse(&p1, Limits { raw_bytes_max: 38, ..LIMITS }).is_ok());
}

#[test]
fn tables_take_no_memory_before_they_come() {
    let mut head = bytes(P1)[..16].to_vec();
    head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let limits = Limits { attachments_max: u32::MAX, ..LIMITS };
    let mut parser = Parser::new(limits, None);
    assert_eq!(parser.next(&mut head.as_slice()), Ok(None));
    assert!(parser.held_bytes() < 1 << 10);
    assert_eq!(parser.finish(), Err(Error::Truncated { offset: 16, missing: 32 << 32 }));
}

#[test]
fn stray_attachments_are_found() {
    let mut parser = Parser::new(LIMITS, None);
    let message = bytes(P1);
    assert!(matches!(parser.next(&mut message.as_slice()), Ok(Some(Event::Root(_)))));
    let hash = ContentHash::of(b"Hello world");
    assert_eq!(parser.check_references(&BTreeSet::from([hash])), Ok(()));
    assert_eq!(
        parser.check_references(&BTreeSet::new()),
        Err(Error::Unreferenced { entry: 1, offset: 60, hash })
    );
}

#[test]
fn a_failed_parser_stays_failed() {
    let mut parser = Parser::new(LIMITS, None);
    let error = parser.next(&mut [1].as_slice()).map(|_| ()).unwrap_err();
    assert_eq!(parser.next(&mut bytes(P1).as_slice()), Err(error.clone()));
    assert_eq!(parser.finish(), Err(error));
}

proptest! {
    #[test]
    fn round_trip(
        root in vec(any::<u8>(), 1..300),
        contents in btree_set(vec(any::<u8>(), 0..2_000), 0..8),
        step in 1..3_000_usize,
    ) {
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).filter(|content| **content != root).collect();
        let message = write(&root, &contents).unwrap();
        let package = parse(&message, LIMITS).unwrap();
        prop_assert_eq!(&package.root, &root);
        let found: Vec<&[u8]> = package.attachments.iter().map(|attachment| attachment.content.as_slice()).collect();
        prop_assert_eq!(found, contents);
        prop_assert_eq!(stream(&message, step, LIMITS, None).unwrap(), package);
    }

    #[test]
    fn any_flipped_bit_is_noticed(text in prop::sample::select(vec![P1, P2, P3, P4]), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bad = bytes(text);
        let at = at.index(bad.len());
        bad[at] ^= 1 << bit;
        match parse(&bad, LIMITS) {
            // Whether an attachment is an object is the writer's word.
            Ok(package) => prop_assert!(at == 56 && bit == 1 && package.attachments[0].object),
            Err(_) => prop_assert!(stream(&bad, 11, LIMITS, None).is_err()),
        }
    }

    #[test]
    fn any_cut_is_noticed(text in prop::sample::select(vec![P1, P2, P3, P4]), at in any::<prop::sample::Index>()) {
        let whole = bytes(text);
        let cut = &whole[..at.index(whole.len())];
        prop_assert!(parse(cut, LIMITS).is_err());
        let is_truncated = matches!(stream(cut, 11, LIMITS, None), Err(Error::Truncated { .. }));
        prop_assert!(is_truncated);
    }

    #[test]
    fn faces_agree_on_rubbish(tail in vec(any::<u8>(), 0..200), start in 0..182_usize, step in 1..90_usize) {
        let message = [&bytes(P1)[..start], tail.as_slice()].concat();
        prop_assert_eq!(parse(&message, LIMITS), stream(&message, step, LIMITS, Some(message.len() as u64)));
    }
}
