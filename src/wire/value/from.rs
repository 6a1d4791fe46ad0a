//! What becomes a [`Value`] by itself.

use std::borrow::Cow;

use bytes::Bytes;

use super::Value;
use crate::domain::{
    ActionId, AttemptNo, ChunkId, ContentHash, Guid, JobState, Lsn, Millis, ObjectId, QueueId,
    QueueState, Timestamp, WorkerId,
};
use crate::wire::cb::{Attachment, Object, ticks_of};

/// Declares conversions, each an expression of the value.
macro_rules! becomes {
    ($($from:ty => |$value:ident| $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

becomes! {
    bool => |value| Self::Bool(value);
    u8 => |value| Self::Unsigned(value.into());
    u16 => |value| Self::Unsigned(value.into());
    u32 => |value| Self::Unsigned(value.into());
    u64 => |value| Self::Unsigned(value);
    usize => |value| Self::Unsigned(value as u64);
    i32 => |value| Self::from(i64::from(value));
    i64 => |value| u64::try_from(value).map_or(Self::Signed(value), Self::Unsigned);
    f64 => |value| Self::Float(value);
    &'static str => |value| Self::Text(Cow::Borrowed(value));
    String => |value| Self::Text(Cow::Owned(value));
    Bytes => |value| Self::Binary(value);
    ContentHash => |value| Self::Hash(value);
    ActionId => |value| Self::Hash(value.0);
    WorkerId => |value| Self::Hash(value.0);
    ChunkId => |value| Self::Hash(value.0);
    Attachment => |value| Self::Attachment(value);
    Guid => |value| Self::Guid(value);
    ObjectId => |value| Self::ObjectId(value);
    Timestamp => |value| Self::DateTime(ticks_of(value));
    Lsn => |value| Self::Unsigned(value.0);
    QueueId => |value| Self::Unsigned(value.get().into());
    AttemptNo => |value| Self::Unsigned(value.0.into());
    Millis => |value| Self::Unsigned(value.0);
    JobState => |value| Self::Text(Cow::Borrowed(value.name()));
    QueueState => |value| Self::Text(Cow::Borrowed(value.name()));
    Object => |value| Self::Raw(value);
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<V: Into<Self>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::array(items)
    }
}

/// Plain JSON, with its plain types.
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Self::Unsigned(value),
                (None, Some(value)) => Self::Signed(value),
                (None, None) => number.as_f64().map_or(Self::Null, Self::Float),
            },
            serde_json::Value::String(text) => Self::Text(Cow::Owned(text)),
            serde_json::Value::Array(items) => Self::array(items),
            serde_json::Value::Object(fields) => {
                Self::object(fields.into_iter().map(|(name, value)| (name, value.into())))
            }
        }
    }
}
