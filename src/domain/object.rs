//! Compact binary objects as the log refers to them: inside their record when small, else a chunk.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::ChunkId;

/// Largest object that rides in its own record. Larger ones are chunks, so that a record stays
/// under [`super::record::RECORD_BYTES_MAX`].
pub const INLINE_BYTES_MAX: usize = 2_048;

/// Bytes that are base64 for people and raw in the log. Cloning shares them.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B {}", self.0.len(), ChunkId::of(&self.0))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            STANDARD.decode(text).map(|raw| Self(raw.into())).map_err(serde::de::Error::custom)
        } else {
            Bytes::deserialize(deserializer).map(Self)
        }
    }
}

/// Where an object's bytes are: an action, a descriptor, a worker's output.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectRef {
    /// Here, at most [`INLINE_BYTES_MAX`].
    Inline(Blob),
    /// In the chunk store, durable before the record that says so.
    Chunk(ChunkId),
}

impl ObjectRef {
    /// The chunk this refers to, if it is one.
    pub const fn chunk(&self) -> Option<ChunkId> {
        match self {
            Self::Inline(_) => None,
            Self::Chunk(id) => Some(*id),
        }
    }
}
