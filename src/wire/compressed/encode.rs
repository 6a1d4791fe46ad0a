//! Whole-buffer encoding.

use super::{HEADER_BYTES, Header, Method};

/// 256 KiB: what every known writer uses.
const BLOCK_EXPONENT: u8 = 18;

/// How to pack. There is no free Oodle packer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Header and raw bytes.
    Stored,
    /// LZ4 where that is smaller, otherwise stored.
    Lz4,
}

/// Packs `raw` into a compressed buffer.
pub fn encode(raw: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Stored => None,
        Packing::Lz4 => pack(raw, BLOCK_EXPONENT),
    }
    .unwrap_or_else(|| store(raw))
}

fn store(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Header::stored(raw.len() as u64, blake3::hash(raw)).to_bytes(&[]);
    bytes.extend_from_slice(raw);
    bytes
}

/// Packs with LZ4 in blocks of 2^`exponent` bytes; `None` if table and blocks are not smaller than
/// `raw`, which includes empty data.
pub(super) fn pack(raw: &[u8], exponent: u8) -> Option<Vec<u8>> {
    let mut table = Vec::new();
    let mut blocks = Vec::new();
    for block in raw.chunks(1 << exponent) {
        let packed = lz4_flex::block::compress(block);
        // A block that does not shrink is stored; readers tell by its size.
        let stored = if packed.len() < block.len() { packed.as_slice() } else { block };
        table.push(u32::try_from(stored.len()).ok()?);
        blocks.extend_from_slice(stored);
    }
    let body = table.len() * 4 + blocks.len();
    if raw.len() <= body {
        return None;
    }
    let header = Header {
        method: Method::Lz4,
        block_exponent: exponent,
        block_count: u32::try_from(table.len()).ok()?,
        total_bytes: (HEADER_BYTES + body) as u64,
        ..Header::stored(raw.len() as u64, blake3::hash(raw))
    };
    let mut bytes = header.to_bytes(&table);
    bytes.append(&mut blocks);
    Some(bytes)
}
