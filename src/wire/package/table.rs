//! Header and table: bytes, fields, and every check that needs no payload.

use std::collections::BTreeSet;

use super::{Error, Limits};
use crate::domain::hash::ContentHash;

pub(super) const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 32;
/// Where in a line of the table its hash is.
pub(super) const HASH_AT: u64 = 12;
const MAGIC: [u8; 4] = [0xcc, 0xaa, 0x77, 0xaa];

const COMPRESSED: u32 = 1;
const OBJECT: u32 = 1 << 1;
const ERROR: u32 = 1 << 2;
const LOCAL_REFERENCE: u32 = 1 << 3;

/// First type bytes of packages that are sequences of compact binary fields.
const FIELD_TYPES: [u8; 7] = [0x01, 0x02, 0x03, 0x06, 0x0e, 0x0f, 0x10];

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the payload in the message.
    pub payload_bytes: u64,
    /// The payload is a compressed buffer.
    pub compressed: bool,
    /// The content is a compact binary object.
    pub object: bool,
    /// Hash of the content, that is of the payload when unpacked.
    pub hash: ContentHash,
}

impl Entry {
    const fn flags(&self) -> u32 {
        (if self.compressed { COMPRESSED } else { 0 }) | (if self.object { OBJECT } else { 0 })
    }

    /// Reads entry `index`, which starts at `offset` of the message.
    fn parse(bytes: &[u8; ENTRY_BYTES], index: u32, offset: u64) -> Result<Self, Error> {
        let (size, rest) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let (flags, hash) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let flags = u32::from_le_bytes(*flags);
        let offset = offset + 8;
        if flags & !(COMPRESSED | OBJECT | ERROR | LOCAL_REFERENCE) != 0 {
            return Err(Error::Flags { entry: index, offset, flags });
        }
        if flags & LOCAL_REFERENCE != 0 {
            return Err(Error::LocalReference { entry: index, offset });
        }
        if flags & ERROR != 0 {
            return Err(Error::ErrorEntry { entry: index, offset });
        }
        if index == 0 && flags & OBJECT == 0 {
            return Err(Error::RootNotObject { offset, flags });
        }
        Ok(Self {
            payload_bytes: u64::from_le_bytes(*size),
            compressed: flags & COMPRESSED != 0,
            object: flags & OBJECT != 0,
            hash: ContentHash(hash.first_chunk().copied().unwrap_or_default()),
        })
    }
}

/// Where the table line of entry `index` starts.
pub(super) fn entry_offset(index: u32) -> u64 {
    HEADER_BYTES as u64 + ENTRY_BYTES as u64 * u64::from(index)
}

/// End of a table of a root and `attachments`.
pub(super) fn table_end(attachments: u32) -> u64 {
    entry_offset(attachments) + ENTRY_BYTES as u64
}

/// Recognises what is no package message by as many bytes as there are (at most the first four).
pub(super) fn check_start(bytes: &[u8]) -> Result<(), Error> {
    match bytes {
        [first, ..] if FIELD_TYPES.contains(first) => Err(Error::FieldPackage { first: *first }),
        [a, b, c, d, ..] if [*a, *b, *c, *d] != MAGIC => {
            Err(Error::Magic { found: u32::from_be_bytes([*a, *b, *c, *d]) })
        }
        _ => Ok(()),
    }
}

/// Reads the header: the number of attachments, checked against limits and the message's length.
pub(super) fn parse_header(
    bytes: &[u8; HEADER_BYTES],
    limits: &Limits,
    available: Option<u64>,
) -> Result<u32, Error> {
    check_start(bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
    for (at, offset) in [(2, 8), (3, 12)] {
        if word(at) != 0 {
            return Err(Error::Reserved { offset, found: word(at) });
        }
    }
    let count = word(1);
    let expected = table_end(count);
    if let Some(available) = available
        && expected > available
    {
        return Err(Error::TableSize { count, expected, available });
    }
    if count > limits.attachments_max {
        return Err(Error::TooManyAttachments { found: count, limit: limits.attachments_max });
    }
    Ok(count)
}

/// Reads the table, which is all of `bytes`, and checks it against limits and the message's length.
pub(super) fn parse_table(
    bytes: &[u8],
    limits: &Limits,
    available: Option<u64>,
) -> Result<Vec<Entry>, Error> {
    let (lines, _) = bytes.as_chunks::<ENTRY_BYTES>();
    let mut entries = Vec::with_capacity(lines.len());
    let mut seen = BTreeSet::new();
    let mut total = (HEADER_BYTES + bytes.len()) as u64;
    for (index, line) in (0u32..).zip(lines) {
        let entry = Entry::parse(line, index, entry_offset(index))?;
        if !seen.insert(entry.hash) {
            return Err(Error::Duplicate {
                entry: index,
                offset: entry_offset(index) + HASH_AT,
                hash: entry.hash,
            });
        }
        if index == 0
            && entry.payload_bytes > limits.root_bytes_max.saturating_add(packing_bytes(&entry))
        {
            return Err(Error::RootTooLarge {
                found: entry.payload_bytes,
                limit: limits.root_bytes_max,
            });
        }
        total = total.saturating_add(entry.payload_bytes);
        entries.push(entry);
    }
    if total > limits.total_bytes_max {
        return Err(Error::TooLarge { found: total, limit: limits.total_bytes_max });
    }
    match available {
        Some(available) if available != total => Err(Error::Length { expected: total, available }),
        _ => Ok(entries),
    }
}

/// What a compressed root may take beyond its raw bytes: header and a table of small blocks.
fn packing_bytes(entry: &Entry) -> u64 {
    if entry.compressed { 4 << 10 } else { 0 }
}

/// Header and table in bytes.
pub(super) fn to_bytes(entries: &[Entry], attachments: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&attachments.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    for entry in entries {
        bytes.extend_from_slice(&entry.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&entry.flags().to_le_bytes());
        bytes.extend_from_slice(entry.hash.as_bytes());
    }
    bytes
}
