//! The 64-byte header: fields, bytes, and the checks that need nothing else. Big-endian.

use super::{Error, Limits, SMALL_BLOCK_BYTES, SMALL_BLOCKS_MAX};
use crate::domain::hash::ContentHash;

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = [0xb7, 0x75, 0x63, 0x62];
const EXPONENT_MAX: u8 = 31;
/// The checksum leaves out the magic and itself.
const CHECKED_FROM: usize = 8;

/// How the blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all: the raw bytes follow the header, without table and blocks.
    Stored,
    /// Oodle (Selkie, Mermaid, Kraken, Leviathan). We only read it.
    Oodle,
    /// LZ4 block format.
    Lz4,
}

impl Method {
    const fn byte(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Oodle => 3,
            Self::Lz4 => 4,
        }
    }
}

/// BLAKE3 of the raw bytes as the header keeps it: 32 bytes, of which the first 20 count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHash(pub [u8; 32]);

impl RawHash {
    /// The 20 bytes that name the content.
    pub fn content_hash(&self) -> ContentHash {
        let mut short = [0; ContentHash::BYTES];
        short.copy_from_slice(self.0.split_at(ContentHash::BYTES).0);
        ContentHash(short)
    }
}

impl From<blake3::Hash> for RawHash {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// For content of which only the name is at hand: twelve zero bytes follow, as Epic's C# writer
/// does it and every reader accepts.
impl From<ContentHash> for RawHash {
    fn from(hash: ContentHash) -> Self {
        let mut long = [0; 32];
        long.split_at_mut(ContentHash::BYTES).0.copy_from_slice(hash.as_bytes());
        Self(long)
    }
}

/// The header of one compressed buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How the blocks are packed.
    pub method: Method,
    /// Byte 9: which Oodle compressor. For display only: one writer swaps it with the level.
    pub compressor: u8,
    /// Byte 10: compression level, for display only.
    pub level: i8,
    /// Blocks hold 2 to this power raw bytes; zero when stored.
    pub block_exponent: u8,
    /// Entries of the table that follows; 1 when stored.
    pub block_count: u32,
    /// Raw bytes.
    pub raw_bytes: u64,
    /// Bytes of the buffer with header and table, as the writer counted them.
    pub total_bytes: u64,
    /// BLAKE3 of the raw bytes.
    pub raw_hash: RawHash,
}

impl Header {
    /// The header that makes the `raw_bytes` bytes after it a compressed buffer.
    pub fn stored(raw_bytes: u64, raw_hash: impl Into<RawHash>) -> Self {
        Self {
            method: Method::Stored,
            compressor: 0,
            level: 0,
            block_exponent: 0,
            block_count: 1,
            raw_bytes,
            total_bytes: raw_bytes.saturating_add(HEADER_BYTES as u64),
            raw_hash: raw_hash.into(),
        }
    }

    /// Bytes of header and table, with the checksum over both. `table` is empty when stored.
    pub fn to_bytes(&self, table: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + table.len() * 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        let level = self.level.to_be_bytes();
        bytes.extend_from_slice(&[self.method.byte(), self.compressor]);
        bytes.extend_from_slice(&level);
        bytes.push(self.block_exponent);
        bytes.extend_from_slice(&self.block_count.to_be_bytes());
        bytes.extend_from_slice(&self.raw_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.total_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.raw_hash.0);
        for size in table {
            bytes.extend_from_slice(&size.to_be_bytes());
        }
        let (head, checked) = bytes.split_at_mut(CHECKED_FROM);
        head.split_at_mut(4).1.copy_from_slice(&crc32fast::hash(checked).to_be_bytes());
        bytes
    }

    /// Reads the header from the first 64 bytes. The checksum also covers the table: check it with
    /// `verify_checksum` once that is there.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            let have = bytes.len() as u64;
            return Err(Error::Truncated { offset: have, missing: HEADER_BYTES as u64 - have });
        };
        let mut rest = head.as_slice();
        let magic = take::<4>(&mut rest);
        if magic != MAGIC {
            return Err(Error::Magic { found: u32::from_be_bytes(magic) });
        }
        take::<4>(&mut rest);
        let [method, compressor, level, block_exponent] = take::<4>(&mut rest);
        let method = match method {
            0 => Method::Stored,
            3 => Method::Oodle,
            4 => Method::Lz4,
            found => return Err(Error::Method { found }),
        };
        if block_exponent > EXPONENT_MAX {
            return Err(Error::Exponent { found: block_exponent });
        }
        Ok(Self {
            method,
            compressor,
            level: i8::from_be_bytes([level]),
            block_exponent,
            block_count: u32::from_be_bytes(take(&mut rest)),
            raw_bytes: u64::from_be_bytes(take(&mut rest)),
            total_bytes: u64::from_be_bytes(take(&mut rest)),
            raw_hash: RawHash(take(&mut rest)),
        })
    }

    /// Name of the raw bytes.
    pub fn content_hash(&self) -> ContentHash {
        self.raw_hash.content_hash()
    }

    /// Raw bytes of a full block.
    pub const fn block_bytes(&self) -> u64 {
        1 << self.block_exponent
    }

    /// Raw bytes of block `index`: the last one may be short.
    pub(super) fn raw_bytes_of(&self, index: u32) -> u64 {
        let before = u64::from(index).saturating_mul(self.block_bytes());
        self.raw_bytes.saturating_sub(before).min(self.block_bytes())
    }

    /// Bytes of the table after the header.
    pub(super) fn table_bytes(&self) -> usize {
        match self.method {
            Method::Stored => 0,
            Method::Oodle | Method::Lz4 => {
                usize::try_from(self.block_count).map_or(usize::MAX, |n| n.saturating_mul(4))
            }
        }
    }

    /// Everything that can be said before the table is there. `available` is the length of the
    /// buffer's carrier, where known.
    pub(super) fn check(&self, limits: &Limits, available: Option<u64>) -> Result<(), Error> {
        if self.content_hash() == ContentHash::default() {
            return Err(Error::ZeroHash);
        }
        if self.raw_bytes > limits.raw_bytes_max {
            return Err(Error::TooLarge { found: self.raw_bytes, limit: limits.raw_bytes_max });
        }
        if self.method == Method::Stored {
            let expected = self.raw_bytes.saturating_add(HEADER_BYTES as u64);
            if self.total_bytes != expected {
                return Err(Error::TotalSize { found: self.total_bytes, expected });
            }
            return same_length(expected, available);
        }
        if self.raw_bytes == 0 {
            return Err(Error::EmptyBlocks);
        }
        let expected = self.raw_bytes.div_ceil(self.block_bytes());
        if u64::from(self.block_count) != expected {
            return Err(Error::BlockCount { found: self.block_count, expected });
        }
        let limit = if self.block_bytes() < SMALL_BLOCK_BYTES {
            limits.blocks_max.min(SMALL_BLOCKS_MAX)
        } else {
            limits.blocks_max
        };
        if self.block_count > limit {
            return Err(Error::TooManyBlocks { found: self.block_count, limit });
        }
        let largest = self.raw_bytes_of(0);
        if largest > limits.block_bytes_max {
            return Err(Error::BlockTooLarge { found: largest, limit: limits.block_bytes_max });
        }
        let least = HEADER_BYTES as u64 + 4 * u64::from(self.block_count);
        match available {
            Some(available) if available < least => {
                Err(Error::Truncated { offset: available, missing: least - available })
            }
            _ => Ok(()),
        }
    }

    /// The sizes of the blocks, checked against raw sizes, total and carrier.
    pub(super) fn check_table(&self, table: &[u32], available: Option<u64>) -> Result<(), Error> {
        let mut expected = (HEADER_BYTES + table.len() * 4) as u64;
        for (block, &found) in (0u32..).zip(table) {
            let raw = self.raw_bytes_of(block);
            let offset = HEADER_BYTES as u64 + 4 * u64::from(block);
            if u64::from(found) > raw {
                return Err(Error::BlockSize { block, offset, found, raw });
            }
            expected += u64::from(found);
        }
        // Smaller is how Epic's C# writer counts: blocks only.
        if self.total_bytes > expected {
            return Err(Error::TotalSize { found: self.total_bytes, expected });
        }
        same_length(expected, available)
    }
}

/// Compares the checksum in `bytes` (header, then table, nothing after) with the one it should be.
pub(super) fn verify_checksum(bytes: &[u8]) -> Result<(), Error> {
    let found = bytes
        .get(4..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |crc| u32::from_be_bytes(*crc));
    let computed = crc32fast::hash(bytes.get(CHECKED_FROM..).unwrap_or_default());
    if found == computed { Ok(()) } else { Err(Error::Checksum { found, computed }) }
}

fn same_length(expected: u64, available: Option<u64>) -> Result<(), Error> {
    match available {
        Some(available) if available != expected => Err(Error::Length { expected, available }),
        _ => Ok(()),
    }
}

/// Cuts `N` bytes off the front of a header that is known to hold them.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((head, tail)) => {
            *rest = tail;
            *head
        }
        None => [0; N],
    }
}
