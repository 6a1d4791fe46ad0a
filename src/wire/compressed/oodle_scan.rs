//! Looks at the structure of an Oodle block before the library does.
//!
//! The library follows nested parts by recursion as deep as the data says, which ends in a stack
//! overflow no guard can catch, and unpacks as many of them as there are, which a small block can
//! turn into minutes of work. But sizes and nesting of all parts are written in the clear, so one pass over the
//! headers bounds both without unpacking anything:
//!
//! ```text
//! block     per 256 KiB of output: 2 bytes of header, then raw bytes or one quantum
//! quantum   3 bytes of header; a repeated byte, or chunks
//! chunk     per 128 KiB of output: one array, or raw bytes, or the streams of a compressor
//! array     an entropy-coded run of bytes: stored, Huffman, tANS, or made of further arrays
//! ```
//!
//! Block headers are read here. What chunks and arrays hold is in [`super::oodle_arrays`].

use super::BlockError;
use super::oodle_arrays::{Arrays, Budget, Codec, fail};

const BLOCK_BYTES: usize = 256 << 10;
const CHUNK_BYTES: usize = 128 << 10;

/// Checks that `packed` has the structure of `raw` bytes packed by Selkie, Mermaid, Kraken or
/// Leviathan, nested and fanned out no more than such a packer does, and nothing after it. What it
/// costs comes off `budget`.
pub(super) fn check(packed: &[u8], raw: usize, budget: &mut Budget) -> Result<(), BlockError> {
    let mut arrays = Arrays::new(packed, budget);
    let mut at = 0;
    let mut offset = 0;
    // Output position since which matches may reach back.
    let mut base = 0;
    while offset < raw {
        let output = BLOCK_BYTES.min(raw - offset);
        let (first, second) = (arrays.byte(at)?, arrays.byte(at + 1)?);
        if first & 0x3f != 0x0c {
            return fail(at, "no block header");
        }
        let codec =
            Codec::of(second & 0x7f).map_or_else(|| fail(at + 1, "no compressor we know"), Ok)?;
        if second & 0x80 != 0 {
            return fail(at + 1, "checksums are not supported");
        }
        if first & 0x80 != 0 {
            base = offset;
        }
        at += 2;
        at = if first & 0x40 != 0 {
            arrays.skip(at, output, packed.len())?
        } else {
            quantum(&mut arrays, codec, at, output, offset - base)?
        };
        offset += output;
    }
    if at == packed.len() { Ok(()) } else { fail(at, "bytes follow the last quantum") }
}

/// Checks one quantum of `output` bytes, `history` bytes after the last restart. Gives its end.
fn quantum(
    arrays: &mut Arrays<'_>,
    codec: Codec,
    at: usize,
    output: usize,
    history: usize,
) -> Result<usize, BlockError> {
    const SPECIAL: usize = 0x3_ffff;
    let header = arrays.big_endian::<3>(at, arrays.len())?;
    let body = at + 3;
    if header & SPECIAL == SPECIAL {
        // A byte to repeat.
        return if header >> 18 == 1 {
            arrays.skip(body, 1, arrays.len())
        } else {
            fail(at, "no quantum header")
        };
    }
    let end = arrays.skip(body, (header & SPECIAL) + 1, arrays.len())?;
    let mut at = body;
    let mut done = 0;
    while done < output {
        let size = CHUNK_BYTES.min(output - done);
        at = chunk(arrays, codec, at, end, size, history + done == 0)?;
        done += size;
    }
    if at == end { Ok(end) } else { fail(at, "bytes follow the last chunk of a quantum") }
}

/// Checks one chunk of `output` bytes that lies before `end`. Gives its end.
fn chunk(
    arrays: &mut Arrays<'_>,
    codec: Codec,
    at: usize,
    end: usize,
    output: usize,
    first: bool,
) -> Result<usize, BlockError> {
    let header = arrays.big_endian::<3>(at, end)?;
    if header & 0x80_0000 == 0 {
        let (next, size) = arrays.array(at, end, output, 0)?;
        return if size == output { Ok(next) } else { fail(at, "a chunk of another size") };
    }
    let body = at + 3;
    let size = header & 0x7_ffff;
    let mode = (header >> 19) & 0xf;
    let chunk_end = arrays.skip(body, size, end)?;
    if size > output || (size == output && mode != 0) {
        return fail(at, "a chunk that does not shrink");
    }
    if size < output {
        // The first eight bytes after a restart are plain.
        let streams = if first { arrays.skip(body, 8, chunk_end)? } else { body };
        arrays.streams(codec, mode, streams, chunk_end, output)?;
    }
    Ok(chunk_end)
}
