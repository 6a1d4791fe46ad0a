//! A base state that comes from elsewhere, compared with what its head says of it.

use super::base::{Base, BaseError};
use super::kept::Packer;
use crate::domain::Lsn;
use crate::domain::record::RECORD_BYTES_MAX;

/// Takes the parts of a base state as they come: all of its body, and the records kept from before it.
#[derive(Debug)]
pub struct Proof {
    base: Base,
    hasher: blake3::Hasher,
    bytes: u64,
    kept: Packer,
    last: Lsn,
}

impl Proof {
    /// Of the state with this head, as [`Base::to_bytes`] gives it.
    pub fn of(head: &[u8]) -> Result<Self, BaseError> {
        let base = Base::parse(head)?;
        let (hasher, kept) = (blake3::Hasher::new(), Packer::default());
        Ok(Self { base, hasher, bytes: 0, kept, last: Lsn::ZERO })
    }

    /// What the head says.
    pub const fn base(&self) -> Base {
        self.base
    }

    /// The next part of the body.
    pub fn body(&mut self, part: &[u8]) {
        self.hasher.update(part);
        self.bytes = self.bytes.saturating_add(part.len() as u64);
    }

    /// The next record that is kept. They come in the order of their LSNs.
    pub fn keep(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), BaseError> {
        if lsn <= self.last || lsn > self.base.lsn || value.len() > RECORD_BYTES_MAX {
            return Err(BaseError::Kept(lsn));
        }
        self.last = lsn;
        self.kept.push(lsn, value);
        Ok(())
    }

    /// The state, when all of it has come and is what the head says.
    pub fn end(mut self) -> Result<Base, BaseError> {
        let Base { bytes: expected, hash, kept, kept_hash, .. } = self.base;
        if self.bytes != expected {
            return Err(BaseError::Short { expected, found: self.bytes });
        }
        if *self.hasher.finalize().as_bytes() != hash {
            return Err(BaseError::Body);
        }
        self.kept.take();
        let whole = self.kept.sum() == (kept, kept_hash);
        if whole { Ok(self.base) } else { Err(BaseError::KeptOthers) }
    }
}
