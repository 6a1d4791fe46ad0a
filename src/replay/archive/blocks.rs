//! Reading the blocks of an archive.

use std::io::{ErrorKind, Read};

use super::{BLOCK_HEADER_BYTES, Error, Kind, MAGIC, Reason};

/// CRC-32 of the first 8 bytes of a block's header and its payload.
pub(super) fn checksum(start: [u8; 8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&start);
    hasher.update(payload);
    hasher.finalize()
}

/// What the head of a block says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) bytes: u32,
    start: [u8; 8],
    sum: u32,
}

impl Header {
    /// Fails with the offset within the header.
    pub(super) fn parse(header: &[u8; BLOCK_HEADER_BYTES]) -> Result<Self, (u64, Reason)> {
        let [kind, a, b, c, l0, l1, l2, l3, s0, s1, s2, s3] = *header;
        let start = [kind, a, b, c, l0, l1, l2, l3];
        let kind = Kind::from_byte(kind).ok_or((0, Reason::Kind(kind)))?;
        if [a, b, c] != [0; 3] {
            return Err((1, Reason::Padding));
        }
        let bytes = u32::from_be_bytes([l0, l1, l2, l3]);
        let max = kind.payload_bytes_max();
        if bytes as usize > max {
            return Err((4, Reason::BlockLength { kind: kind.name(), found: bytes, max }));
        }
        Ok(Self { kind, bytes, start, sum: u32::from_be_bytes([s0, s1, s2, s3]) })
    }

    /// Whether the payload is the one that was summed up.
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), (u64, Reason)> {
        if checksum(self.start, payload) == self.sum {
            Ok(())
        } else {
            Err((8, Reason::Checksum(self.kind.name())))
        }
    }
}

/// Blocks one after another, with what holds for any of them: known kinds in their order, lengths,
/// checksums. Keeps the hash of what was read.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    input: R,
    hasher: blake3::Hasher,
    /// Bytes read.
    pub(super) offset: u64,
    /// Of the block that was read last.
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    /// Reads the magic and the first block, which is the head.
    pub(super) fn open(input: R) -> Result<Self, Error> {
        let hasher = blake3::Hasher::new();
        let mut blocks = Self { input, hasher, offset: 0, kind: Kind::Head, payload: Vec::new() };
        let mut magic = [0; MAGIC.len()];
        blocks.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(Error::Refused { offset: 0, reason: Reason::Magic });
        }
        blocks.hasher.update(&magic);
        let header = blocks.header()?;
        if header.kind != Kind::Head {
            let reason = Reason::Order { found: header.kind.name(), after: "nothing" };
            return Err(Error::Refused { offset: MAGIC.len() as u64, reason });
        }
        blocks.load(header)?;
        Ok(blocks)
    }

    /// Reads the next block. Its kind is that of the last one, or the one after.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        let at = self.offset;
        let header = self.header()?;
        let (found, after) = (header.kind, self.kind);
        let repeats = found == after && !matches!(found, Kind::Head | Kind::End);
        if !repeats && (found != after.next() || found == after) {
            let reason = Reason::Order { found: found.name(), after: after.name() };
            return Err(Error::Refused { offset: at, reason });
        }
        self.load(header)
    }

    /// The hash of all before the block that was read last; for the one that holds it.
    pub(super) fn hash_before(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// Fails unless this is the end of the input.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let offset = self.offset;
        loop {
            match self.input.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(Error::Refused { offset, reason: Reason::Trailing }),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { offset, source }),
            }
        }
    }

    fn header(&mut self) -> Result<Header, Error> {
        let at = self.offset;
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.fill(&mut header)?;
        let parsed = Header::parse(&header)
            .map_err(|(within, reason)| Error::Refused { offset: at + within, reason })?;
        if parsed.kind != Kind::End {
            self.hasher.update(&header);
        }
        Ok(parsed)
    }

    fn load(&mut self, header: Header) -> Result<(), Error> {
        let at = self.offset.saturating_sub(BLOCK_HEADER_BYTES as u64);
        self.kind = header.kind;
        // At most a mebibyte, which is checked.
        self.payload.resize(header.bytes as usize, 0);
        let mut payload = std::mem::take(&mut self.payload);
        let filled = self.fill(&mut payload);
        self.payload = payload;
        filled?;
        header
            .check(&self.payload)
            .map_err(|(within, reason)| Error::Refused { offset: at + within, reason })?;
        if header.kind != Kind::End {
            self.hasher.update(&self.payload);
        }
        Ok(())
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            match self.input.read(buffer) {
                Ok(0) => {
                    return Err(Error::Refused { offset: self.offset, reason: Reason::Truncated });
                }
                Ok(count) => {
                    self.offset += count as u64;
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { offset: self.offset, source }),
            }
        }
        Ok(())
    }
}
