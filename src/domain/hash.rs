//! Content hashes: the first 20 bytes of BLAKE3-256, which Unreal calls `IoHash`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Identity of immutable bytes: the first 20 bytes of their unkeyed BLAKE3-256.
///
/// Text is 40 hex digits, lower case on output, either case on input. Order is byte-wise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ContentHash(pub [u8; ContentHash::BYTES]);

impl ContentHash {
    /// Length in bytes.
    pub const BYTES: usize = 20;

    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_blake3(&blake3::hash(bytes))
    }

    /// Cuts a full BLAKE3-256 digest to the 20 bytes that count.
    pub fn from_blake3(digest: &blake3::Hash) -> Self {
        let mut short = [0; Self::BYTES];
        short.copy_from_slice(digest.as_bytes().split_at(Self::BYTES).0);
        Self(short)
    }

    /// The bytes in order.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::BYTES * 2];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 40 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 40 hex digits, not {0:?}")]
pub struct HashError(pub String);

impl FromStr for ContentHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::BYTES];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(HashError(text.chars().take(48).collect())),
        }
    }
}

/// Text for people (JSON), 20 raw bytes for the log.
impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::bytes::deserialize(deserializer, "a hash").map(Self)
    }
}
