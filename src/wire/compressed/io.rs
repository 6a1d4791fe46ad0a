//! Compressed buffers over `std::io`: what workers write, and what they are given.

use std::io::{self, Read, Write};

use super::{Decoder, Header, Limits, RawHash};

/// Bytes read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Reads the raw bytes of a compressed buffer.
///
/// Errors of the format come as [`io::ErrorKind::InvalidData`] with an [`super::Error`] inside. The
/// last read, the one that says there is no more, is also the one that verifies the hash, so use the
/// bytes only after it (as [`Read::read_to_end`] and [`io::copy`] do).
pub struct Reader<R> {
    source: R,
    decoder: Option<Decoder>,
    header: Option<Header>,
    /// Packed bytes read ahead, and how many of them the decoder has taken.
    piece: Vec<u8>,
    taken: usize,
    /// Raw bytes unpacked but not asked for yet, and how many of them were handed out.
    raw: Vec<u8>,
    given: usize,
}

impl<R: Read> Reader<R> {
    /// Reads from `source`, which holds one buffer and nothing after. `available` is its length
    /// where known.
    pub fn new(source: R, limits: Limits, available: Option<u64>) -> Self {
        Self {
            source,
            decoder: Some(Decoder::new(limits, available)),
            header: None,
            piece: Vec::new(),
            taken: 0,
            raw: Vec::new(),
            given: 0,
        }
    }

    /// The header, after the last read has verified everything.
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Fills `raw` with the next raw bytes; false at the verified end.
    fn refill(&mut self) -> io::Result<bool> {
        while let Some(decoder) = &mut self.decoder {
            let mut input = self.piece.get(self.taken..).unwrap_or_default();
            let before = input.len();
            let unpacked = decoder.next(&mut input).map_err(invalid)?;
            self.raw.clear();
            self.raw.extend_from_slice(unpacked.unwrap_or_default());
            self.given = 0;
            let more = unpacked.is_some();
            self.taken += before - input.len();
            if more {
                return Ok(true);
            }
            self.taken = 0;
            self.piece.resize(PIECE_BYTES, 0);
            let read = self.source.read(&mut self.piece);
            // Nothing of it if the read failed: the caller may try again.
            self.piece.truncate(*read.as_ref().unwrap_or(&0));
            let length = read?;
            if length == 0
                && let Some(decoder) = self.decoder.take()
            {
                self.header = Some(decoder.finish().map_err(invalid)?);
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        loop {
            let mut ready = self.raw.get(self.given..).unwrap_or_default();
            if !ready.is_empty() {
                let length = ready.read(target)?;
                self.given += length;
                return Ok(length);
            }
            if !self.refill()? {
                return if self.header.is_some() {
                    Ok(0)
                } else {
                    Err(io::Error::other("compressed buffer was already refused"))
                };
            }
        }
    }
}

fn invalid(error: super::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes `raw` as a stored compressed buffer.
pub fn write_stored(target: &mut impl Write, raw: &[u8]) -> io::Result<()> {
    target.write_all(&Header::stored(raw.len() as u64, blake3::hash(raw)).to_bytes(&[]))?;
    target.write_all(raw)
}

/// Writes the `raw_bytes` bytes of `source` as a stored compressed buffer, without holding them.
/// Fails if `source` ends early; the hash is the caller's word.
pub fn copy_stored(
    target: &mut impl Write,
    source: &mut impl Read,
    raw_bytes: u64,
    raw_hash: impl Into<RawHash>,
) -> io::Result<()> {
    target.write_all(&Header::stored(raw_bytes, raw_hash).to_bytes(&[]))?;
    let copied = io::copy(&mut source.take(raw_bytes), target)?;
    if copied == raw_bytes {
        Ok(())
    } else {
        let message = format!("content ended after {copied} of {raw_bytes} bytes");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }
}
