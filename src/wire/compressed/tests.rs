use std::io::{Cursor, Read};

use proptest::collection::vec;
use proptest::prelude::*;

use super::encode::pack;
use super::*;
use crate::domain::hash::ContentHash;

const LIMITS: Limits = Limits::raw(1 << 20);

/// "Hello world", stored.
const C1: &str = "b77563621ca5b18b0000000000000001000000000000000b000000000000004b\
    e7e6fb7d2869d109b62cdb1227208d4016cdaa0af6603d95223c6a698137d94548656c6c6f20776f726c64";
/// Nothing.
const C2: &str = "b77563621e23ba6b000000000000000100000000000000000000000000000040\
    af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
/// 1024 zero bytes, LZ4.
const C3: &str = "b77563629aebbfd7040000120000000100000000000004000000000000000052\
    d6fd9de5bccf223f523b316c9cd1cf9a9d87ea42473d68e011dad13f09bf89170000000e1f000100ffffffea500000000000";
/// `abcd` a hundred times, LZ4 in two blocks.
const C4: &str = "b77563624fd39674040000080000000200000000000001900000000000000064\
    bc6fec286ad37b8af3cf8745ece6ed22239f0c647b558ed1618f9f7b1ef6220c0000000e0000000e\
    4f616263640400e450646162636 44f616263640400745064616263 64";
/// Header and table of a Kraken buffer that the engine's editor wrote.
const C5: &str = "b775636227ab81b40303031200000001000000000000400000000000000000f2\
    3b5f442066cf050aa2040c55c10dbb6e54cefada40ded996f09693daf3fe7ce1000000ae";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// Decodes with pieces of `step` bytes; also gives the largest piece of raw bytes that came out.
fn stream(
    packed: &[u8],
    step: usize,
    limits: Limits,
    available: Option<u64>,
) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(limits, available);
    let mut raw = Vec::new();
    for piece in packed.chunks(step.max(1)) {
        let mut input = piece;
        while let Some(bytes) = decoder.next(&mut input)? {
            assert!(!bytes.is_empty());
            raw.extend_from_slice(bytes);
        }
        assert!(input.is_empty());
    }
    decoder.finish().map(|_| raw)
}

fn read(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    Reader::new(Cursor::new(packed), LIMITS, None).read_to_end(&mut raw)?;
    Ok(raw)
}

/// All three readers agree that `packed` holds `raw`.
fn check_reads(packed: &[u8], raw: &[u8]) {
    assert_eq!(decode(packed, LIMITS).unwrap(), raw);
    for step in [1, 7, 64, 65, 4096] {
        assert_eq!(stream(packed, step, LIMITS, None).unwrap(), raw);
        assert_eq!(stream(packed, step, LIMITS, Some(packed.len() as u64)).unwrap(), raw);
    }
    assert_eq!(read(packed).unwrap(), raw);
}

/// A buffer of `blocks` (packed bytes) that claims to unpack to `raw`.
fn buffer(method: Method, exponent: u8, blocks: &[&[u8]], raw: &[u8]) -> Vec<u8> {
    let table: Vec<u32> = blocks.iter().map(|block| u32::try_from(block.len()).unwrap()).collect();
    let body: Vec<u8> = blocks.concat();
    let header = Header {
        method,
        block_exponent: exponent,
        block_count: u32::try_from(blocks.len()).unwrap(),
        total_bytes: (HEADER_BYTES + table.len() * 4 + body.len()) as u64,
        ..Header::stored(raw.len() as u64, blake3::hash(raw))
    };
    let mut packed = header.to_bytes(&table);
    packed.extend_from_slice(&body);
    packed
}

/// `packed` after `change`, with a checksum that fits again.
fn resealed(packed: &[u8], table_bytes: usize, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut changed = packed.to_vec();
    change(&mut changed);
    let crc = crc32fast::hash(&changed[8..HEADER_BYTES + table_bytes]);
    changed[4..8].copy_from_slice(&crc.to_be_bytes());
    changed
}

#[test]
fn stored_vectors() {
    check_reads(&bytes(C1), b"Hello world");
    check_reads(&bytes(C2), b"");
    assert_eq!(encode(b"Hello world", Packing::Stored), bytes(C1));
    // Too short to shrink, and nothing at all: stored.
    assert_eq!(encode(b"Hello world", Packing::Lz4), bytes(C1));
    assert_eq!(encode(b"", Packing::Lz4), bytes(C2));
    assert_eq!(Header::stored(11, blake3::hash(b"Hello world")).to_bytes(&[]), bytes(C1)[..64]);
    assert_eq!(encode(&[0; 1024], Packing::Stored).len(), 1088);
}

#[test]
fn lz4_vectors() {
    check_reads(&bytes(C3), &[0; 1024]);
    check_reads(&bytes(C4), &b"abcd".repeat(100));
}

#[test]
fn kraken_header_vector() {
    let head = bytes(C5);
    let header = Header::parse(&head).unwrap();
    assert_eq!((header.method, header.compressor, header.level), (Method::Oodle, 3, 3));
    assert_eq!((header.block_exponent, header.block_count), (18, 1));
    assert_eq!((header.raw_bytes, header.total_bytes), (0x4000, 0xf2));
    assert_eq!(header.to_bytes(&[0xae]), head);
    // Header and table are fine; what is missing is the block.
    assert_eq!(stream(&head, 9, LIMITS, None), Err(Error::Truncated { offset: 68, missing: 0xae }));
    assert_eq!(decode(&head, LIMITS), Err(Error::Length { expected: 0xf2, available: 68 }));
}

#[test]
fn writers_for_streams() {
    let mut packed = Vec::new();
    write_stored(&mut packed, b"Hello world").unwrap();
    assert_eq!(packed, bytes(C1));
    packed.clear();
    copy_stored(&mut packed, &mut &b"Hello world and more"[..], 11, blake3::hash(b"Hello world"))
        .unwrap();
    assert_eq!(packed, bytes(C1));
    assert!(copy_stored(&mut Vec::new(), &mut &b"Hell"[..], 11, ContentHash::default()).is_err());
    // With the name alone the rest of the hash is zero, and that reads.
    let mut short = Header::stored(11, ContentHash::of(b"Hello world")).to_bytes(&[]);
    assert_eq!(short[52..], [0; 12]);
    short.extend_from_slice(b"Hello world");
    check_reads(&short, b"Hello world");
}

#[test]
fn buffers_of_the_other_writer_are_read() {
    // Twelve zeros after the hash, compressor and level swapped, total without header and table.
    let odd = resealed(&bytes(C4), 8, |packed| {
        packed[52..64].fill(0);
        packed[9] = 4;
        packed[10] = 3;
        packed[24..32].copy_from_slice(&28u64.to_be_bytes());
    });
    check_reads(&odd, &b"abcd".repeat(100));
    let no_blocks = resealed(&bytes(C1), 0, |packed| packed[15] = 0);
    check_reads(&no_blocks, b"Hello world");
}

#[test]
fn headers_that_lie() {
    let (c1, c4) = (bytes(C1), bytes(C4));
    let set = |packed: &[u8], table: usize, at: usize, value: &[u8]| {
        decode(
            &resealed(packed, table, |packed| packed[at..at + value.len()].copy_from_slice(value)),
            LIMITS,
        )
    };
    let huge = u64::MAX.to_be_bytes();
    let exabytes = (1u64 << 63).to_be_bytes();
    assert_eq!(set(&c1, 0, 0, b"zlib"), Err(Error::Magic { found: 0x7a6c_6962 }));
    assert_eq!(set(&c1, 0, 8, &[1]), Err(Error::Method { found: 1 }));
    assert_eq!(set(&c1, 0, 11, &[32]), Err(Error::Exponent { found: 32 }));
    assert_eq!(set(&c1, 0, 16, &exabytes), Err(Error::TooLarge { found: 1 << 63, limit: 1 << 20 }));
    assert_eq!(set(&c1, 0, 24, &[0; 8]), Err(Error::TotalSize { found: 0, expected: 75 }));
    assert_eq!(set(&c1, 0, 24, &huge), Err(Error::TotalSize { found: u64::MAX, expected: 75 }));
    assert_eq!(set(&c1, 0, 32, &[0; 20]), Err(Error::ZeroHash));
    assert_eq!(
        set(&c4, 8, 12, &[0xff; 4]),
        Err(Error::BlockCount { found: u32::MAX, expected: 2 })
    );
    assert_eq!(set(&c4, 8, 16, &[0; 8]), Err(Error::EmptyBlocks));
    assert_eq!(set(&c4, 8, 24, &huge), Err(Error::TotalSize { found: u64::MAX, expected: 100 }));
    assert_eq!(
        set(&c4, 8, 68, &[0, 0, 0, 0x91]),
        Err(Error::BlockSize { block: 1, offset: 68, found: 0x91, raw: 144 })
    );
    assert_eq!(set(&c4, 8, 64, &[0, 0, 0, 13]), Err(Error::TotalSize { found: 100, expected: 99 }));
    assert!(matches!(
        decode(
            &{
                let mut bad = c1.clone();
                bad[5] ^= 1;
                bad
            },
            LIMITS
        ),
        Err(Error::Checksum { .. })
    ));
    assert!(matches!(set(&c1, 0, 70, b"W"), Err(Error::Hash { .. })));
    let trailing = [c1.as_slice(), b"!"].concat();
    assert_eq!(stream(&trailing, 5, LIMITS, None), Err(Error::Trailing { offset: 75 }));
    assert_eq!(decode(&trailing, LIMITS), Err(Error::Length { expected: 75, available: 76 }));
}

#[test]
fn limits_hold_before_the_bytes_arrive() {
    let wide = Header {
        method: Method::Lz4,
        block_exponent: 31,
        ..Header::stored(1 << 40, blake3::hash(b""))
    };
    let limits = Limits::raw(u64::MAX);
    let head = Header { block_count: 512, ..wide.clone() }.to_bytes(&[]);
    assert_eq!(
        stream(&head, 64, limits, None),
        Err(Error::BlockTooLarge { found: 1 << 31, limit: BLOCK_BYTES_MAX })
    );
    // Four billion blocks of one byte: the table alone would be 16 GiB.
    let many =
        Header { block_exponent: 0, block_count: u32::MAX, raw_bytes: u64::from(u32::MAX), ..wide };
    let head = many.to_bytes(&[]);
    assert_eq!(
        stream(&head, 64, limits, None),
        Err(Error::TooManyBlocks { found: u32::MAX, limit: SMALL_BLOCKS_MAX })
    );
    // As many as one likes, if they are worth it.
    let large = Header { block_exponent: 12, raw_bytes: u64::from(u32::MAX) << 12, ..many };
    let head = large.to_bytes(&[]);
    assert_eq!(
        stream(&head, 64, limits, None),
        Err(Error::TooManyBlocks { found: u32::MAX, limit: BLOCKS_MAX })
    );
    let fits = Header { block_count: 4_097, raw_bytes: 4_097 << 12, ..large.clone() };
    assert!(matches!(
        stream(&fits.to_bytes(&[]), 64, limits, None),
        Err(Error::Truncated { offset: 64, .. })
    ));
    let small = Header { block_exponent: 11, raw_bytes: 4_097 << 11, ..fits };
    assert_eq!(
        stream(&small.to_bytes(&[]), 64, limits, None),
        Err(Error::TooManyBlocks { found: 4_097, limit: SMALL_BLOCKS_MAX })
    );
    // A promised table takes no memory before it comes.
    let mut decoder = Decoder::new(Limits { blocks_max: u32::MAX, ..limits }, None);
    assert_eq!(decoder.next(&mut head.as_slice()), Ok(None));
    assert!(decoder.held_bytes() < 1 << 10);
    // Known to be short: refused without waiting.
    let mut decoder = Decoder::new(Limits { blocks_max: u32::MAX, ..limits }, Some(64));
    assert!(matches!(decoder.next(&mut head.as_slice()), Err(Error::Truncated { offset: 64, .. })));
}

#[test]
fn large_stored_buffers_stream_in_flat_memory() {
    let piece = vec![7; 1 << 20];
    let mut hasher = blake3::Hasher::new();
    (0..64).for_each(|_| {
        hasher.update(&piece);
    });
    let head = Header::stored(64 << 20, hasher.finalize()).to_bytes(&[]);
    let mut decoder = Decoder::new(Limits::raw(1 << 30), None);
    assert_eq!(decoder.next(&mut head.as_slice()), Ok(None));
    for _ in 0..64 {
        let mut input = piece.as_slice();
        assert_eq!(decoder.next(&mut input).unwrap().map(<[u8]>::len), Some(1 << 20));
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert!(decoder.held_bytes() < 1 << 10);
    }
    assert_eq!(decoder.finish().unwrap().raw_bytes, 64 << 20);
}

/// Fails every other read.
struct Unsteady<R>(R, bool);

impl<R: Read> Read for Unsteady<R> {
    fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            Err(std::io::ErrorKind::Interrupted.into())
        } else {
            self.0.by_ref().take(10).read(target)
        }
    }
}

#[test]
fn failed_reads_can_be_tried_again() {
    let mut raw = Vec::new();
    // `read_to_end` goes on after an interruption.
    Reader::new(Unsteady(Cursor::new(bytes(C4)), false), LIMITS, None)
        .read_to_end(&mut raw)
        .unwrap();
    assert_eq!(raw, b"abcd".repeat(100));
}

#[test]
fn lz4_cannot_promise_more_than_it_can_hold() {
    let packed = buffer(Method::Lz4, 18, &[&[0x1f, 0, 1, 0]], &vec![0; 100_000]);
    let source = BlockError::Ratio { packed: 4, raw: 100_000 };
    assert_eq!(decode(&packed, LIMITS), Err(Error::Block { block: 0, offset: 68, source }));
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = Decoder::new(LIMITS, None);
    let error = decoder.next(&mut [0; 64].as_slice()).unwrap_err();
    assert_eq!(decoder.next(&mut bytes(C1).as_slice()), Err(error.clone()));
    assert_eq!(decoder.finish(), Err(error));
    let mut reader = Reader::new(Cursor::new(vec![0; 64]), LIMITS, None);
    assert!(reader.read(&mut [0; 9]).is_err() && reader.read(&mut [0; 9]).is_err());
}

/// Bytes that are neither uniform nor random, so that packers have something to do.
fn content(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec((vec(any::<u8>(), 1..20), 1..40_usize), 0..40).prop_map(move |runs| {
        let mut bytes: Vec<u8> =
            runs.into_iter().flat_map(|(word, times)| word.repeat(times)).collect();
        bytes.truncate(bytes_max);
        bytes
    })
}

proptest! {
    #[test]
    fn round_trip(raw in content(20_000), exponent in 4..19_u8, step in 1..5_000_usize) {
        let stored = encode(&raw, Packing::Stored);
        let packed = pack(&raw, exponent).unwrap_or_else(|| stored.clone());
        for packed in [stored, encode(&raw, Packing::Lz4), packed] {
            prop_assert_eq!(&decode(&packed, LIMITS).unwrap(), &raw);
            prop_assert_eq!(&stream(&packed, step, LIMITS, None).unwrap(), &raw);
            prop_assert_eq!(&read(&packed).unwrap(), &raw);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed(raw in content(2_000), exponent in 4..19_u8, at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut packed = pack(&raw, exponent).unwrap_or_else(|| encode(&raw, Packing::Stored));
        let at = at.index(packed.len());
        packed[at] ^= 1 << bit;
        // LZ4 may say the same in other words; anything else is an error.
        prop_assert!(decode(&packed, LIMITS).map_or(true, |found| found == raw && at >= 64));
        prop_assert!(stream(&packed, 100, LIMITS, None).map_or(true, |found| found == raw));
    }

    #[test]
    fn any_cut_is_noticed(raw in content(2_000), exponent in 4..19_u8, at in any::<prop::sample::Index>()) {
        let packed = pack(&raw, exponent).unwrap_or_else(|| encode(&raw, Packing::Stored));
        let cut = &packed[..at.index(packed.len())];
        prop_assert!(decode(cut, LIMITS).is_err());
        prop_assert!(stream(cut, 100, LIMITS, None).is_err());
        prop_assert!(read(cut).is_err());
    }

    #[test]
    fn faces_agree_on_rubbish(tail in vec(any::<u8>(), 0..200), start in 0..76_usize, step in 1..90_usize) {
        let packed = [&bytes(C1)[..start.min(75)], tail.as_slice()].concat();
        let whole = decode(&packed, LIMITS);
        let pieces = stream(&packed, step, LIMITS, Some(packed.len() as u64));
        prop_assert_eq!(whole, pieces);
    }
}
