//! No free packer writes Oodle, so these blocks are put together by hand from the structure that
//! `oodle_scan` describes. Their content is known from the rules of the format, not from our decoder.
//! The fuzz targets start from them as well.

pub(super) const KRAKEN: u8 = 0x06;
pub(super) const MERMAID: u8 = 0x0a;
pub(super) const QUANTUM_BYTES: usize = 256 << 10;

pub(super) fn be(value: usize, length: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - length..].to_vec()
}

/// A block of one quantum with this body.
pub(super) fn block(codec: u8, body: &[u8]) -> Vec<u8> {
    [&[0x8c, codec], be(body.len() - 1, 3).as_slice(), body].concat()
}

/// An array stored as it is.
pub(super) fn plain(content: &[u8]) -> Vec<u8> {
    [be(content.len(), 3).as_slice(), content].concat()
}

/// An array of `kind` whose packed bytes give `size`.
pub(super) fn array(kind: usize, packed: &[u8], size: usize) -> Vec<u8> {
    [be(kind << 36 | (size - 1) << 18 | packed.len(), 5).as_slice(), packed].concat()
}

/// An array of one byte many times.
pub(super) fn repeated(byte: u8, size: usize) -> Vec<u8> {
    array(3, &[byte], size)
}

/// Arrays one after the other as one.
pub(super) fn list(arrays: &[Vec<u8>], size: usize) -> Vec<u8> {
    array(5, &[&[u8::try_from(arrays.len()).unwrap()], arrays.concat().as_slice()].concat(), size)
}

/// A Kraken chunk: eight bytes, the literals `xyz`, and matches eight bytes back.
pub(super) fn kraken() -> (Vec<u8>, Vec<u8>) {
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
pub(super) fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
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
