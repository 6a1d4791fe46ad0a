//! Records as bytes. `docs/format.md` describes them for other programs.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::record::RECORD_BYTES_MAX;
use crate::domain::{Cause, Event, Lsn, Record, Timestamp};

/// First byte of every value. A change that `serde` defaults can't bridge gets a new one, and
/// [`decode`] keeps reading the old.
pub const CODEC_VERSION: u8 = 1;

/// Bytes before the body: the version and the chain.
pub const HEADER_BYTES: usize = 1 + Chain::BYTES;

/// Ties a record to all before it: the first 8 bytes of the BLAKE3 hash of its LSN (big-endian)
/// and its value, which begins with the chain hash of the record before.
///
/// It finds records that were exchanged, or left over from another history; it is too short to
/// resist somebody who forges a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chain(pub [u8; Self::BYTES]);

impl Chain {
    /// Length in bytes.
    pub const BYTES: usize = 8;

    /// What the first record follows.
    pub const START: Self = Self([0; Self::BYTES]);

    /// The chain hash of the record whose key is `lsn` and whose value is `value`.
    pub fn of(lsn: Lsn, value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&lsn.to_key()).update(value);
        let mut short = [0; Self::BYTES];
        hasher.finalize_xof().fill(&mut short);
        Self(short)
    }
}

/// The body of a value as it is written. Position and order of fields don't matter on reading.
#[derive(Serialize)]
struct BodyRef<'a> {
    at: Timestamp,
    #[serde(skip_serializing_if = "is_zero")]
    prev: Lsn,
    #[serde(skip_serializing_if = "is_unknown")]
    cause: Cause,
    event: &'a Event,
}

/// The same as it is read. Unknown fields are skipped.
#[derive(Deserialize)]
struct Body {
    at: Timestamp,
    #[serde(default)]
    prev: Lsn,
    #[serde(default)]
    cause: Cause,
    event: Event,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(lsn: &Lsn) -> bool {
    *lsn == Lsn::ZERO
}

fn is_unknown(cause: &Cause) -> bool {
    *cause == Cause::UNKNOWN
}

/// Turns records into values. Keeps its buffer, so that a record costs no allocation.
#[derive(Debug, Default)]
pub struct Encoder {
    value: Vec<u8>,
}

impl Encoder {
    /// The value of `record` after one with the chain hash `after`, and its own chain hash.
    ///
    /// Fails when the value would be longer than [`RECORD_BYTES_MAX`].
    pub fn encode(&mut self, record: &Record, after: Chain) -> Result<(&[u8], Chain), Error> {
        self.value.clear();
        self.value.push(CODEC_VERSION);
        self.value.extend_from_slice(&after.0);
        let body =
            BodyRef { at: record.at, prev: record.prev, cause: record.cause, event: &record.event };
        rmp_serde::encode::write_named(&mut self.value, &body)
            .map_err(|source| Error::Encode { lsn: record.lsn, source })?;
        if self.value.len() > RECORD_BYTES_MAX {
            return Err(Error::TooLarge { lsn: record.lsn, bytes: self.value.len() });
        }
        Ok((&self.value, Chain::of(record.lsn, &self.value)))
    }
}

/// Why a value is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    #[error("its {0} bytes are shorter than a header of {HEADER_BYTES}")]
    Short(usize),
    #[error("its {0} bytes are over the limit of {RECORD_BYTES_MAX}")]
    Long(usize),
    #[error("codec version {0} is unknown, the newest here is {CODEC_VERSION}")]
    Version(u8),
    #[error("its body breaks off or is wrong at byte {offset}")]
    Body { offset: usize, source: rmp_serde::decode::Error },
    #[error("{0} bytes follow its body")]
    Trailing(usize),
}

/// How deep a body may nest. The deepest event takes 8 levels; what a newer program might add and
/// we skip has room, and the stack doesn't suffer.
const DEPTH_MAX: usize = 64;

/// The record in `value`, stored at `lsn`, and the chain hash of the record it follows.
pub fn decode(lsn: Lsn, value: &[u8]) -> Result<(Record, Chain), DecodeError> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(DecodeError::Long(value.len()));
    }
    let (&version, rest) = value.split_first().ok_or(DecodeError::Short(0))?;
    if version != CODEC_VERSION {
        return Err(DecodeError::Version(version));
    }
    let (after, body) = rest.split_first_chunk().ok_or(DecodeError::Short(value.len()))?;
    let Body { at, prev, cause, event } = match borrowing(body) {
        Some(parsed) => parsed,
        None => copying(body)?,
    };
    Ok((Record { lsn, at, prev, cause, event }, Chain(*after)))
}

/// Parses a body that is whole and alone, which nearly all are. It copies nothing to look at it, but
/// can't tell where it stopped.
fn borrowing(body: &[u8]) -> Option<Body> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(DEPTH_MAX);
    let parsed = Body::deserialize(&mut deserializer).ok()?;
    // At the end there is no marker to read. A unit has nothing inside that could be missing instead.
    <()>::deserialize(&mut deserializer).is_err_and(is_end).then_some(parsed)
}

fn is_end(error: rmp_serde::decode::Error) -> bool {
    matches!(
        error,
        rmp_serde::decode::Error::InvalidMarkerRead(error)
            if error.kind() == std::io::ErrorKind::UnexpectedEof
    )
}

/// The same with the place, in the value, and the reason when it is wrong.
fn copying(mut body: &[u8]) -> Result<Body, DecodeError> {
    let bytes = body.len();
    let mut deserializer = rmp_serde::Deserializer::new(&mut body);
    deserializer.set_max_depth(DEPTH_MAX);
    match Body::deserialize(&mut deserializer) {
        Err(source) => {
            let offset = HEADER_BYTES + bytes.saturating_sub(body.len());
            Err(DecodeError::Body { offset, source })
        }
        Ok(_) if !body.is_empty() => Err(DecodeError::Trailing(body.len())),
        Ok(parsed) => Ok(parsed),
    }
}

#[cfg(test)]
mod tests;
