//! What the records before the first one of a compacted log came to: a state that stands for them.
//! The log doesn't know what is in it, only that it is the one that was written.

use crate::domain::{ContentHash, Lsn};
use crate::eventlog::codec::Chain;
use crate::eventlog::head::{CHECKSUM_BYTES, checksum, take};

const VERSION: u32 = 1;
/// Bytes of a hash of a whole part.
pub(super) const HASH_BYTES: usize = 32;
/// Bytes of a head.
const HEAD_BYTES: usize = 140;

/// Longest piece of a body in the database, in bytes; all but the last have it.
pub const PIECE_BYTES: usize = 4_096;

/// What a base state says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// The newest record folded into it.
    pub lsn: Lsn,
    /// That record's chain hash, which the first record of the log follows.
    pub chain: Chain,
    /// How the body is encoded: the number that the views give their layout.
    pub layout: u32,
    /// Digest of the state, as the views tell it.
    pub digest: ContentHash,
    /// Length of the body in bytes.
    pub bytes: u64,
    /// BLAKE3-256 of the body.
    pub(in crate::eventlog) hash: [u8; HASH_BYTES],
    /// Records up to [`Base::lsn`] that stay readable by their LSN.
    pub kept: u64,
    /// BLAKE3-256 of what these lie in, key and value of each entry in order.
    pub(in crate::eventlog) kept_hash: [u8; HASH_BYTES],
}

/// Why a head is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BaseError {
    #[error("its head has {0} bytes instead of {HEAD_BYTES}")]
    Length(usize),
    #[error("its version is {0}, and this program knows {VERSION}")]
    Version(u32),
    #[error("its head is damaged")]
    Head,
    #[error("its state has {found} bytes instead of {expected}")]
    Short { expected: u64, found: u64 },
    #[error("its state is damaged")]
    Body,
    #[error("the records kept from before it are damaged at record {0}")]
    Kept(Lsn),
    #[error("of the records kept from before it some are missing or others")]
    KeptOthers,
}

impl Base {
    /// As it is stored.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.layout.to_be_bytes());
        bytes.extend_from_slice(&self.lsn.to_key());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(self.digest.as_bytes());
        // Keeps the numbers after it on multiples of eight.
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        bytes.extend_from_slice(&self.hash);
        bytes.extend_from_slice(&self.kept.to_be_bytes());
        bytes.extend_from_slice(&self.kept_hash);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    pub(in crate::eventlog) fn parse(bytes: &[u8]) -> Result<Self, BaseError> {
        let length = BaseError::Length(bytes.len());
        let mut rest = bytes;
        let version = u32::from_be_bytes(take(&mut rest).ok_or(length)?);
        if version != VERSION {
            return Err(BaseError::Version(version));
        }
        if bytes.len() != HEAD_BYTES {
            return Err(length);
        }
        let (checked, sum) = bytes.split_at_checked(HEAD_BYTES - CHECKSUM_BYTES).ok_or(length)?;
        if sum != checksum(checked) {
            return Err(BaseError::Head);
        }
        Self::fields(rest).ok_or(length)
    }

    fn fields(mut rest: &[u8]) -> Option<Self> {
        let layout = u32::from_be_bytes(take(&mut rest)?);
        let lsn = Lsn(u64::from_be_bytes(take(&mut rest)?));
        let chain = Chain(take(&mut rest)?);
        let digest = ContentHash(take(&mut rest)?);
        let _: [u8; 8] = take(&mut rest)?;
        Some(Self {
            lsn,
            chain,
            layout,
            digest,
            bytes: u64::from_be_bytes(take(&mut rest)?),
            hash: take(&mut rest)?,
            kept: u64::from_be_bytes(take(&mut rest)?),
            kept_hash: take(&mut rest)?,
        })
    }

    /// The oldest record of the log after it.
    pub const fn first(&self) -> Lsn {
        self.lsn.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base {
            lsn: Lsn(7),
            chain: Chain([3; 8]),
            layout: 5,
            digest: ContentHash([4; 20]),
            bytes: 12_345,
            hash: [1; 32],
            kept: 9,
            kept_hash: [2; 32],
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let bytes = base().to_bytes();
        assert_eq!(bytes.len(), HEAD_BYTES);
        assert_eq!(Base::parse(&bytes), Ok(base()));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let bytes = base().to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Base::parse(&damaged).is_err(), "byte {at} bit {bit}");
            }
            assert!(Base::parse(&bytes[..at]).is_err());
        }
    }
}
