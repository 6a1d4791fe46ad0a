//! Reading an archive as a stream.

use std::io::Read;

use super::blocks::Blocks;
use super::{
    CHUNKS_LEN_MAX, Error, Head, Kind, MISSING, RECORDS_LEN_MAX, Reason, TABLE_ENTRY_BYTES,
};
use crate::domain::record::RECORD_BYTES_MAX;
use crate::domain::{ChunkId, ContentHash, Lsn};
use crate::eventlog::codec::{Chain, HEADER_BYTES};

/// One entry of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// The next record of the range, as it was in the log: [`crate::eventlog::codec::decode`]
    /// makes a record of it.
    Log { lsn: Lsn, value: &'a [u8] },
    /// A record from outside of the range.
    Context { lsn: Lsn, value: &'a [u8] },
    /// An entry of the chunk table; without a length the chunk is missing.
    Chunk { chunk: ChunkId, bytes: Option<u64> },
    /// The next bytes of the chunks, which follow each other in the order of the table. A piece
    /// doesn't end where a chunk does.
    Data(&'a [u8]),
}

/// Reads an archive from its beginning to its end. Memory is one block, whatever the length.
///
/// Everything about the layout is checked on the way: checksums, order, the records' chain and
/// positions, the sums of lengths, the hash at the end and that nothing follows. What it does not
/// look into is the content: bodies of records, hashes of chunks, who refers to what; that is
/// [`super::verify`]. Only when [`Self::advance`] has given `None` it is known that the bytes are
/// those that were written.
#[derive(Debug)]
pub struct Reader<R> {
    blocks: Blocks<R>,
    head: Head,
    /// Where in the block the next entry begins.
    at: usize,
    /// Payload of the block before, when it was of the same kind.
    before: Option<usize>,
    /// Offset in the file of the entry that was read last.
    offset: u64,
    log: LogState,
    table: TableState,
    skeleton_bytes: Option<u64>,
    ended: bool,
}

/// What is known of the records so far.
#[derive(Debug)]
struct LogState {
    /// Of the record that comes next in the log section.
    next: Lsn,
    /// What the record at this position must follow.
    follows: Option<(Lsn, Chain)>,
    /// What the first record of the log section follows.
    first: Chain,
    /// The chain hash of the last record of the log section.
    last: Chain,
    /// The last context record.
    context: Lsn,
    count: u64,
}

/// What is known of the chunks so far.
#[derive(Debug, Default)]
struct TableState {
    last: Option<ChunkId>,
    count: u64,
    /// Bytes of data that are still to come.
    bytes: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the head. Small reads follow, so a file wants a buffer.
    pub fn open(input: R) -> Result<Self, Error> {
        let blocks = Blocks::open(input)?;
        let begin = blocks.offset - blocks.payload.len() as u64;
        let head = Head::from_payload(&blocks.payload)
            .map_err(|reason| Error::Refused { offset: begin, reason })?;
        let log = LogState {
            next: head.start,
            follows: None,
            first: Chain::START,
            last: Chain::START,
            context: Lsn::ZERO,
            count: 0,
        };
        let at = blocks.payload.len();
        let table = TableState::default();
        let (before, skeleton_bytes, ended) = (None, None, false);
        Ok(Self { blocks, head, at, before, offset: begin, log, table, skeleton_bytes, ended })
    }

    /// What the archive is of.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Where in the file the entry begins that was read last; of a record, its length.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes of the file are its skeleton: all before the chunk data. Known when the
    /// first data or the end was read.
    pub const fn skeleton_bytes(&self) -> Option<u64> {
        self.skeleton_bytes
    }

    /// The next entry; `None` when the archive has come to a proper end.
    pub fn advance(&mut self) -> Result<Option<Item<'_>>, Error> {
        if self.find_entry()? { self.entry().map(Some) } else { Ok(None) }
    }

    /// The same with where it begins in the file.
    pub fn next_entry(&mut self) -> Result<Option<(u64, Item<'_>)>, Error> {
        if !self.find_entry()? {
            return Ok(None);
        }
        let offset = self.offset;
        self.entry().map(|item| Some((offset, item)))
    }

    /// Goes to the next entry; false at the end.
    fn find_entry(&mut self) -> Result<bool, Error> {
        while !self.ended && self.at >= self.blocks.payload.len() {
            self.next_block()?;
        }
        if !self.ended {
            self.offset = self.position(self.at);
        }
        Ok(!self.ended)
    }

    fn entry(&mut self) -> Result<Item<'_>, Error> {
        let start = self.at;
        match self.blocks.kind {
            Kind::Head | Kind::Log => self.log_record(start),
            Kind::Context => self.context_record(start),
            Kind::Table => self.table_entry(start),
            Kind::Data | Kind::End => self.data(start),
        }
    }

    /// Offset in the file of a byte of the current block.
    fn position(&self, at: usize) -> u64 {
        self.blocks.offset - self.blocks.payload.len() as u64 + at as u64
    }

    fn refuse<T>(&self, at: usize, reason: Reason) -> Result<T, Error> {
        Err(Error::Refused { offset: self.position(at), reason })
    }

    fn next_block(&mut self) -> Result<(), Error> {
        let (kind, length) = (self.blocks.kind, self.blocks.payload.len());
        let at = self.blocks.offset;
        self.blocks.advance()?;
        self.at = 0;
        let now = self.blocks.kind;
        self.before = (now == kind).then_some(length);
        let empty = self.blocks.payload.is_empty();
        if empty && (self.before.is_some() || matches!(now, Kind::Log)) {
            return Err(Error::Refused { offset: at, reason: Reason::Empty(now.name()) });
        }
        if now != kind {
            self.section_ended(kind, at)?;
        }
        match now {
            Kind::Log => self.log_block(),
            Kind::Table if !self.blocks.payload.len().is_multiple_of(TABLE_ENTRY_BYTES) => {
                self.refuse(0, Reason::Entry(now.name()))
            }
            Kind::End => self.end(),
            _ => Ok(()),
        }
    }

    /// What must hold at the end of each section; `at` is where the next one begins.
    fn section_ended(&mut self, kind: Kind, at: u64) -> Result<(), Error> {
        let refused = |reason| Err(Error::Refused { offset: at, reason });
        match kind {
            Kind::Log if self.log.next <= self.head.stop => {
                refused(Reason::TooEarly(self.log.next))
            }
            Kind::Table => {
                self.skeleton_bytes = Some(at);
                Ok(())
            }
            Kind::Data if self.table.bytes > 0 => refused(Reason::TooLittleData(self.table.bytes)),
            _ => Ok(()),
        }
    }

    /// An entry of `bytes` begins a block: it must not have had room in the one before.
    fn check_full(&self, start: usize, first: usize, bytes: usize) -> Result<(), Error> {
        let max = self.blocks.kind.payload_bytes_max();
        match self.before {
            Some(before) if start == first && before + bytes <= max => {
                self.refuse(0, Reason::NotFull(self.blocks.kind.name()))
            }
            _ => Ok(()),
        }
    }

    fn number<const N: usize>(&self, at: usize) -> Result<[u8; N], Error> {
        let bytes = self.blocks.payload.get(at..).and_then(<[u8]>::first_chunk);
        match bytes {
            Some(bytes) => Ok(*bytes),
            None => self.refuse(at, Reason::Entry(self.blocks.kind.name())),
        }
    }

    /// A block of the log begins with the position of its first record.
    fn log_block(&mut self) -> Result<(), Error> {
        let found = Lsn(u64::from_be_bytes(self.number(0)?));
        if found != self.log.next {
            return self.refuse(0, Reason::Position { expected: self.log.next, found });
        }
        if self.blocks.payload.len() == LSN_BYTES {
            return self.refuse(0, Reason::Empty(Kind::Log.name()));
        }
        self.at = LSN_BYTES;
        Ok(())
    }

    fn log_record(&mut self, start: usize) -> Result<Item<'_>, Error> {
        let lsn = self.log.next;
        if lsn > self.head.stop {
            return self.refuse(start, Reason::TooLate(self.head.stop));
        }
        let end = self.value_end(lsn, start)?;
        self.check_full(start, LSN_BYTES, end - start)?;
        self.follow(lsn, start, end)?;
        self.log.next = lsn.next();
        self.at = end;
        let value = self.blocks.payload.get(start + LENGTH_BYTES..end).unwrap_or_default();
        Ok(Item::Log { lsn, value })
    }

    fn context_record(&mut self, start: usize) -> Result<Item<'_>, Error> {
        let lsn = Lsn(u64::from_be_bytes(self.number(start)?));
        let length = start + LSN_BYTES;
        let end = self.value_end(lsn, length)?;
        self.check_full(start, 0, end - start)?;
        let after = self.log.context;
        if lsn <= after {
            return self.refuse(start, Reason::ContextOrder { lsn, after });
        }
        if (self.head.start..=self.head.stop).contains(&lsn) || lsn.0 == u64::MAX {
            return self.refuse(start, Reason::ContextRange(lsn));
        }
        self.follow(lsn, length, end)?;
        self.log.context = lsn;
        self.at = end;
        let value = self.blocks.payload.get(length + LENGTH_BYTES..end).unwrap_or_default();
        Ok(Item::Context { lsn, value })
    }

    /// Where the value ends whose length stands at `at`.
    fn value_end(&self, lsn: Lsn, at: usize) -> Result<usize, Error> {
        let bytes = u32::from_be_bytes(self.number(at)?);
        let length = bytes as usize;
        if !(HEADER_BYTES..=RECORD_BYTES_MAX).contains(&length) {
            return self.refuse(at, Reason::RecordLength { lsn, bytes });
        }
        let end = at + LENGTH_BYTES + length;
        if end > self.blocks.payload.len() {
            return self.refuse(at, Reason::Entry(self.blocks.kind.name()));
        }
        Ok(end)
    }

    /// A record must follow from the one before it, wherever that one is in the archive.
    fn follow(&mut self, lsn: Lsn, length: usize, end: usize) -> Result<(), Error> {
        if self.log.count >= RECORDS_LEN_MAX {
            return self.refuse(length, Reason::TooManyRecords);
        }
        self.log.count += 1;
        let begin = length + LENGTH_BYTES;
        let value = self.blocks.payload.get(begin..end).unwrap_or_default();
        let after = value.get(1..).and_then(<[u8]>::first_chunk).copied().map(Chain);
        let chain = Chain::of(lsn, value);
        let log = &mut self.log;
        let expected = match log.follows {
            Some((next, expected)) if next == lsn => Some(expected),
            // The context before the range stands between the two.
            _ if lsn == self.head.stop.next() => Some(log.last),
            _ if lsn == Lsn::FIRST => Some(Chain::START),
            _ => None,
        };
        let fits = expected.is_none() || after == expected;
        // The record just before the range comes after it in the file.
        let leads = lsn.next() != self.head.start || log.first == chain;
        if !fits || !leads {
            return self.refuse(begin, Reason::Chain(lsn));
        }
        if lsn == self.head.start {
            log.first = after.unwrap_or_default();
        }
        if lsn == self.head.stop {
            log.last = chain;
        }
        log.follows = Some((lsn.next(), chain));
        Ok(())
    }

    fn table_entry(&mut self, start: usize) -> Result<Item<'_>, Error> {
        let chunk = ChunkId(ContentHash(self.number(start)?));
        let bytes = u64::from_be_bytes(self.number(start + ContentHash::BYTES)?);
        self.check_full(start, 0, TABLE_ENTRY_BYTES)?;
        if let Some(after) = self.table.last.filter(|after| *after >= chunk) {
            return self.refuse(start, Reason::ChunkOrder { chunk, after });
        }
        if self.table.count >= CHUNKS_LEN_MAX {
            return self.refuse(start, Reason::TooManyChunks);
        }
        let bytes = (bytes != MISSING).then_some(bytes);
        let Some(total) = self.table.bytes.checked_add(bytes.unwrap_or(0)) else {
            return self.refuse(start + ContentHash::BYTES, Reason::TotalLength);
        };
        self.table = TableState { last: Some(chunk), count: self.table.count + 1, bytes: total };
        self.at = start + TABLE_ENTRY_BYTES;
        Ok(Item::Chunk { chunk, bytes })
    }

    fn data(&mut self, start: usize) -> Result<Item<'_>, Error> {
        self.check_full(start, 0, 1)?;
        let length = self.blocks.payload.len() as u64;
        let Some(left) = self.table.bytes.checked_sub(length) else {
            let within = usize::try_from(self.table.bytes).unwrap_or(usize::MAX);
            return self.refuse(within, Reason::TooMuchData);
        };
        self.table.bytes = left;
        self.at = self.blocks.payload.len();
        Ok(Item::Data(&self.blocks.payload))
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.blocks.payload != self.blocks.hash_before().as_bytes() {
            return self.refuse(0, Reason::FinalHash);
        }
        self.offset = self.blocks.offset;
        self.blocks.end()?;
        self.ended = true;
        Ok(())
    }
}

/// Bytes of a position.
const LSN_BYTES: usize = 8;
/// Bytes of a value's length.
const LENGTH_BYTES: usize = 4;
