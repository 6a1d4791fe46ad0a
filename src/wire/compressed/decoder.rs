//! The streaming decoder, and the whole-buffer one on top of it.

use super::header::verify_checksum;
use super::oodle::Oodle;
use super::{BlockError, Error, HEADER_BYTES, Header, Limits, Method};
use crate::domain::hash::ContentHash;

/// No LZ4 sequence makes more than 255 raw bytes of one packed byte.
const LZ4_RATIO_MAX: usize = 255;

/// Unpacks a compressed buffer whose bytes arrive in pieces of any size.
///
/// ```
/// use ledgerun::wire::compressed::{Decoder, Limits, Packing, encode};
///
/// let packed = encode(b"hello, hello, hello", Packing::Lz4);
/// let mut raw = Vec::new();
/// let mut decoder = Decoder::new(Limits::raw(1 << 20), None);
/// for piece in packed.chunks(10) {
///     let mut input = piece;
///     while let Some(bytes) = decoder.next(&mut input)? {
///         raw.extend_from_slice(bytes);
///     }
/// }
/// decoder.finish()?;
/// assert_eq!(raw, b"hello, hello, hello");
/// # Ok::<(), ledgerun::wire::compressed::Error>(())
/// ```
pub struct Decoder {
    limits: Limits,
    available: Option<u64>,
    state: State,
    header: Option<Header>,
    table: Vec<u32>,
    /// Header, table or packed block, as far as they have arrived.
    gathered: Vec<u8>,
    unpacked: Vec<u8>,
    hasher: blake3::Hasher,
    oodle: Oodle,
    /// Bytes taken in so far.
    offset: u64,
}

enum State {
    Header,
    Table {
        bytes: usize,
    },
    /// Raw bytes that pass through: a stored buffer or a stored block. `next` is the block after.
    Passing {
        left: u64,
        next: u32,
    },
    Block {
        index: u32,
        packed: usize,
        raw: usize,
    },
    Done,
    Failed(Error),
}

/// What one step made of the input, without borrowing from it.
pub(in crate::wire) enum Step {
    /// It is used up.
    Starved,
    /// So many bytes at its front are raw bytes. The caller cuts them off.
    Passed(usize),
    /// Raw bytes are in [`Decoder::unpacked`].
    Unpacked,
}

impl Decoder {
    /// A decoder at the start of a buffer. `available` is the length of what carries the buffer
    /// (body, package entry, file) where it is known; another length is then an error at once.
    pub fn new(limits: Limits, available: Option<u64>) -> Self {
        Self {
            limits,
            available,
            state: State::Header,
            header: None,
            table: Vec::new(),
            gathered: Vec::new(),
            unpacked: Vec::new(),
            hasher: blake3::Hasher::new(),
            oodle: Oodle::default(),
            offset: 0,
        }
    }

    /// The header, once it has arrived. Its checksum is only known to be right when raw bytes have
    /// come out.
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes bytes off the front of `input` and gives the next raw bytes, or `None` when `input` is
    /// used up. Call it until `None`. After an error it gives the same error again.
    ///
    /// The raw bytes are not verified before [`Decoder::finish`].
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<&'a [u8]>, Error> {
        Ok(match self.step(input)? {
            Step::Starved => None,
            Step::Passed(length) => Some(split_off(input, length)),
            Step::Unpacked => Some(&self.unpacked),
        })
    }

    /// [`Decoder::next`] for callers that cannot hold a borrow across it.
    pub(in crate::wire) fn step(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        self.advance(input).inspect_err(|error| self.state = State::Failed(error.clone()))
    }

    /// Memory taken for bytes, beside what the Oodle library holds.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.gathered.capacity() + self.unpacked.capacity() + self.table.capacity() * 4
    }

    /// The block that the last [`Step::Unpacked`] announced.
    pub(in crate::wire) fn unpacked(&self) -> &[u8] {
        &self.unpacked
    }

    /// Ends the buffer: all bytes must have come, and the raw ones must hash to what the header says.
    pub fn finish(mut self) -> Result<Header, Error> {
        // A buffer may end where the last call stopped; this moves past such ends.
        self.advance(&mut [].as_slice())?;
        let missing = match self.state {
            State::Done => 0,
            State::Failed(error) => return Err(error),
            State::Header => HEADER_BYTES - self.gathered.len(),
            State::Table { bytes } => bytes.saturating_sub(self.gathered.len()),
            State::Block { packed, .. } => packed - self.gathered.len(),
            State::Passing { left, .. } => {
                return Err(Error::Truncated { offset: self.offset, missing: left });
            }
        };
        let (0, Some(header)) = (missing, self.header) else {
            return Err(Error::Truncated { offset: self.offset, missing: missing as u64 });
        };
        let computed = ContentHash::from_blake3(&self.hasher.finalize());
        let expected = header.content_hash();
        if computed == expected { Ok(header) } else { Err(Error::Hash { expected, computed }) }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        loop {
            match self.state {
                State::Header => {
                    if !self.gather(HEADER_BYTES, input) {
                        return Ok(Step::Starved);
                    }
                    self.read_header()?;
                }
                State::Table { bytes } => {
                    if !self.gather(bytes, input) {
                        return Ok(Step::Starved);
                    }
                    self.read_table()?;
                }
                State::Passing { left: 0, next } => self.start_block(next)?,
                State::Passing { left, next } => {
                    let length =
                        usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    if length == 0 {
                        return Ok(Step::Starved);
                    }
                    self.hasher.update(input.get(..length).unwrap_or(input));
                    self.offset += length as u64;
                    self.state = State::Passing { left: left - length as u64, next };
                    return Ok(Step::Passed(length));
                }
                State::Block { index, packed, raw } => {
                    if !self.gather(packed, input) {
                        return Ok(Step::Starved);
                    }
                    self.unpack(index, raw)?;
                    self.start_block(index + 1)?;
                    return Ok(Step::Unpacked);
                }
                State::Done if input.is_empty() => return Ok(Step::Starved),
                State::Done => return Err(Error::Trailing { offset: self.offset }),
                State::Failed(ref error) => return Err(error.clone()),
            }
        }
    }

    /// Adds to `gathered` until it holds `wanted` bytes; says whether it does. Memory grows with
    /// what arrives, not with what was promised.
    fn gather(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let missing = wanted.saturating_sub(self.gathered.len());
        let taken = split_off(input, missing);
        self.gathered.extend_from_slice(taken);
        self.offset += taken.len() as u64;
        self.gathered.len() >= wanted
    }

    fn read_header(&mut self) -> Result<(), Error> {
        let header = Header::parse(&self.gathered)?;
        header.check(&self.limits, self.available)?;
        self.state = State::Table { bytes: HEADER_BYTES + header.table_bytes() };
        self.header = Some(header);
        Ok(())
    }

    fn read_table(&mut self) -> Result<(), Error> {
        verify_checksum(&self.gathered)?;
        let Some(header) = &self.header else { return Ok(()) };
        if header.method == Method::Stored {
            self.state = State::Passing { left: header.raw_bytes, next: 0 };
        } else {
            let (sizes, _) = self.gathered.get(HEADER_BYTES..).unwrap_or_default().as_chunks::<4>();
            self.table = sizes.iter().map(|size| u32::from_be_bytes(*size)).collect();
            header.check_table(&self.table, self.available)?;
            self.start_block(0)?;
        }
        self.gathered.clear();
        Ok(())
    }

    /// Moves on to block `index`, or to the end if there is none.
    fn start_block(&mut self, index: u32) -> Result<(), Error> {
        let entry = usize::try_from(index).ok().and_then(|at| self.table.get(at));
        let (Some(header), Some(&packed)) = (&self.header, entry) else {
            self.state = State::Done;
            return Ok(());
        };
        let raw = header.raw_bytes_of(index);
        self.gathered.clear();
        self.state = if u64::from(packed) == raw {
            State::Passing { left: raw, next: index + 1 }
        } else {
            let sizes = usize::try_from(packed).ok().zip(usize::try_from(raw).ok());
            let Some((packed, raw)) = sizes else {
                return Err(Error::BlockTooLarge {
                    found: raw,
                    limit: self.limits.block_bytes_max,
                });
            };
            State::Block { index, packed, raw }
        };
        Ok(())
    }

    fn unpack(&mut self, block: u32, raw: usize) -> Result<(), Error> {
        let packed = self.gathered.as_slice();
        let offset = self.offset - packed.len() as u64;
        let result = match self.header.as_ref().map(|header| header.method) {
            Some(Method::Oodle) => self.oodle.unpack(packed, raw, &mut self.unpacked),
            _ => unpack_lz4(packed, raw, &mut self.unpacked),
        };
        result.map_err(|source| Error::Block { block, offset, source })?;
        self.hasher.update(&self.unpacked);
        Ok(())
    }
}

/// Cuts up to `length` bytes off the front of `input`.
pub(in crate::wire) fn split_off<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(length).unwrap_or((input, &[]));
    *input = rest;
    taken
}

fn unpack_lz4(packed: &[u8], raw: usize, unpacked: &mut Vec<u8>) -> Result<(), BlockError> {
    if raw / LZ4_RATIO_MAX > packed.len() {
        return Err(BlockError::Ratio { packed: packed.len(), raw });
    }
    unpacked.resize(raw, 0);
    let found = lz4_flex::block::decompress_into(packed, unpacked)
        .map_err(|error| BlockError::Lz4(error.to_string()))?;
    if found == raw { Ok(()) } else { Err(BlockError::Size { found, expected: raw }) }
}

/// Unpacks a whole buffer: exactly `bytes`, nothing after.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(limits, Some(bytes.len() as u64));
    let mut input = bytes;
    // Grown block by block: the claimed raw size is not a reason to take memory.
    let mut raw = Vec::new();
    while let Some(piece) = decoder.next(&mut input)? {
        raw.extend_from_slice(piece);
    }
    decoder.finish()?;
    Ok(raw)
}
