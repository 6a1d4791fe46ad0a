//! The chunk table and the chunks of an archive.

use super::records::descriptor;
use crate::domain::{ChunkId, ContentHash};
use crate::replay::archive::{
    BLOCK_HEADER_BYTES, CHUNKS_LEN_MAX, Error, Kind, MISSING, Reason, TABLE_ENTRY_BYTES,
};
use crate::replay::flagged::Flags;
use crate::replay::references::{ChunkSet, OBJECT_BYTES_MAX, REFERRED, is_object, kinds, named};
use crate::wire::references::Kind as ObjectKind;

/// The chunk is in the table.
const LISTED: Flags = 128;

/// Compares the table with what is referred to, and every chunk with its name. Memory is 29 bytes
/// for each chunk and some, and one object.
#[derive(Debug)]
pub(super) struct Content {
    chunks: ChunkSet,
    /// Of each in the table, in its order.
    lengths: Vec<u64>,
    /// Offset of the table's first entry.
    table: u64,
    /// Whether the table is complete.
    complete: bool,
    /// The chunk that comes next, as its place in the table.
    next: usize,
    /// The one that is being read.
    current: Option<Box<Current>>,
}

#[derive(Debug)]
struct Current {
    chunk: ChunkId,
    flags: Flags,
    left: u64,
    /// Where its content begins in the file.
    offset: u64,
    hasher: blake3::Hasher,
    /// Its bytes, when they must be looked into.
    object: Option<Vec<u8>>,
}

impl Content {
    pub(super) fn new(mut chunks: ChunkSet) -> Self {
        chunks.sort();
        let (lengths, table) = (Vec::new(), 0);
        Self { chunks, lengths, table, complete: false, next: 0, current: None }
    }

    /// An entry of the table.
    pub(super) fn list(
        &mut self,
        offset: u64,
        chunk: ChunkId,
        bytes: Option<u64>,
    ) -> Result<(), Reason> {
        if self.lengths.is_empty() {
            self.table = offset;
        }
        if self.lengths.len() as u64 >= CHUNKS_LEN_MAX {
            return Err(Reason::TooManyChunks);
        }
        self.chunks.add(chunk, LISTED);
        self.lengths.push(bytes.unwrap_or(MISSING));
        Ok(())
    }

    /// The table is over, at the latest now: all that records refer to must be in it.
    fn complete(&mut self, offset: u64) -> Result<(), Error> {
        if std::mem::replace(&mut self.complete, true) {
            return Ok(());
        }
        let unlisted = self.chunks.sort().iter().find(|(_, flags)| flags & LISTED == 0);
        match unlisted {
            Some((chunk, _)) => {
                let reason = Reason::ChunkUnlisted { chunk: *chunk, by: "a record".to_owned() };
                Err(Error::Refused { offset, reason })
            }
            None => Ok(()),
        }
    }

    /// The next bytes of the chunks.
    pub(super) fn data(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Error> {
        self.complete(offset)?;
        while !bytes.is_empty() {
            let Some(current) = self.begin(offset)? else {
                return Err(Error::Refused { offset, reason: Reason::TooMuchData });
            };
            let count = usize::try_from(current.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            current.hasher.update(now);
            if let Some(object) = &mut current.object {
                object.extend_from_slice(now);
            }
            current.left -= count as u64;
            bytes = later;
            offset += count as u64;
            self.end_if_whole()?;
        }
        Ok(())
    }

    /// The chunk that the next byte belongs to, at `offset`.
    fn begin(&mut self, offset: u64) -> Result<Option<&mut Current>, Error> {
        while self.current.is_none() {
            let place = self.next;
            let Some(bytes) = self.lengths.get(place).copied() else { return Ok(None) };
            let Some((chunk, flags)) = self.chunks.sort().get(place).copied() else {
                return Ok(None);
            };
            self.next += 1;
            if bytes == MISSING {
                continue;
            }
            let object = (is_object(flags) && bytes <= OBJECT_BYTES_MAX).then(Vec::new);
            let hasher = blake3::Hasher::new();
            let current = Current { chunk, flags, left: bytes, offset, hasher, object };
            self.current = Some(Box::new(current));
            // An empty one.
            self.end_if_whole()?;
        }
        Ok(self.current.as_deref_mut())
    }

    fn end_if_whole(&mut self) -> Result<(), Error> {
        let Some(ended) = self.current.take_if(|current| current.left == 0) else {
            return Ok(());
        };
        let Current { chunk, flags, offset, hasher, object, .. } = *ended;
        let refused = |reason| Err(Error::Refused { offset, reason });
        let actual = ChunkId(ContentHash::from_blake3(&hasher.finalize()));
        if actual != chunk {
            return refused(Reason::ChunkHash { expected: chunk, actual });
        }
        let Some(object) = object.map(bytes::Bytes::from) else { return Ok(()) };
        for kind in kinds(flags) {
            if kind == ObjectKind::Descriptor
                && let Err(problem) = descriptor(&object)
            {
                return refused(Reason::Descriptor { chunk, problem });
            }
            for named in named(kind, object.clone()) {
                let Some(flags) = self.chunks.get_mut(&named) else {
                    let by = format!("{} {chunk}", kind.name());
                    return refused(Reason::ChunkUnlisted { chunk: named, by });
                };
                *flags |= REFERRED;
            }
        }
        Ok(())
    }

    /// Nothing follows. Gives the number of chunks, how many are missing, and the bytes of the others.
    pub(super) fn finish(mut self, offset: u64) -> Result<(u64, u64, u64), Error> {
        self.complete(offset)?;
        // Those at the end that are empty.
        if self.begin(offset)?.is_some() {
            return Err(Error::Refused { offset, reason: Reason::Truncated });
        }
        let unneeded = self.chunks.sort().iter().position(|(_, flags)| flags & REFERRED == 0);
        if let Some(place) = unneeded {
            let chunk = self.chunks.sort().get(place).map(|(chunk, _)| *chunk);
            let reason = Reason::ChunkUnneeded(chunk.unwrap_or_default());
            return Err(Error::Refused { offset: self.entry(place), reason });
        }
        let there = self.lengths.iter().filter(|bytes| **bytes != MISSING);
        let (count, bytes) = there.fold((0_u64, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        let chunks = self.lengths.len() as u64;
        Ok((chunks, chunks - count, bytes))
    }

    /// Where in the file an entry of the table begins.
    fn entry(&self, place: usize) -> u64 {
        let headers = place / (Kind::Table.payload_bytes_max() / TABLE_ENTRY_BYTES);
        self.table + (place * TABLE_ENTRY_BYTES + headers * BLOCK_HEADER_BYTES) as u64
    }
}
