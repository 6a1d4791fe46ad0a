//! The container of backups' files and of the stream between service and client: blocks with
//! checksums, and a hash of all at the end.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Error;
use crate::domain::{ChunkId, ContentHash, Lsn};

pub(super) const MAGIC: [u8; 8] = *b"LRUNBAK1";
/// Kind, three zeros, length, checksum.
const HEADER_BYTES: usize = 12;
/// Longest payload, in bytes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Of a stream: what it is of, as JSON.
    Head = 1,
    /// Position of the first record, then length and value of each.
    Log = 2,
    /// Names and lengths of chunks.
    List = 3,
    /// Name and length of a chunk, where in it this begins, and that part of it.
    Piece = 4,
    /// Of a stream: name of a chunk whose pieces don't count, and why.
    Lost = 5,
    /// What a base state says of itself.
    Base = 6,
    /// The next part of the base state.
    State = 7,
    /// Records kept from before the base state: position, length and value of each.
    Kept = 8,
    /// Hash of all before.
    End = 15,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Head,
            2 => Self::Log,
            3 => Self::List,
            4 => Self::Piece,
            5 => Self::Lost,
            6 => Self::Base,
            7 => Self::State,
            8 => Self::Kept,
            15 => Self::End,
            _ => return None,
        })
    }
}

fn checksum(start: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(start);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes blocks, and the end.
pub(super) struct Writer<W> {
    out: W,
    hasher: blake3::Hasher,
    pub(super) bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), bytes: 0 };
        writer.write(&MAGIC)?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    pub(super) fn block(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&[kind as u8, 0, 0, 0]);
        header.extend_from_slice(&length.to_be_bytes());
        let sum = checksum(&header, payload);
        header.extend_from_slice(&sum.to_be_bytes());
        self.write(&header)?;
        self.write(payload)
    }

    /// Writes the end; the hash and length of the whole, and what it was written to.
    pub(super) fn finish(mut self) -> io::Result<(blake3::Hash, u64, W)> {
        let hash = self.hasher.finalize();
        self.block(Kind::End, hash.as_bytes())?;
        self.out.flush()?;
        Ok((self.hasher.finalize(), self.bytes, self.out))
    }
}

/// Reads blocks up to the end. Nothing read is believed before its checksum fits.
pub(super) struct Reader<R> {
    input: R,
    hasher: blake3::Hasher,
    path: PathBuf,
    /// Where the block that was read last begins.
    pub(super) at: u64,
    offset: u64,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// `path` is what errors name.
    pub(super) fn open(input: R, path: &Path) -> Result<Self, Error> {
        let mut reader = Self {
            input,
            hasher: blake3::Hasher::new(),
            path: path.to_owned(),
            at: 0,
            offset: 0,
            payload: Vec::new(),
        };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if magic == MAGIC { Ok(reader) } else { Err(reader.damaged("it is no part of a backup")) }
    }

    /// An error at the block that was read last.
    pub(super) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), offset: self.at, what: what.into() }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        match self.input.read_exact(buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it breaks off"));
            }
            Err(source) => return Err(Error::io("read", &self.path, source)),
        }
        self.hasher.update(buffer);
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// The next block; none after the end, where nothing may follow.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, &[u8])>, Error> {
        self.at = self.offset;
        let before = self.hasher.finalize();
        let mut header = [0; HEADER_BYTES];
        self.fill(&mut header)?;
        let [kind, a, b, c, l0, l1, l2, l3, s0, s1, s2, s3] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let kind = Kind::of(kind).ok_or_else(|| self.damaged(format!("block of kind {kind}")))?;
        if [a, b, c] != [0; 3] || length > PAYLOAD_BYTES_MAX {
            return Err(self.damaged("no block begins like this"));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length, 0);
        self.fill(&mut payload)?;
        self.payload = payload;
        let start = header.get(..8).unwrap_or_default();
        if checksum(start, &self.payload) != u32::from_be_bytes([s0, s1, s2, s3]) {
            return Err(self.damaged("a block's checksum does not fit"));
        }
        if kind != Kind::End {
            return Ok(Some((kind, &self.payload)));
        }
        if self.payload != before.as_bytes() {
            return Err(self.damaged("the hash at the end does not fit what is before it"));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(None),
            Ok(_) => Err(self.damaged("bytes follow the end")),
            Err(source) => Err(Error::io("read", &self.path, source)),
        }
    }

    /// The payload of the block that was read last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Of all that was read.
    pub(super) fn hash(&self) -> (blake3::Hash, u64) {
        (self.hasher.finalize(), self.offset)
    }
}

/// Records are gathered up to so many bytes.
const LOG_BLOCK_BYTES: usize = 64 << 10;

/// Gathers records into blocks.
pub(super) struct Records {
    /// Whether LSNs are missing between them, so that each has its own.
    with_gaps: bool,
    block: Vec<u8>,
}

impl Records {
    /// For blocks of this kind.
    pub(super) fn of(kind: Kind) -> Self {
        Self { with_gaps: kind == Kind::Kept, block: Vec::new() }
    }

    /// Adds the value of the record at `lsn`; gives a block that is full.
    pub(super) fn push(&mut self, lsn: Lsn, value: &[u8]) -> Option<Vec<u8>> {
        let head = if self.with_gaps { 12 } else { 4 };
        let full = self.block.len() + head + value.len() > LOG_BLOCK_BYTES;
        let block = if full { self.take() } else { None };
        if self.with_gaps || self.block.is_empty() {
            self.block.extend_from_slice(&lsn.to_key());
        }
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.block.extend_from_slice(&length.to_be_bytes());
        self.block.extend_from_slice(value);
        block
    }

    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.block)).filter(|block| !block.is_empty())
    }
}

/// The records in a block; none when it is malformed.
pub(super) fn log_values(payload: &[u8]) -> Option<Vec<(Lsn, bytes::Bytes)>> {
    let (first, mut rest) = payload.split_first_chunk::<8>()?;
    let mut lsn = Lsn(u64::from_be_bytes(*first));
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let (value, after) = after.split_at_checked(length)?;
        values.push((lsn, bytes::Bytes::copy_from_slice(value)));
        lsn = lsn.next();
        rest = after;
    }
    Some(values)
}

/// The same of a block of records with gaps between them.
pub(super) fn kept_values(mut rest: &[u8]) -> Option<Vec<(Lsn, bytes::Bytes)>> {
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (lsn, after) = rest.split_first_chunk::<8>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let lsn = Lsn(u64::from_be_bytes(*lsn));
        values.push((lsn, bytes::Bytes::copy_from_slice(value)));
        rest = after;
    }
    Some(values)
}

/// Bytes of an entry of a list.
const ENTRY_BYTES: usize = 28;
/// Entries of a block.
pub(super) const ENTRIES_MAX: usize = 16_384;
/// Length of a chunk that could not be had.
pub(super) const MISSING: u64 = u64::MAX;

pub(super) fn list_block(entries: &[(ChunkId, u64)]) -> Vec<u8> {
    let mut block = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (id, bytes) in entries {
        block.extend_from_slice(id.0.as_bytes());
        block.extend_from_slice(&bytes.to_be_bytes());
    }
    block
}

/// The entries in a block; none when it is malformed.
pub(super) fn list_entries(payload: &[u8]) -> Option<Vec<(ChunkId, u64)>> {
    let (entries, rest) = payload.as_chunks::<ENTRY_BYTES>();
    let entry = |entry: &[u8; ENTRY_BYTES]| {
        let (id, bytes) = entry.split_first_chunk::<20>()?;
        Some((ChunkId(ContentHash(*id)), u64::from_be_bytes(bytes.try_into().ok()?)))
    };
    rest.is_empty().then(|| entries.iter().filter_map(entry).collect())
}

/// A part of a chunk.
pub(super) struct Piece<'a> {
    pub(super) id: ChunkId,
    /// Length of the whole chunk.
    pub(super) total: u64,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

/// Bytes of a chunk in one block.
pub(super) const PIECE_BYTES: usize = 256 << 10;

impl<'a> Piece<'a> {
    pub(super) fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(36 + self.bytes.len());
        block.extend_from_slice(self.id.0.as_bytes());
        block.extend_from_slice(&self.total.to_be_bytes());
        block.extend_from_slice(&self.offset.to_be_bytes());
        block.extend_from_slice(self.bytes);
        block
    }

    pub(super) fn of(payload: &'a [u8]) -> Option<Self> {
        let (id, rest) = payload.split_first_chunk::<20>()?;
        let (total, rest) = rest.split_first_chunk::<8>()?;
        let (offset, bytes) = rest.split_first_chunk::<8>()?;
        let id = ChunkId(ContentHash(*id));
        let (total, offset) = (u64::from_be_bytes(*total), u64::from_be_bytes(*offset));
        let end = offset.checked_add(bytes.len() as u64)?;
        (end <= total).then_some(Self { id, total, offset, bytes })
    }

    /// Whether the chunk ends with it.
    pub(super) const fn is_last(&self) -> bool {
        self.offset + self.bytes.len() as u64 == self.total
    }
}
