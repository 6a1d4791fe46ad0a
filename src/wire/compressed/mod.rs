//! Compressed buffers (`application/x-ue-comp`): a 64-byte header, a table of block sizes, blocks.
//!
//! | Face | For |
//! |---|---|
//! | [`decode`], [`encode`] | buffers that fit in memory |
//! | [`Decoder`] | bytes that arrive in pieces; memory stays at one block |
//! | [`Reader`] | files: gives the raw bytes as [`std::io::Read`] |
//! | [`Header::stored`], [`write_stored`], [`copy_stored`] | raw bytes sent out as a buffer without packing them |
//!
//! Everything is checked before it is trusted: magic, method, exponent, block count and checksum
//! before the first block is looked at, every block before memory is taken for it, and the hash of
//! the raw bytes at the end. Raw bytes are handed out *before* the hash of the whole is known, so a
//! streaming caller must not publish them until [`Decoder::finish`] says yes.
//!
//! Buffers of Epic's C# writer differ from those of the engine: twelve zero bytes end the hash,
//! compressor and level are swapped, and the total leaves out header and table. All three are read.
//!
//! What is stricter than the engine: bytes after the last block, blocks larger than their raw size
//! and buffers without a hash are refused.

mod decoder;
mod encode;
mod error;
mod header;
mod io;
mod oodle;
mod oodle_arrays;
mod oodle_scan;
#[cfg(test)]
mod samples_oodle;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_oodle;

pub use decoder::{Decoder, decode};
pub(super) use decoder::{Step, split_off};
pub use encode::{Packing, encode};
pub use error::{BlockError, Error};
pub use header::{HEADER_BYTES, Header, Method, RawHash};
pub use io::{Reader, copy_stored, write_stored};

/// Largest raw size of one block that [`Limits::raw`] accepts, in bytes.
///
/// The format allows 2 GiB. A block is unpacked as a whole, so this and the packed bytes of the
/// block (always fewer) are what a decoder holds in memory, and several decoders are at work at
/// once. Writers use 256 KiB.
pub const BLOCK_BYTES_MAX: u64 = 8 << 20;

/// Largest number of blocks that [`Limits::raw`] accepts: a table of 4 MiB.
pub const BLOCKS_MAX: u32 = 1 << 20;

/// Blocks of fewer raw bytes than this are small. No known writer makes any but the last.
const SMALL_BLOCK_BYTES: u64 = 4 << 10;

/// Largest number of small blocks in a buffer. Each costs some microseconds however little it holds.
const SMALL_BLOCKS_MAX: u32 = 4 << 10;

/// What a decoder is willing to take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Raw bytes of the whole buffer.
    pub raw_bytes_max: u64,
    /// Raw bytes of one block. Stored buffers have no blocks and are not bound by it.
    pub block_bytes_max: u64,
    /// Blocks, hence four times as many bytes of table. If they hold less than 4 KiB each, no more
    /// than 4096 are accepted anyway.
    pub blocks_max: u32,
}

impl Limits {
    /// The default limits on blocks, and `raw_bytes_max` for the buffer.
    pub const fn raw(raw_bytes_max: u64) -> Self {
        Self { raw_bytes_max, block_bytes_max: BLOCK_BYTES_MAX, blocks_max: BLOCKS_MAX }
    }
}
