//! What can be wrong with a compressed buffer.

/// Why a compressed buffer was refused. Offsets count bytes from the buffer's first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end early.
    #[error("compressed buffer ends at byte {offset}, {missing} bytes short")]
    Truncated {
        /// Where the bytes end.
        offset: u64,
        /// Bytes still wanted of the part that was being read.
        missing: u64,
    },
    /// The first four bytes are not the format's.
    #[error("compressed buffer starts with {found:08x} at byte 0, not b7756362")]
    Magic {
        /// The four bytes, big-endian.
        found: u32,
    },
    /// A compression method nobody defined.
    #[error(
        "compressed buffer names method {found} at byte 8 (0 none, 3 oodle and 4 lz4 are known)"
    )]
    Method {
        /// The method byte.
        found: u8,
    },
    /// Blocks beyond 2 GiB.
    #[error("compressed buffer has block size exponent {found} at byte 11, above 31")]
    Exponent {
        /// The exponent byte.
        found: u8,
    },
    /// More or fewer blocks than the raw size needs.
    #[error(
        "compressed buffer counts {found} blocks at byte 12 where its raw size makes {expected}"
    )]
    BlockCount {
        /// What the header says.
        found: u32,
        /// Raw size divided by block size, rounded up.
        expected: u64,
    },
    /// Nothing, but in blocks: empty data is always stored.
    #[error("compressed buffer has raw size 0 at byte 16 with a block method")]
    EmptyBlocks,
    /// More blocks than we take.
    #[error("compressed buffer counts {found} blocks at byte 12, above the limit of {limit}")]
    TooManyBlocks {
        /// What the header says.
        found: u32,
        /// [`super::Limits::blocks_max`], or fewer for small blocks.
        limit: u32,
    },
    /// More raw bytes than we take.
    #[error("compressed buffer claims {found} raw bytes at byte 16, above the limit of {limit}")]
    TooLarge {
        /// What the header says.
        found: u64,
        /// [`super::Limits::raw_bytes_max`].
        limit: u64,
    },
    /// A single block holds more than we take.
    #[error(
        "compressed buffer has blocks of {found} raw bytes (exponent at byte 11), above the limit of {limit}"
    )]
    BlockTooLarge {
        /// Raw bytes of the largest block.
        found: u64,
        /// [`super::Limits::block_bytes_max`].
        limit: u64,
    },
    /// The sizes in header and table contradict each other or the bytes there are.
    #[error(
        "compressed buffer claims {found} bytes in all at byte 24 where its parts make {expected}"
    )]
    TotalSize {
        /// What the header says.
        found: u64,
        /// Header, table and blocks.
        expected: u64,
    },
    /// The carrier of the buffer (body, package entry, file) has another length than the buffer.
    #[error(
        "compressed buffer takes {expected} bytes but {available} are there (header at byte 0)"
    )]
    Length {
        /// Header, table and blocks.
        expected: u64,
        /// Bytes the carrier holds.
        available: u64,
    },
    /// Header or table were damaged.
    #[error(
        "compressed buffer has checksum {found:08x} at byte 4 where header and table give {computed:08x}"
    )]
    Checksum {
        /// What the header says.
        found: u32,
        /// CRC-32 of bytes 8 to the end of the table.
        computed: u32,
    },
    /// Partial buffers carry no hash; nothing could be verified.
    #[error("compressed buffer carries no raw hash at byte 32")]
    ZeroHash,
    /// A table entry above the raw size of its block.
    #[error("block {block} takes {found} bytes (table at byte {offset}), above its raw size {raw}")]
    BlockSize {
        /// Index of the block.
        block: u32,
        /// Where its table entry is.
        offset: u64,
        /// What the table says.
        found: u32,
        /// Raw bytes of the block.
        raw: u64,
    },
    /// A block's bytes do not unpack.
    #[error("block {block} at byte {offset} does not unpack")]
    Block {
        /// Index of the block.
        block: u32,
        /// Where its bytes start.
        offset: u64,
        /// Why.
        source: BlockError,
    },
    /// The raw bytes are not those the header names.
    #[error("raw bytes hash to {computed}, not to {expected} as byte 32 says")]
    Hash {
        /// Hash in the header.
        expected: crate::domain::hash::ContentHash,
        /// Hash of the bytes.
        computed: crate::domain::hash::ContentHash,
    },
    /// Bytes after the end of the buffer.
    #[error("bytes follow the end of the compressed buffer at byte {offset}")]
    Trailing {
        /// End of the buffer.
        offset: u64,
    },
}

/// Why one block does not unpack. Offsets count bytes from the block's first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The LZ4 library's verdict.
    #[error("lz4: {0}")]
    Lz4(String),
    /// The Oodle library's verdict.
    #[error("oodle: {0}")]
    Oodle(String),
    /// The Oodle library gave up by panicking.
    #[error("oodle decoder gave up on damaged data")]
    OodlePanic,
    /// The block's structure is not one that an Oodle writer makes.
    #[error("oodle structure at byte {offset}: {problem}")]
    OodleStructure {
        /// Where in the block.
        offset: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// Fewer bytes can never become that many.
    #[error("{packed} bytes cannot become {raw}")]
    Ratio {
        /// Packed bytes.
        packed: usize,
        /// Claimed raw bytes.
        raw: usize,
    },
    /// It unpacked to another size.
    #[error("it gives {found} bytes, not {expected}")]
    Size {
        /// Bytes that came out.
        found: usize,
        /// Bytes the header promises.
        expected: usize,
    },
}
