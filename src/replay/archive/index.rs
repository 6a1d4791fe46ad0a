//! Where things are in an archive: small, so that a long archive can be used where it lies.

use super::blocks::Header;
use super::{
    BLOCK_HEADER_BYTES, CHUNKS_LEN_MAX, Error, Head, Kind, MAGIC, MISSING, ReadAt, Reason,
    TABLE_ENTRY_BYTES,
};
use crate::domain::{ChunkId, ContentHash, Lsn};

/// Entries of the chunk table between two that are remembered; a block has a multiple of it.
const STEP: usize = 73;

/// Entries in a full block of the table.
const ENTRIES: usize = Kind::Table.payload_bytes_max() / TABLE_ENTRY_BYTES;

/// A chunk as the table has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub chunk: ChunkId,
    /// None: it was missing when the archive was written.
    pub bytes: Option<u64>,
    /// Where its content begins in the stream of all chunks.
    pub(super) position: u64,
}

/// Where the blocks of records are and, roughly, the chunks.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) head: Head,
    /// Blocks of the log: their first record and their offset in the file.
    pub(super) log: Vec<(Lsn, u64)>,
    /// The same of the context.
    pub(super) context: Vec<(Lsn, u64)>,
    /// Offset of the first block of the table.
    table: u64,
    /// Every [`STEP`]th entry of the table.
    steps: Vec<Entry>,
    /// Entries in the table.
    pub(super) chunks: u64,
    /// Bytes of all chunks that are there.
    pub(super) bytes: u64,
    /// The end of the skeleton.
    pub(super) data: u64,
}

/// A part of the file.
pub(super) fn read_exact(
    input: &(impl ReadAt + ?Sized),
    mut buffer: &mut [u8],
    mut offset: u64,
) -> Result<(), Error> {
    while !buffer.is_empty() {
        match input.read_at(buffer, offset) {
            Ok(0) => return Err(Error::Refused { offset, reason: Reason::Truncated }),
            Ok(count) => {
                buffer = buffer.get_mut(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Read { offset, source }),
        }
    }
    Ok(())
}

fn header(input: &(impl ReadAt + ?Sized), offset: u64) -> Result<Header, Error> {
    let mut bytes = [0; BLOCK_HEADER_BYTES];
    read_exact(input, &mut bytes, offset)?;
    Header::parse(&bytes)
        .map_err(|(within, reason)| Error::Refused { offset: offset + within, reason })
}

/// The payload of the block at `offset`, checked, which is of `kind`.
pub(super) fn payload(
    input: &(impl ReadAt + ?Sized),
    kind: Kind,
    offset: u64,
) -> Result<Vec<u8>, Error> {
    let header = header(input, offset)?;
    if header.kind != kind {
        let reason = Reason::Order { found: header.kind.name(), after: kind.name() };
        return Err(Error::Refused { offset, reason });
    }
    let mut payload = vec![0; header.bytes as usize];
    read_exact(input, &mut payload, offset + BLOCK_HEADER_BYTES as u64)?;
    header
        .check(&payload)
        .map_err(|(within, reason)| Error::Refused { offset: offset + within, reason })?;
    Ok(payload)
}

impl Index {
    /// Goes from block to block up to the chunk data.
    pub(super) fn open(input: &(impl ReadAt + ?Sized)) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        read_exact(input, &mut magic, 0)?;
        if magic != MAGIC {
            return Err(Error::Refused { offset: 0, reason: Reason::Magic });
        }
        let mut offset = MAGIC.len() as u64;
        let head = payload(input, Kind::Head, offset)?;
        let begin = offset + BLOCK_HEADER_BYTES as u64;
        offset = begin + head.len() as u64;
        let head =
            Head::from_payload(&head).map_err(|reason| Error::Refused { offset: begin, reason })?;
        let mut index = Self {
            head,
            log: Vec::new(),
            context: Vec::new(),
            table: 0,
            steps: Vec::new(),
            chunks: 0,
            bytes: 0,
            data: 0,
        };
        let mut last = Kind::Head;
        // A skeleton ends with the table; nobody but the table's blocks says so.
        while last != Kind::Table || !index.is_past_table(input, offset)? {
            let found = header(input, offset)?;
            if found.kind != last && found.kind != last.next() {
                let reason = Reason::Order { found: found.kind.name(), after: last.name() };
                return Err(Error::Refused { offset, reason });
            }
            index.block(input, found, last, offset)?;
            last = found.kind;
            offset += BLOCK_HEADER_BYTES as u64 + u64::from(found.bytes);
        }
        index.data = offset;
        Ok(index)
    }

    fn is_past_table(&self, input: &(impl ReadAt + ?Sized), offset: u64) -> Result<bool, Error> {
        let full = self.chunks > 0 && self.chunks.is_multiple_of(ENTRIES as u64);
        if !full {
            return Ok(true);
        }
        let mut kind = [0];
        let read = input.read_at(&mut kind, offset);
        let read = read.map_err(|source| Error::Read { offset, source })?;
        Ok(read == 0 || kind != [Kind::Table as u8])
    }

    fn block(
        &mut self,
        input: &(impl ReadAt + ?Sized),
        found: Header,
        last: Kind,
        offset: u64,
    ) -> Result<(), Error> {
        let blocks = match found.kind {
            Kind::Log => &mut self.log,
            Kind::Context if found.bytes == 0 => return Ok(()),
            Kind::Context => &mut self.context,
            _ => {
                if last != Kind::Table {
                    self.table = offset;
                }
                return self.table_block(input, offset);
            }
        };
        let mut first = [0; 8];
        let at = offset + BLOCK_HEADER_BYTES as u64;
        read_exact(input, &mut first, at)?;
        let first = Lsn(u64::from_be_bytes(first));
        if let Some((after, _)) = blocks.last().filter(|(after, _)| *after >= first) {
            let reason = Reason::ContextOrder { lsn: first, after: *after };
            return Err(Error::Refused { offset: at, reason });
        }
        blocks.push((first, offset));
        Ok(())
    }

    fn table_block(&mut self, input: &(impl ReadAt + ?Sized), offset: u64) -> Result<(), Error> {
        let payload = payload(input, Kind::Table, offset)?;
        let refused = |reason| Err(Error::Refused { offset, reason });
        for entry in payload.chunks(TABLE_ENTRY_BYTES) {
            let Some(mut entry) = parse(entry) else {
                return refused(Reason::Entry(Kind::Table.name()));
            };
            if self.chunks >= CHUNKS_LEN_MAX {
                return refused(Reason::TooManyChunks);
            }
            entry.position = self.bytes;
            if self.chunks.is_multiple_of(STEP as u64) {
                self.steps.push(entry);
            }
            let Some(bytes) = self.bytes.checked_add(entry.bytes.unwrap_or(0)) else {
                return refused(Reason::TotalLength);
            };
            self.bytes = bytes;
            self.chunks += 1;
        }
        Ok(())
    }

    /// The entries between two that are remembered; none beyond the last.
    pub(super) fn step(
        &self,
        input: &(impl ReadAt + ?Sized),
        step: usize,
    ) -> Result<Vec<Entry>, Error> {
        let Some(first) = self.steps.get(step) else { return Ok(Vec::new()) };
        let from = (step * STEP) as u64;
        let count = self.chunks.saturating_sub(from).min(STEP as u64);
        let blocks = from / ENTRIES as u64 + 1;
        let offset =
            self.table + blocks * BLOCK_HEADER_BYTES as u64 + from * TABLE_ENTRY_BYTES as u64;
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(STEP) * TABLE_ENTRY_BYTES];
        read_exact(input, &mut bytes, offset)?;
        let mut position = first.position;
        let entries = bytes.chunks(TABLE_ENTRY_BYTES).filter_map(parse).map(|mut entry| {
            entry.position = position;
            position = position.saturating_add(entry.bytes.unwrap_or(0));
            entry
        });
        Ok(entries.collect())
    }

    /// The entry of a chunk.
    pub(super) fn find(
        &self,
        input: &(impl ReadAt + ?Sized),
        chunk: &ChunkId,
    ) -> Result<Option<Entry>, Error> {
        let after = self.steps.partition_point(|entry| entry.chunk <= *chunk);
        let Some(step) = after.checked_sub(1) else { return Ok(None) };
        let entries = self.step(input, step)?;
        Ok(entries.into_iter().find(|entry| entry.chunk == *chunk))
    }
}

fn parse(bytes: &[u8]) -> Option<Entry> {
    let (hash, length) = bytes.split_first_chunk()?;
    let length = u64::from_be_bytes(length.try_into().ok()?);
    let bytes = (length != MISSING).then_some(length);
    Some(Entry { chunk: ChunkId(ContentHash(*hash)), bytes, position: 0 })
}
