//! Oodle blocks put together by hand.

use proptest::collection::vec;
use proptest::prelude::*;

use super::oodle::Oodle;
use super::samples_oodle::*;
use super::*;

fn unpack(packed: &[u8], raw: usize) -> Result<Vec<u8>, BlockError> {
    let mut unpacked = Vec::new();
    Oodle::default().unpack(packed, raw, &mut unpacked).map(|()| unpacked)
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
    let packed = buffer(&blocks, 18, &raw);
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
    for _ in 0..6 {
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

/// A sound block of 64 zero bytes that takes thousands of commands: each sets the byte to repeat.
fn laborious() -> Vec<u8> {
    const COMMANDS: usize = 2_000;
    // Run from the end: sixteen times four bytes, and then all that does nothing.
    let commands = [repeated(1, COMMANDS), plain(&[0x4f; 16])];
    block(KRAKEN, &array(3, &list(&commands, COMMANDS + 16), 64))
}

/// A buffer of Oodle blocks, each of which holds `1 << exponent` bytes; `raw` is all of them.
fn buffer(blocks: &[Vec<u8>], exponent: u8, raw: &[u8]) -> Vec<u8> {
    let table: Vec<u32> = blocks.iter().map(|block| u32::try_from(block.len()).unwrap()).collect();
    let body = blocks.concat();
    let header = Header {
        method: Method::Oodle,
        block_exponent: exponent,
        block_count: u32::try_from(blocks.len()).unwrap(),
        total_bytes: (HEADER_BYTES + 4 * table.len() + body.len()) as u64,
        level: -1,
        ..Header::stored(raw.len() as u64, blake3::hash(raw))
    };
    [header.to_bytes(&table), body].concat()
}

#[test]
fn tiny_blocks_together_cost_no_more_than_a_large_one() {
    let limits = Limits::raw(1 << 20);
    let one = buffer(&[laborious()], 6, &[0; 64]);
    assert_eq!(decode(&one, limits).unwrap(), [0; 64]);
    let many = buffer(&vec![laborious(); 4_000], 6, &vec![0; 256_000]);
    match decode(&many, limits) {
        Err(Error::Block {
            block: 1, source: BlockError::OodleStructure { problem, .. }, ..
        }) => {
            assert_eq!(problem, "far more work than its output is worth");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_small_blocks_are_as_many_as_they_like() {
    let text: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    let small = block(KRAKEN, &list(&[plain(&text), repeated(b'r', 1_096)], 4_096));
    let raw = [text.as_slice(), &[b'r'; 1_096]].concat().repeat(200);
    let packed = buffer(&vec![small; 200], 12, &raw);
    assert!(decode(&packed, Limits::raw(1 << 20)).unwrap() == raw);
    let (packed, raw) = kraken();
    let mut oodle = Oodle::default();
    let mut unpacked = Vec::new();
    for _ in 0..1_000 {
        oodle.unpack(&packed, raw.len(), &mut unpacked).unwrap();
    }
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
