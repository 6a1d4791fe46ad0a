//! Arrays inside an Oodle block, and which of them a compressor's chunk is made of. Only sizes and
//! nesting are read; nothing is unpacked. See [`super::oodle_scan`].

use super::BlockError;

/// Packers nest three deep. The library takes some kilobytes of stack for each level.
const DEPTH_MAX: u32 = 6;
/// What one array costs beside its bytes, in bytes: tables have to be built.
const ARRAY_COST: usize = 1 << 10;
/// The same for a stored one, which has none.
const STORED_COST: usize = 64;

/// How much unpacking the blocks of one buffer may cost, in bytes that pass through the library.
///
/// What an honest packer makes costs less than four times its output (every stage of it shrinks
/// what it holds), and a few tables. More is allowed in proportion to the output so far, over all
/// blocks together, so that neither a million tiny blocks nor one large block buy more work than an
/// honest buffer of that raw size takes.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    /// Tables of one small block.
    const START: usize = 8 << 10;
    /// Cost allowed for each byte of output.
    const FACTOR: usize = 8;

    /// Allows for `output` more bytes.
    pub(super) const fn earn(&mut self, output: usize) {
        self.0 = self.0.saturating_add(output.saturating_mul(Self::FACTOR));
    }

    fn spend(&mut self, cost: usize, at: usize) -> Result<(), BlockError> {
        match self.0.checked_sub(cost) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => fail(at, "far more work than its output is worth"),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(Self::START)
    }
}

/// The compressors the engine uses, by how their chunks are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Kraken,
    /// And Selkie, which writes the same.
    Mermaid,
    Leviathan,
}

impl Codec {
    pub(super) const fn of(byte: u8) -> Option<Self> {
        match byte {
            0x06 => Some(Self::Kraken),
            0x0a => Some(Self::Mermaid),
            0x0c => Some(Self::Leviathan),
            _ => None,
        }
    }
}

pub(super) const fn fail<T>(offset: usize, problem: &'static str) -> Result<T, BlockError> {
    Err(BlockError::OodleStructure { offset, problem })
}

/// The packed bytes, and how much unpacking them may still cost.
pub(super) struct Arrays<'a> {
    bytes: &'a [u8],
    budget: &'a mut Budget,
}

impl<'a> Arrays<'a> {
    pub(super) const fn new(bytes: &'a [u8], budget: &'a mut Budget) -> Self {
        Self { bytes, budget }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn byte(&self, at: usize) -> Result<u8, BlockError> {
        self.bytes.get(at).copied().map_or_else(|| fail(at, "the block ends early"), Ok)
    }

    /// The position `length` bytes on, if that is not after `end`.
    pub(super) fn skip(&self, at: usize, length: usize, end: usize) -> Result<usize, BlockError> {
        match at.checked_add(length) {
            Some(next) if next <= end.min(self.bytes.len()) => Ok(next),
            _ => fail(at, "a size past the end of its container"),
        }
    }

    fn word<const N: usize>(&self, at: usize, end: usize) -> Result<[u8; N], BlockError> {
        self.skip(at, N, end)?;
        let word = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
        word.copied().map_or_else(|| fail(at, "the block ends early"), Ok)
    }

    pub(super) fn big_endian<const N: usize>(
        &self,
        at: usize,
        end: usize,
    ) -> Result<usize, BlockError> {
        Ok(self
            .word::<N>(at, end)?
            .iter()
            .fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    fn little_endian<const N: usize>(&self, at: usize, end: usize) -> Result<usize, BlockError> {
        Ok(self
            .word::<N>(at, end)?
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }

    /// Checks the array at `at`, which lies before `end` and may give `output_max` bytes. Gives its
    /// end and its unpacked size.
    pub(super) fn array(
        &mut self,
        at: usize,
        end: usize,
        output_max: usize,
        depth: u32,
    ) -> Result<(usize, usize), BlockError> {
        if depth > DEPTH_MAX {
            return fail(at, "arrays nested too deep");
        }
        let first = self.big_endian::<1>(at, end)?;
        let short = first >= 0x80;
        let kind = (first >> 4) & 7;
        if kind == 0 {
            let (body, size) = if short {
                (at + 2, self.big_endian::<2>(at, end)? & 0xfff)
            } else {
                (at + 3, self.big_endian::<3>(at, end)?)
            };
            if size > output_max {
                return fail(at, "an array larger than its place");
            }
            self.budget.spend(STORED_COST + size, at)?;
            return Ok((self.skip(body, size, end)?, size));
        }
        let (body, packed, size) = if short {
            let bits = self.big_endian::<3>(at, end)?;
            let packed = bits & 0x3ff;
            (at + 3, packed, packed + ((bits >> 10) & 0x3ff) + 1)
        } else {
            let bits = self.big_endian::<5>(at, end)?;
            (at + 5, bits & 0x3_ffff, ((bits >> 18) & 0x3_ffff) + 1)
        };
        let body_end = self.skip(body, packed, end)?;
        if size > output_max || packed >= size {
            return fail(at, "an array larger than its place");
        }
        self.budget.spend(ARRAY_COST + size, at)?;
        match kind {
            1 | 2 | 4 => {}
            3 => self.run_lengths(body, body_end, depth)?,
            5 => self.nested(body, body_end, size, depth)?,
            _ => return fail(at, "an array of no kind we know"),
        }
        Ok((body_end, size))
    }

    /// Run-length commands, of which the first part may be an array.
    fn run_lengths(&mut self, at: usize, end: usize, depth: u32) -> Result<(), BlockError> {
        let first = self.big_endian::<1>(at, end)?;
        if end - at > 1 && first != 0 {
            self.array(at, end, usize::MAX, depth + 1)?;
        }
        Ok(())
    }

    /// An array made of others: one after the other, or mixed.
    fn nested(
        &mut self,
        at: usize,
        end: usize,
        output: usize,
        depth: u32,
    ) -> Result<(), BlockError> {
        let first = self.big_endian::<1>(at, end)?;
        let (next, size) = if first & 0x80 == 0 {
            let mut place = (at + 1, 0);
            for _ in 0..first {
                let (next, size) = self.array(place.0, end, output - place.1, depth + 1)?;
                place = (next, place.1 + size);
            }
            place
        } else {
            self.mixed(at, end, 1, output, depth)?
        };
        if next != end || size != output {
            return fail(at, "nested arrays of another size");
        }
        Ok(())
    }

    /// `wanted` arrays cut and joined from pieces of other arrays. Gives their end and the unpacked
    /// size of all together.
    fn mixed(
        &mut self,
        at: usize,
        end: usize,
        wanted: usize,
        output_max: usize,
        depth: u32,
    ) -> Result<(usize, usize), BlockError> {
        let first = self.big_endian::<1>(at, end)?;
        if first & 0x80 == 0 {
            return fail(at, "no mixed arrays");
        }
        let sources = first & 0x3f;
        let mut at = at + 1;
        let mut total = 0;
        for _ in 0..(if sources == 0 { wanted } else { sources }) {
            let (next, size) = self.array(at, end, output_max - total, depth + 1)?;
            at = next;
            total += size;
        }
        if sources == 0 {
            return Ok((at, total));
        }
        let bits = self.little_endian::<2>(at, end)?;
        let (mut at, pieces) = self.array(at + 2, end, total, depth + 1)?;
        if bits & 0x8000 == 0 {
            let Some(lengths) = pieces.checked_sub(wanted) else {
                return fail(at, "fewer pieces than arrays");
            };
            let (next, size) = self.array(at, end, lengths, depth + 1)?;
            if size != lengths {
                return fail(at, "as many lengths as pieces are missing");
            }
            at = next;
        }
        Ok((self.skip(at, bits & 0x3fff, end)?, total))
    }

    /// Checks the arrays of a chunk between `at` and `end` that unpacks to `output` bytes. What
    /// follows them are plain bits, which the library reads in one pass.
    pub(super) fn streams(
        &mut self,
        codec: Codec,
        mode: usize,
        at: usize,
        end: usize,
        output: usize,
    ) -> Result<(), BlockError> {
        match codec {
            Codec::Kraken if mode <= 1 => self.kraken(at, end, output),
            Codec::Mermaid if mode <= 1 => self.mermaid(at, end, output),
            Codec::Leviathan if mode <= 5 => self.leviathan(mode, at, end, output),
            _ => fail(at, "a chunk of no mode we know"),
        }
    }

    /// Literals, commands, offsets, lengths.
    fn kraken(&mut self, at: usize, end: usize, output: usize) -> Result<(), BlockError> {
        if self.big_endian::<1>(at, end)? & 0x80 != 0 {
            return fail(at, "a reserved flag");
        }
        let (at, _) = self.array(at, end, output, 0)?;
        let (at, commands) = self.array(at, end, output, 0)?;
        let at = self.offsets(at, end, commands)?;
        self.array(at, end, output / 4, 0).map(|_| ())
    }

    /// Literals, commands, near offsets. Far offsets are not packed.
    fn mermaid(&mut self, at: usize, end: usize, output: usize) -> Result<(), BlockError> {
        const PACKED: usize = 0xffff;
        const HALF: usize = 64 << 10;
        let (at, _) = self.array(at, end, output, 0)?;
        let (at, _) = self.array(at, end, output, 0)?;
        let at = if output > HALF { self.skip(at, 2, end)? } else { at };
        if self.little_endian::<2>(at, end)? == PACKED {
            let (at, _) = self.array(at + 2, end, output / 2, 0)?;
            self.array(at, end, output / 2, 0)?;
        }
        Ok(())
    }

    /// Offsets, lengths, literals, commands; the last two may be several arrays each.
    fn leviathan(
        &mut self,
        mode: usize,
        at: usize,
        end: usize,
        output: usize,
    ) -> Result<(), BlockError> {
        const COMMANDS: usize = 0x83;
        let at = self.offsets(at, end, output / 3)?;
        let (at, _) = self.array(at, end, output / 5, 0)?;
        let literals = match mode {
            0 | 1 => self.array(at, end, output, 0)?,
            2 => self.mixed(at, end, 2, usize::MAX, 0)?,
            3 => self.mixed(at, end, 4, usize::MAX, 0)?,
            _ => self.mixed(at, end, 16, usize::MAX, 0)?,
        };
        let (at, _) = literals;
        match self.big_endian::<1>(at, end)? {
            flag if flag & 0x80 == 0 => self.array(at, end, output, 0).map(|_| ()),
            COMMANDS => self.mixed(at + 1, end, 8, usize::MAX, 0).map(|_| ()),
            _ => fail(at, "a reserved flag"),
        }
    }

    /// Match offsets: one array, or with a scale two of the same size.
    fn offsets(&mut self, at: usize, end: usize, output_max: usize) -> Result<usize, BlockError> {
        const UNSCALED: usize = 127 + 1;
        let scale = self.big_endian::<1>(at, end)?;
        if scale & 0x80 == 0 {
            return Ok(self.array(at, end, output_max, 0)?.0);
        }
        let (at, size) = self.array(at + 1, end, output_max, 0)?;
        if scale == UNSCALED {
            return Ok(at);
        }
        let (at, low) = self.array(at, end, size, 0)?;
        if low == size { Ok(at) } else { fail(at, "offsets of two sizes") }
    }
}
