//! Writing an archive.

use std::io::{Read, Write};

use super::{BLOCK_HEADER_BYTES, Error, Head, Kind, MAGIC, MISSING, Reason};
use crate::domain::{ChunkId, Lsn};

/// Writes an archive as a stream. Memory is one block, whatever the length.
///
/// The calls come in the order of the file: [`Self::log`] for each record, then
/// [`Self::context`], [`Self::chunk`], [`Self::data`], and [`Self::finish`]. Sections without
/// content are passed over. A call out of order is refused, and so is what no reader would take;
/// the encoder doesn't look into records, nor hash chunks.
#[derive(Debug)]
pub struct Encoder<W> {
    out: W,
    hasher: blake3::Hasher,
    /// Bytes given to `out`.
    written: u64,
    kind: Kind,
    /// Whether a block of this kind was written.
    begun: bool,
    /// The block that is being filled, with room for its header.
    block: Vec<u8>,
    /// Of the next record of the log.
    next: Lsn,
}

impl<W: Write> Encoder<W> {
    /// Begins an archive.
    pub fn new(out: W, head: &Head) -> Result<Self, Error> {
        let mut encoder = Self::at(out, Kind::Head, head.start);
        encoder.write(&MAGIC)?;
        encoder.put(&[&head.to_payload()?])?;
        Ok(encoder)
    }

    /// Begins with a whole skeleton: an archive up to its chunk data, which comes next. It is
    /// copied and not looked at.
    pub fn of_skeleton(out: W, mut skeleton: impl Read) -> Result<Self, Error> {
        let mut encoder = Self::at(out, Kind::Data, Lsn::ZERO);
        let mut buffer = vec![0; 65_536];
        loop {
            let offset = encoder.written;
            let count = match skeleton.read(&mut buffer) {
                Ok(0) => return Ok(encoder),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Read { offset, source }),
            };
            encoder.write(buffer.get(..count).unwrap_or_default())?;
        }
    }

    fn at(out: W, kind: Kind, next: Lsn) -> Self {
        let block = vec![0; BLOCK_HEADER_BYTES];
        let hasher = blake3::Hasher::new();
        Self { out, hasher, written: 0, kind, begun: false, block, next }
    }

    /// The next record of the range: its value as it is in the log.
    pub fn log(&mut self, value: &[u8]) -> Result<(), Error> {
        self.enter(Kind::Log)?;
        let lsn = self.next.to_key();
        self.next = self.next.next();
        let bytes = length(value);
        if self.is_full(bytes.len() + value.len()) {
            self.flush()?;
        }
        // So that a reader can find a record without reading all before it.
        let first: &[u8] = if self.payload_len() == 0 { &lsn } else { &[] };
        self.put(&[first, &bytes, value])
    }

    /// A record from outside of the range, in order of LSNs.
    pub fn context(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), Error> {
        self.enter(Kind::Context)?;
        self.put(&[&lsn.to_key(), &length(value), value])
    }

    /// An entry of the chunk table, in order of hashes. Without a length the chunk is missing.
    pub fn chunk(&mut self, chunk: &ChunkId, bytes: Option<u64>) -> Result<(), Error> {
        self.enter(Kind::Table)?;
        self.put(&[chunk.0.as_bytes(), &bytes.unwrap_or(MISSING).to_be_bytes()])
    }

    /// The next bytes of the chunks that are not missing, one after another in the order of the
    /// table.
    pub fn data(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.enter(Kind::Data)?;
        while !bytes.is_empty() {
            let room = Kind::Data.payload_bytes_max() - self.payload_len();
            if room == 0 {
                self.flush()?;
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Ends the archive and gives back what it was written to, not flushed.
    pub fn finish(mut self) -> Result<W, Error> {
        self.enter(Kind::End)?;
        let hash = self.hasher.finalize();
        self.put(&[hash.as_bytes()])?;
        self.flush()?;
        Ok(self.out)
    }

    /// How many bytes were given to the output so far. What follows is still in memory.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Ends sections until `kind` is the current one.
    fn enter(&mut self, kind: Kind) -> Result<(), Error> {
        if self.kind > kind {
            let reason = Reason::Order { found: kind.name(), after: self.kind.name() };
            return Err(Error::Refused { offset: self.written, reason });
        }
        while self.kind < kind {
            if self.payload_len() > 0 || !self.begun {
                self.flush()?;
            }
            self.kind = self.kind.next();
            self.begun = false;
        }
        Ok(())
    }

    fn payload_len(&self) -> usize {
        self.block.len() - BLOCK_HEADER_BYTES
    }

    fn is_full(&self, more: usize) -> bool {
        self.payload_len() > 0 && self.payload_len() + more > self.kind.payload_bytes_max()
    }

    /// Adds an entry, which is never cut.
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        if self.is_full(parts.iter().map(|part| part.len()).sum()) {
            self.flush()?;
        }
        for part in parts {
            self.block.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let (found, max) = (self.payload_len(), self.kind.payload_bytes_max());
        let bytes = u32::try_from(found).unwrap_or(u32::MAX);
        if found > max {
            let reason = Reason::BlockLength { kind: self.kind.name(), found: bytes, max };
            return Err(Error::Refused { offset: self.written, reason });
        }
        let mut block = std::mem::take(&mut self.block);
        let (header, payload) = block.split_at_mut(BLOCK_HEADER_BYTES);
        let mut start = [0; 8];
        start[0] = self.kind as u8;
        start[4..].copy_from_slice(&bytes.to_be_bytes());
        let sum = super::blocks::checksum(start, payload);
        header.copy_from_slice(&[start.as_slice(), &sum.to_be_bytes()].concat());
        self.write(&block)?;
        block.truncate(BLOCK_HEADER_BYTES);
        self.block = block;
        self.begun = true;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        let offset = self.written;
        self.out.write_all(bytes).map_err(|source| Error::Write { offset, source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Values are at most 4,096 bytes; a longer one is refused with its block.
fn length(value: &[u8]) -> [u8; 4] {
    u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes()
}
