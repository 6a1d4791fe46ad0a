//! Writing: the table and the total length are known before the first payload is touched.

use std::collections::BTreeSet;

use super::table::{self, HASH_AT, entry_offset};
use super::{Entry, Error};
use crate::domain::hash::ContentHash;
use crate::wire::compressed::{HEADER_BYTES, Header, RawHash};

/// An attachment to be written: its name, and how its payload will be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `raw_bytes` bytes of content, sent as a stored compressed buffer: the payload is
    /// [`Part::head`], then the content.
    Stored {
        /// Hash of the content. A [`ContentHash`] is enough.
        hash: RawHash,
        /// Length of the content.
        raw_bytes: u64,
    },
    /// A compressed buffer that exists already: the payload is that, and the head is empty.
    Compressed {
        /// Hash of the unpacked content.
        hash: ContentHash,
        /// Length of the buffer.
        payload_bytes: u64,
    },
}

impl Part {
    /// A part of `raw_bytes` bytes of content with this hash.
    pub fn stored(hash: impl Into<RawHash>, raw_bytes: u64) -> Self {
        Self::Stored { hash: hash.into(), raw_bytes }
    }

    /// Name of the content.
    pub fn hash(&self) -> ContentHash {
        match self {
            Self::Stored { hash, .. } => hash.content_hash(),
            Self::Compressed { hash, .. } => *hash,
        }
    }

    /// What goes in front of the content: the header of a stored buffer, or nothing.
    pub fn head(&self) -> Vec<u8> {
        match self {
            Self::Stored { hash, raw_bytes } => Header::stored(*raw_bytes, *hash).to_bytes(&[]),
            Self::Compressed { .. } => Vec::new(),
        }
    }

    /// Length of the payload in bytes, head included.
    pub const fn payload_bytes(&self) -> u64 {
        match self {
            Self::Stored { raw_bytes, .. } => raw_bytes.saturating_add(HEADER_BYTES as u64),
            Self::Compressed { payload_bytes, .. } => *payload_bytes,
        }
    }
}

/// A message before its payloads: send [`Plan::head`], then for each part its head and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    head: Vec<u8>,
    parts: Vec<Part>,
    total_bytes: u64,
}

impl Plan {
    /// Plans a message with `root`, the bytes of an unnamed compact binary object, and `parts` in
    /// the order they will be sent. Fails if two of them (or one and the root) have the same hash,
    /// since readers refuse that.
    pub fn new(root: &[u8], parts: Vec<Part>) -> Result<Self, Error> {
        let root_hash = ContentHash::of(root);
        let mut entries = vec![Entry {
            payload_bytes: root.len() as u64,
            compressed: false,
            object: true,
            hash: root_hash,
        }];
        let mut seen = BTreeSet::from([root_hash]);
        for (index, part) in (1u32..).zip(&parts) {
            let hash = part.hash();
            if !seen.insert(hash) {
                return Err(Error::Duplicate {
                    entry: index,
                    offset: entry_offset(index) + HASH_AT,
                    hash,
                });
            }
            entries.push(Entry {
                payload_bytes: part.payload_bytes(),
                compressed: true,
                object: false,
                hash,
            });
        }
        let attachments = u32::try_from(parts.len())
            .map_err(|_| Error::TooManyAttachments { found: u32::MAX, limit: u32::MAX - 1 })?;
        let mut head = table::to_bytes(&entries, attachments);
        head.extend_from_slice(root);
        let total_bytes = parts
            .iter()
            .fold(head.len() as u64, |sum, part| sum.saturating_add(part.payload_bytes()));
        Ok(Self { head, parts, total_bytes })
    }

    /// Header, table and root object.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The attachments in the order they are to be sent.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Length of the whole message in bytes (Content-Length).
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

/// Writes a whole message: a plain root and each of `contents` as a stored compressed buffer.
pub fn write(root: &[u8], contents: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let parts = contents
        .iter()
        .map(|content| Part::stored(blake3::hash(content), content.len() as u64))
        .collect();
    let plan = Plan::new(root, parts)?;
    let mut bytes = plan.head().to_vec();
    for (part, content) in plan.parts().iter().zip(contents) {
        bytes.extend_from_slice(&part.head());
        bytes.extend_from_slice(content);
    }
    Ok(bytes)
}
