//! One payload: unpacks it, counts it, and compares its hash with the table's.

use super::{Entry, Error, Limits};
use crate::domain::hash::ContentHash;
use crate::wire::compressed::{self, Decoder, Step, split_off};

/// The payload being read.
pub(super) struct Payload {
    index: u32,
    entry: Entry,
    /// Where it starts in the message.
    offset: u64,
    /// Bytes that have not arrived.
    left: u64,
    /// Unpacked bytes of the entries before it.
    raw_before: u64,
    limits: Limits,
    body: Body,
}

enum Body {
    Plain(Box<blake3::Hasher>),
    Compressed(Box<Decoder>),
}

impl Payload {
    /// Starts entry `index`, whose payload is at `offset`, after `raw_before` unpacked bytes.
    pub(super) fn start(
        index: u32,
        entry: Entry,
        offset: u64,
        raw_before: u64,
        limits: Limits,
    ) -> Result<Self, Error> {
        let body = if entry.compressed {
            let own = if index == 0 { limits.root_bytes_max } else { limits.attachment_bytes_max };
            let raw_bytes_max = own.min(limits.raw_bytes_max.saturating_sub(raw_before));
            {
                let limits = compressed::Limits::raw(raw_bytes_max);
                Body::Compressed(Box::new(Decoder::new(limits, Some(entry.payload_bytes))))
            }
        } else {
            Body::Plain(Box::default())
        };
        let payload =
            Self { index, entry, offset, left: entry.payload_bytes, raw_before, limits, body };
        if !entry.compressed {
            payload.check_size(entry.payload_bytes)?;
        }
        Ok(payload)
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    pub(super) const fn entry(&self) -> Entry {
        self.entry
    }

    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// The block that the last [`Step::Unpacked`] announced.
    pub(super) fn unpacked(&self) -> &[u8] {
        match &self.body {
            Body::Plain(_) => &[],
            Body::Compressed(decoder) => decoder.unpacked(),
        }
    }

    /// Goes on with what `input` has of this payload. [`Step::Starved`] with nothing left is the end.
    pub(super) fn step(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let length = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let mut window = input.get(..length).unwrap_or_default();
        let step = match &mut self.body {
            Body::Plain(_) if window.is_empty() => Step::Starved,
            Body::Plain(hasher) => {
                hasher.update(window);
                Step::Passed(length)
            }
            Body::Compressed(decoder) => match decoder.step(&mut window) {
                Ok(step) => step,
                Err(error) => return Err(self.refusal(error)),
            },
        };
        // What the decoder took is gone; what passes through is still for the caller to cut off.
        let taken = length - window.len();
        split_off(input, taken);
        self.left -= taken as u64;
        if let Step::Passed(passed) = step {
            self.left -= passed as u64;
        }
        Ok(step)
    }

    /// Verifies the content, which has come in full. Gives its unpacked size.
    pub(super) fn finish(self) -> Result<u64, Error> {
        let Self { index, entry, offset, .. } = self;
        let (computed, raw_bytes) = match self.body {
            Body::Plain(hasher) => {
                (ContentHash::from_blake3(&hasher.finalize()), entry.payload_bytes)
            }
            Body::Compressed(decoder) => match decoder.finish() {
                Ok(header) => (header.content_hash(), header.raw_bytes),
                Err(source) => return Err(Error::Payload { entry: index, offset, source }),
            },
        };
        if computed == entry.hash {
            Ok(raw_bytes)
        } else {
            Err(Error::Hash { entry: index, offset, expected: entry.hash, computed })
        }
    }

    /// Says of a decoder's size limit which of ours it was.
    fn refusal(&self, source: compressed::Error) -> Error {
        if let compressed::Error::TooLarge { found, .. } = source
            && let Err(error) = self.check_size(found)
        {
            return error;
        }
        Error::Payload { entry: self.index, offset: self.offset, source }
    }

    fn check_size(&self, found: u64) -> Result<(), Error> {
        let (entry, offset, limits) = (self.index, self.offset, &self.limits);
        if entry == 0 && found > limits.root_bytes_max {
            return Err(Error::RootTooLarge { found, limit: limits.root_bytes_max });
        }
        if entry != 0 && found > limits.attachment_bytes_max {
            return Err(Error::AttachmentTooLarge {
                entry,
                offset,
                found,
                limit: limits.attachment_bytes_max,
            });
        }
        let found = self.raw_before.saturating_add(found);
        if found > limits.raw_bytes_max {
            return Err(Error::TooLargeUnpacked {
                entry,
                offset,
                found,
                limit: limits.raw_bytes_max,
            });
        }
        Ok(())
    }
}
