//! Using an archive where it lies.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use super::index::{Entry, Index, payload};
use super::{BLOCK_HEADER_BYTES, Error, Head, Kind, Reason};
use crate::domain::{ChunkId, ContentHash, Lsn, Record};
use crate::eventlog::codec;

/// Blocks of records that are kept in memory, as who reads one reads its neighbours.
const CACHED_LEN_MAX: usize = 16;

/// Bytes that can be read at any place, by several threads.
pub trait ReadAt: Send + Sync {
    /// Fills some of `buffer` with what is at `offset`; nothing at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl<R: Read + Seek + Send> ReadAt for Mutex<R> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Every use begins with a seek.
        let mut input = self.lock().unwrap_or_else(PoisonError::into_inner);
        input.seek(SeekFrom::Start(offset))?;
        input.read(buffer)
    }
}

/// An archive, or the skeleton of one, that is read at any place. Memory is some 100 KiB, and 24
/// bytes for every 64 KiB of records and every 73 chunks.
///
/// What was not verified before may be refused later, at any call.
#[derive(Debug)]
pub struct Archive<I> {
    input: I,
    index: Index,
    cache: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl<I: ReadAt> Archive<I> {
    /// Goes from block to block once.
    pub fn open(input: I) -> Result<Self, Error> {
        let index = Index::open(&input)?;
        Ok(Self { input, index, cache: Mutex::default() })
    }

    /// What it is of.
    pub const fn head(&self) -> &Head {
        &self.index.head
    }

    /// How many chunks are in its table.
    pub const fn chunks_len(&self) -> u64 {
        self.index.chunks
    }

    /// Bytes of all chunks that are in it.
    pub const fn chunk_bytes_total(&self) -> u64 {
        self.index.bytes
    }

    /// Length of its skeleton, in bytes.
    pub const fn skeleton_bytes(&self) -> u64 {
        self.index.data
    }

    /// What it is read from.
    pub const fn input(&self) -> &I {
        &self.input
    }

    /// The chunk table, in order of hashes.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Entry, Error>> + '_ {
        let steps = (0..).map(|step| self.index.step(&self.input, step));
        let steps =
            steps.take_while(|entries| !matches!(entries, Ok(entries) if entries.is_empty()));
        // An error would come again and again.
        let mut failed = false;
        let steps =
            steps.take_while(move |entries| !std::mem::replace(&mut failed, entries.is_err()));
        steps.flat_map(|entries| match entries {
            Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// What the table says of a chunk.
    pub fn entry(&self, chunk: &ChunkId) -> Result<Option<Entry>, Error> {
        self.index.find(&self.input, chunk)
    }

    /// The content of a chunk. The archive must have its data. Reading fails at the end of the
    /// chunk when the content is not what its name says.
    pub fn content(&self, entry: &Entry) -> Content<'_, I> {
        let left = entry.bytes.unwrap_or(0);
        Content { archive: self, entry: *entry, left, hasher: blake3::Hasher::new() }
    }

    /// The record of that LSN, if it is here.
    pub fn record(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        let range = self.index.head.start..=self.index.head.stop;
        let (kind, blocks) = if range.contains(&lsn) {
            (Kind::Log, &self.index.log)
        } else {
            (Kind::Context, &self.index.context)
        };
        let after = blocks.partition_point(|(first, _)| *first <= lsn);
        let Some((_, offset)) = after.checked_sub(1).and_then(|at| blocks.get(at)) else {
            return Ok(None);
        };
        let payload = self.cached(kind, *offset)?;
        for entry in entries(kind, &payload, *offset) {
            let entry = entry?;
            if entry.lsn == lsn {
                return entry.decode().map(Some);
            }
        }
        Ok(None)
    }

    /// All records by LSN: the context before the range, the range, the context after it.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, Error>> + Send + '_ {
        let Head { start, stop, .. } = self.index.head;
        let before = self.section(Kind::Context, &self.index.context, Lsn::ZERO, start);
        let log = self.section(Kind::Log, &self.index.log, start, stop.next());
        let after = self.section(Kind::Context, &self.index.context, stop.next(), Lsn(u64::MAX));
        before.chain(log).chain(after)
    }

    /// The records from `from` to before `to` of some blocks.
    fn section<'a>(
        &'a self,
        kind: Kind,
        blocks: &'a [(Lsn, u64)],
        from: Lsn,
        to: Lsn,
    ) -> impl Iterator<Item = Result<Record, Error>> + Send + 'a {
        let blocks = blocks.iter().take_while(move |(first, _)| *first < to);
        blocks.flat_map(move |(_, offset)| {
            let payload = match payload(&self.input, kind, *offset) {
                Ok(payload) => payload,
                Err(error) => return vec![Err(error)],
            };
            let entries = entries(kind, &payload, *offset);
            let wanted = entries.filter(|entry| {
                entry.as_ref().map_or(true, |entry| (from..to).contains(&entry.lsn))
            });
            wanted.map(|entry| entry.and_then(|entry| entry.decode())).collect()
        })
    }

    fn cached(&self, kind: Kind, offset: u64) -> Result<Arc<Vec<u8>>, Error> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, payload)) = lock().iter().find(|(at, _)| *at == offset) {
            return Ok(Arc::clone(payload));
        }
        let payload = Arc::new(payload(&self.input, kind, offset)?);
        let mut cache = lock();
        if cache.len() >= CACHED_LEN_MAX {
            cache.pop_front();
        }
        cache.push_back((offset, Arc::clone(&payload)));
        drop(cache);
        Ok(payload)
    }
}

/// A record as it stands in a block.
struct Found<'a> {
    lsn: Lsn,
    value: &'a [u8],
    /// Offset of the value in the file.
    offset: u64,
}

impl Found<'_> {
    fn decode(&self) -> Result<Record, Error> {
        let (lsn, offset) = (self.lsn, self.offset);
        codec::decode(lsn, self.value)
            .map(|(record, _)| record)
            .map_err(|source| Error::Refused { offset, reason: Reason::Record { lsn, source } })
    }
}

/// The records in the payload of a block of the log or the context, which is at `offset`.
fn entries(
    kind: Kind,
    payload: &[u8],
    offset: u64,
) -> impl Iterator<Item = Result<Found<'_>, Error>> {
    let mut rest = payload;
    let begin = offset + BLOCK_HEADER_BYTES as u64;
    let mut next = None;
    if kind == Kind::Log {
        next = take(&mut rest).map(|first| Lsn(u64::from_be_bytes(first)));
    }
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = begin + (payload.len() - rest.len()) as u64;
        let found = (|| {
            let lsn = match next {
                Some(lsn) => lsn,
                None => Lsn(u64::from_be_bytes(take(&mut rest)?)),
            };
            next = next.map(|_| Lsn(lsn.0.saturating_add(1)));
            let length = u32::from_be_bytes(take(&mut rest)?);
            let offset = begin + (payload.len() - rest.len()) as u64;
            let (value, later) = rest.split_at_checked(length as usize)?;
            rest = later;
            Some(Found { lsn, value, offset })
        })();
        if found.is_none() {
            rest = &[];
        }
        let broken = Error::Refused { offset: at, reason: Reason::Entry(kind.name()) };
        Some(found.ok_or(broken))
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*first)
}

/// The content of one chunk of an archive.
#[derive(Debug)]
pub struct Content<'a, I> {
    archive: &'a Archive<I>,
    entry: Entry,
    left: u64,
    hasher: blake3::Hasher,
}

impl<I: ReadAt> Read for Content<'_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// Full but for the last, so that a position tells the block.
        const BLOCK: u64 = Kind::Data.payload_bytes_max() as u64;
        const HEADER: u64 = BLOCK_HEADER_BYTES as u64;
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let position = self.entry.position + (self.entry.bytes.unwrap_or(0) - self.left);
        let (block, within) = (position / BLOCK, position % BLOCK);
        let room = self.left.min(BLOCK - within);
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        let offset = block
            .checked_mul(BLOCK + HEADER)
            .and_then(|offset| offset.checked_add(self.archive.index.data + HEADER + within));
        let offset = offset.ok_or(io::ErrorKind::InvalidData)?;
        let part = buffer.get_mut(..room).unwrap_or_default();
        let count = self.archive.input.read_at(part, offset)?;
        if count == 0 {
            let reason = Reason::Truncated;
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                Error::Refused { offset, reason },
            ));
        }
        self.hasher.update(part.get(..count).unwrap_or_default());
        self.left -= count as u64;
        if self.left == 0 {
            let actual = ChunkId(ContentHash::from_blake3(&self.hasher.finalize()));
            let expected = self.entry.chunk;
            if actual != expected {
                let reason = Reason::ChunkHash { expected, actual };
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    Error::Refused { offset, reason },
                ));
            }
        }
        Ok(count)
    }
}
