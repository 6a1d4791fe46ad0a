//! Names of things: positions in the log, workers, actions, chunks, queues, attempts, sessions.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hash::{ContentHash, HashError};

/// Log sequence number: the position of a record in the log, counted from 1 without gaps.
///
/// A job's public name is the LSN of the record that holds its submission, so it is never reused.
/// [`Lsn::ZERO`] is "before the first record".
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// The first record.
    pub const FIRST: Self = Self(1);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Key in the log's tree: big-endian, so that byte order is log order.
    pub const fn to_key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A text is not a decimal number of at most 20 digits that fits 64 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an LSN is a decimal number below 2^64, not {0:?}")]
pub struct LsnError(pub String);

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain =
            !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if plain => Ok(Self(number)),
            _ => Err(LsnError(text.chars().take(48).collect())),
        }
    }
}

/// Declares a newtype of [`ContentHash`] that is spelled like one.
macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub ContentHash);

        impl $name {
            /// The id of the thing whose bytes these are.
            pub fn of(bytes: &[u8]) -> Self {
                Self(ContentHash::of(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = HashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

hash_id! {
    /// A worker: the hash of its descriptor object's bytes.
    WorkerId
}
hash_id! {
    /// An action: the hash of the action object's bytes.
    ActionId
}
hash_id! {
    /// A chunk: the hash of its raw, uncompressed content.
    ChunkId
}

/// Declares an opaque identifier of a fixed number of bytes, spelled as hex.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                super::bytes::serialize(&self.0, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::bytes::deserialize(deserializer, $what).map(Self)
            }
        }
    };
}

byte_id! {
    /// Twelve opaque bytes that Unreal calls an object id: session ids, value ids, queue tokens.
    ObjectId, 12, "an object id"
}

byte_id! {
    /// What the log keeps of a queue token: finding the token from it is out of reach.
    TokenHash, 32, "the hash of a queue token"
}

impl TokenHash {
    /// The hash of `token`, for this purpose alone.
    pub fn of(token: &super::QueueToken) -> Self {
        Self(blake3::derive_key("ledgerun 2026 queue token", &token.0.0))
    }
}

impl ObjectId {
    /// The id of a named output value: the first 12 bytes of the BLAKE3 of its name.
    pub fn of_name(name: &str) -> Self {
        let mut id = [0; 12];
        id.copy_from_slice(blake3::hash(name.as_bytes()).as_bytes().split_at(12).0);
        Self(id)
    }
}

/// A GUID in RFC 4122 text order: versions of functions and of build systems.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = hex::encode(self.0);
        let mut rest = text.as_str();
        for (length, end) in [(8, "-"), (4, "-"), (4, "-"), (4, "-"), (12, "")] {
            let (group, left) = rest.split_at(length);
            write!(f, "{group}{end}")?;
            rest = left;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a GUID is 32 hex digits grouped 8-4-4-4-12, not {0:?}")]
pub struct GuidError(pub String);

impl FromStr for Guid {
    type Err = GuidError;

    /// Takes the grouped form, bare 32 digits, and either in braces; either case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || GuidError(text.chars().take(48).collect());
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let dashes: Vec<usize> = inner.match_indices('-').map(|(at, _)| at).collect();
        if !dashes.is_empty() && dashes != [8, 13, 18, 23] {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(inner.replace('-', ""), &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            super::bytes::deserialize(deserializer, "a GUID").map(Self)
        }
    }
}

/// A queue: a small number, counted from 1 in order of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueId(NonZeroU32);

impl QueueId {
    /// The queue of that number, which is never zero.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for QueueId {
    type Err = LsnError;

    /// Takes what [`Lsn`] takes, from 1 to what 32 bits hold.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Lsn(number) = text.parse()?;
        let queue = u32::try_from(number).ok().and_then(Self::new);
        queue.ok_or_else(|| LsnError(text.to_owned()))
    }
}

/// Which try at an execution, counted from 1. Fences late reports of an older try.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AttemptNo(pub u32);

impl fmt::Display for AttemptNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
