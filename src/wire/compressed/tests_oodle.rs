//! No free packer writes Oodle, so these blocks are put together by hand from the structure that
//! `oodle_scan` describes. Their content is known from the rules of the format, not from our decoder.

use proptest::collection::vec;
use proptest::prelude::*;

use super::oodle::Oodle;
use super::*;

const KRAKEN: u8 = 0x06;
const MERMAID: u8 = 0x0a;
const QUANTUM_BYTES: usize = 256 << 10;

fn unpack(packed: &[u8], raw: usize) -> Result<Vec<u8>, BlockError> {
    let mut unpacked = Vec::new();
    Oodle::default().unpack(packed, raw, &mut unpacked).map(|()| unpacked)
}

fn be(value: usize, length: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - length..].to_vec()
}

/// A block of one quantum with this body.
fn block(codec: u8, body: &[u8]) -> Vec<u8> {
    [&[0x8c, codec], be(body.len() - 1, 3).as_slice(), body].concat()
}

/// An array stored as it is.
fn plain(content: &[u8]) -> Vec<u8> {
    [be(content.len(), 3).as_slice(), content].concat()
}

/// An array of `kind` whose packed bytes give `size`.
fn array(kind: usize, packed: &[u8], size: usize) -> Vec<u8> {
    [be(kind << 36 | (size - 1) << 18 | packed.len(), 5).as_slice(), packed].concat()
}

/// An array of one byte many times.
fn repeated(byte: u8, size: usize) -> Vec<u8> {
    array(3, &[byte], size)
}

/// Arrays one after the other as one.
fn list(arrays: &[Vec<u8>], size: usize) -> Vec<u8> {
    array(5, &[&[u8::try_from(arrays.len()).unwrap()], arrays.concat().as_slice()].concat(), size)
}

/// A Kraken chunk: eight bytes, the literals `xyz`, and matches eight bytes back.
fn kraken() -> (Vec<u8>, Vec<u8>) {
    // Two literals then 16 bytes from eight back; one more such match; the last literal.
    let commands = [2 | 14 << 2, 14 << 2];
    let streams =
        [b"abcdefgh".to_vec(), plain(b"xyz"), plain(&commands), plain(&[]), plain(&[]), vec![0x80]]
            .concat();
    let body = [be(0x80_0000 | 1 << 19 | streams.len(), 3), streams].concat();
    let mut raw = b"abcdefghxy".to_vec();
    for _ in 0..32 {
        raw.push(raw[raw.len() - 8]);
    }
    raw.push(b'z');
    (block(KRAKEN, &body), raw)
}

/// Blocks and what they hold, one of each structure.
fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
    let random: Vec<u8> = (0..=255).cycle().take(QUANTUM_BYTES).collect();
    let memset = vec![0x8c, KRAKEN, 0x07, 0xff, 0xff, b'm'];
    let stored = [&[0xcc, MERMAID], random.as_slice()].concat();
    let halves = list(&[plain(b"left"), repeated(b'r', 96)], 100);
    let nested = list(&[halves.clone(), list(&[repeated(b's', 50), plain(b"!")], 51)], 151);
    let mut hundred = b"left".to_vec();
    hundred.extend([b'r'; 96]);
    vec![
        (memset.clone(), vec![b'm'; 1000]),
        ([memset.as_slice(), &memset].concat(), vec![b'm'; QUANTUM_BYTES + 1]),
        ([stored.as_slice(), &memset].concat(), [random.as_slice(), &[b'm'; 500]].concat()),
        (block(KRAKEN, &repeated(b'a', 1000)), vec![b'a'; 1000]),
        (block(MERMAID, &repeated(b'a', 1000)), vec![b'a'; 1000]),
        (block(KRAKEN, &halves), hundred.clone()),
        (block(0x0c, &nested), [hundred.as_slice(), &[b's'; 50], b"!"].concat()),
        (block(KRAKEN, &[repeated(b'1', 128 << 10), repeated(b'2', 9)].concat()), {
            let mut raw = vec![b'1'; 128 << 10];
            raw.extend([b'2'; 9]);
            raw
        }),
        kraken(),
    ]
}

#[test]
fn hand_made_blocks_unpack() {
    for (index, (packed, raw)) in samples().into_iter().enumerate() {
        assert!(packed.len() < raw.len(), "sample {index}");
        assert!(unpack(&packed, raw.len()).unwrap() == raw, "sample {index}");
    }
}

#[test]
fn buffers_with_oodle_blocks_stream() {
    let raw = [vec![b'm'; 1 << 18], b"left".to_vec(), vec![b'r'; 96]].concat();
    let blocks = [
        vec![0x8c, KRAKEN, 0x07, 0xff, 0xff, b'm'],
        block(KRAKEN, &list(&[plain(b"left"), repeated(b'r', 96)], 100)),
    ];
    let table: Vec<u32> = blocks.iter().map(|block| u32::try_from(block.len()).unwrap()).collect();
    let header = Header {
        method: Method::Oodle,
        compressor: 3,
        level: -1,
        block_exponent: 18,
        block_count: 2,
        ..Header::stored(raw.len() as u64, blake3::hash(&raw))
    };
    let body = blocks.concat();
    let header = Header { total_bytes: (72 + body.len()) as u64, ..header };
    let packed = [header.to_bytes(&table), body].concat();
    let limits = Limits::raw(1 << 20);
    assert!(decode(&packed, limits).unwrap() == raw);
    let mut decoder = Decoder::new(limits, None);
    let mut streamed = Vec::new();
    for piece in packed.chunks(3) {
        let mut input = piece;
        while let Some(bytes) = decoder.next(&mut input).unwrap() {
            streamed.extend_from_slice(bytes);
        }
    }
    assert_eq!(decoder.finish().unwrap().level, -1);
    assert!(streamed == raw);
}

fn structure(result: &Result<Vec<u8>, BlockError>) -> &'static str {
    match result {
        Err(BlockError::OodleStructure { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn deep_nesting_is_refused_before_it_recurses() {
    let size = 120_000;
    let mut nested = repeated(b'x', size);
    for _ in 0..10_000 {
        nested = list(&[nested], size);
    }
    assert_eq!(structure(&unpack(&block(KRAKEN, &nested), size)), "arrays nested too deep");
    // As deep as allowed, the library does have the stack for it.
    let mut nested = repeated(b'x', size);
    for _ in 0..16 {
        nested = list(&[nested, plain(&[])], size);
    }
    assert!(unpack(&block(KRAKEN, &nested), size).unwrap() == vec![b'x'; size]);
    let nested = list(&[nested, plain(&[])], size);
    assert_eq!(structure(&unpack(&block(KRAKEN, &nested), size)), "arrays nested too deep");
    // The first part of run-length commands nests as well.
    let mut nested = repeated(b'x', size);
    for _ in 0..10_000 {
        nested = array(3, &nested, size);
    }
    assert_eq!(structure(&unpack(&block(KRAKEN, &nested), size)), "arrays nested too deep");
}

#[test]
fn fan_out_is_refused_before_it_burns_time() {
    let cost = "far more work than its output is worth";
    // Each part unpacks 200 KB of commands for 16 bytes of output.
    let part = array(3, &repeated(1, 200_000), 16);
    let lists: Vec<Vec<u8>> = (0..60).map(|_| list(&vec![part.clone(); 100], 1_600)).collect();
    assert_eq!(structure(&unpack(&block(KRAKEN, &list(&lists, 96_000)), 96_000)), cost);
    // Parts that give nothing are not free either.
    let mut parts = vec![plain(&[]); 126];
    parts.push(repeated(b'x', 500));
    let lists: Vec<Vec<u8>> = (0..126).map(|_| list(&parts, 500)).collect();
    assert_eq!(structure(&unpack(&block(KRAKEN, &list(&lists, 63_000)), 63_000)), cost);
}

#[test]
fn raw_sizes_are_backed_by_headers() {
    // Six bytes make at most one quantum.
    let memset = [0x8c, KRAKEN, 0x07, 0xff, 0xff, b'm'];
    assert_eq!(structure(&unpack(&memset, QUANTUM_BYTES + 1)), "the block ends early");
    assert_eq!(
        structure(&unpack(&[&memset[..], b"?"].concat(), 10)),
        "bytes follow the last quantum"
    );
    for other in [0x02, 0x05, 0x0b, 0x86] {
        assert!(unpack(&[0x8c, other, 0x07, 0xff, 0xff, b'm'], 10).is_err(), "{other}");
    }
}

#[test]
fn a_decoder_survives_a_panic_of_the_library() {
    let mut oodle = Oodle::default();
    let (good, raw) = kraken();
    let mut unpacked = Vec::new();
    let mut refused = 0;
    for at in 5..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            refused += usize::from(oodle.unpack(&bad, raw.len(), &mut unpacked).is_err());
            oodle.unpack(&good, raw.len(), &mut unpacked).unwrap();
            assert_eq!(unpacked, raw);
        }
    }
    assert!(refused > 50, "{refused}");
}

proptest! {
    #[test]
    fn damaged_blocks_never_panic(
        sample in 0..9_usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        raw in 1..300_000_usize,
    ) {
        let (mut packed, honest) = samples().swap_remove(sample);
        for (at, byte) in changes {
            // Headers are at the front.
            let at = at.index(packed.len().min(64));
            packed[at] = byte;
        }
        let _ = unpack(&packed, honest.len());
        let _ = unpack(&packed, raw);
    }

    #[test]
    fn rubbish_never_panics(codec in prop::sample::select(vec![KRAKEN, MERMAID, 0x0c]), body in vec(any::<u8>(), 1..400), raw in 1..2_000_usize) {
        let _ = unpack(&block(codec, &body), raw);
    }
}
