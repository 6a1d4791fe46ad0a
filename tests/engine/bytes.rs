//! Packages and compressed buffers, written by hand as the engine writes them.

use ledgerun::domain::ContentHash;

pub(crate) const COMPRESSED: u32 = 1;
pub(crate) const OBJECT: u32 = 2;

/// What is said of a buffer before its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: u8,
    pub(crate) exponent: u8,
    pub(crate) blocks: u32,
    pub(crate) raw: u64,
    pub(crate) total: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) table: Vec<u32>,
}

impl Head {
    /// Header and table, with the checksum that belongs to them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut checked = vec![self.method, 0, 0, self.exponent];
        checked.extend(self.blocks.to_be_bytes());
        checked.extend(self.raw.to_be_bytes());
        checked.extend(self.total.to_be_bytes());
        checked.extend(self.hash);
        checked.extend(self.table.iter().flat_map(|size| size.to_be_bytes()));
        let checksum = crc32fast::hash(&checked).to_be_bytes();
        [&[0xb7, 0x75, 0x63, 0x62], &checksum[..], &checked].concat()
    }
}

/// The header of `raw` when it isn't packed.
pub(crate) fn stored_head(raw: &[u8]) -> Head {
    let (length, hash) = (raw.len() as u64, *blake3::hash(raw).as_bytes());
    let total = length + 64;
    Head { method: 0, exponent: 0, blocks: 1, raw: length, total, hash, table: Vec::new() }
}

/// A buffer of method none.
pub(crate) fn stored(raw: &[u8]) -> Vec<u8> {
    [stored_head(raw).to_bytes(), raw.to_vec()].concat()
}

/// Blocks of 2^`exponent` bytes, each packed by `pack` or, where that isn't smaller, stored.
pub(crate) fn blocks(
    raw: &[u8],
    method: u8,
    exponent: u8,
    pack: impl Fn(&[u8]) -> Vec<u8>,
) -> (Head, Vec<u8>) {
    let mut head = Head { method, exponent, ..stored_head(raw) };
    let mut body = Vec::new();
    for block in raw.chunks(1 << exponent) {
        let packed = pack(block);
        let packed = if packed.len() < block.len() { &packed } else { block };
        head.table.push(packed.len() as u32);
        body.extend_from_slice(packed);
    }
    head.blocks = head.table.len() as u32;
    head.total = (64 + 4 * head.table.len() + body.len()) as u64;
    (head, body)
}

/// A buffer of LZ4 blocks, which the engine reads and others write.
pub(crate) fn lz4(raw: &[u8]) -> Vec<u8> {
    let (head, body) = blocks(raw, 4, 18, lz4_flex::block::compress);
    [head.to_bytes(), body].concat()
}

/// A buffer of method Oodle none of whose blocks got smaller.
pub(crate) fn oodle_of_stored_blocks(raw: &[u8]) -> Vec<u8> {
    let (head, body) = blocks(raw, 3, 18, <[u8]>::to_vec);
    [head.to_bytes(), body].concat()
}

/// One line of a package's table, and its payload.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) flags: u32,
    pub(crate) hash: ContentHash,
    pub(crate) size: u64,
    pub(crate) payload: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(flags: u32, hash: ContentHash, payload: Vec<u8>) -> Self {
        Self { flags, hash, size: payload.len() as u64, payload }
    }

    /// The root as the engine sends it.
    pub(crate) fn root(object: &[u8]) -> Self {
        Self::new(OBJECT | COMPRESSED, ContentHash::of(object), stored(object))
    }

    /// An attachment that is packed already.
    pub(crate) fn attachment(hash: ContentHash, packed: &[u8]) -> Self {
        Self::new(COMPRESSED, hash, packed.to_vec())
    }
}

/// A package message of these entries, the root first.
pub(crate) fn message(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![0xcc, 0xaa, 0x77, 0xaa];
    bytes.extend((entries.len() as u32 - 1).to_le_bytes());
    bytes.extend([0; 8]);
    for entry in entries {
        bytes.extend(entry.size.to_le_bytes());
        bytes.extend(entry.flags.to_le_bytes());
        bytes.extend(entry.hash.as_bytes());
    }
    for entry in entries {
        bytes.extend(&entry.payload);
    }
    bytes
}

/// The package that the engine makes: the root, then attachments sorted by hash.
pub(crate) fn package(root: &[u8], attachments: &[(ContentHash, &[u8])]) -> Vec<u8> {
    let mut sorted = attachments.to_vec();
    sorted.sort_by_key(|(hash, _)| *hash);
    let attachments = sorted.into_iter().map(|(hash, packed)| Entry::attachment(hash, packed));
    message(&std::iter::once(Entry::root(root)).chain(attachments).collect::<Vec<_>>())
}
