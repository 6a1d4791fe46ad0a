//! Values that are written once and rendered as compact binary or as JSON.
//!
//! Answers are built as a [`Value`]; request bodies of either spelling are read into one, and the
//! `as_…` methods accept what the other spelling has instead (a hash as 40 hex digits, say).

mod from;
mod render;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;

use super::cb::{Attachment, Custom, Field, Kind, Object};
use crate::domain::{ContentHash, Guid, ObjectId};

/// A field's name.
pub type Name = Cow<'static, str>;

/// Anything compact binary can hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    /// Zero and above.
    Unsigned(u64),
    /// Below zero; [`Value::from`] puts the others where they belong.
    Signed(i64),
    Float(f64),
    Text(Cow<'static, str>),
    Binary(Bytes),
    Hash(ContentHash),
    Attachment(Attachment),
    Guid(Guid),
    ObjectId(ObjectId),
    /// Ticks of 100 ns since the year 1.
    DateTime(i64),
    /// Ticks of 100 ns.
    TimeSpan(i64),
    /// A custom type by number, and its data.
    CustomById(u64, Bytes),
    /// A custom type by name, and its data.
    CustomByName(String, Bytes),
    Array(Vec<Value>),
    /// Fields in order. Names differ.
    Object(Vec<(Name, Value)>),
    /// An object that is passed on byte for byte.
    Raw(Object),
}

impl Value {
    /// An object of these fields, in order.
    pub fn object<N: Into<Name>>(fields: impl IntoIterator<Item = (N, Self)>) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// An array of whatever becomes a value.
    pub fn array<V: Into<Self>>(items: impl IntoIterator<Item = V>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }

    /// Adds a field; for objects only, anything else stays as it is.
    #[must_use]
    pub fn with(mut self, name: impl Into<Name>, value: impl Into<Self>) -> Self {
        if let Self::Object(fields) = &mut self {
            fields.push((name.into(), value.into()));
        }
        self
    }

    /// Adds a field when there is something to add.
    #[must_use]
    pub fn with_some(self, name: impl Into<Name>, value: Option<impl Into<Self>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A copy of what an object holds.
    pub fn of_object(object: &Object) -> Self {
        Self::of_field(object.root())
    }

    /// A copy of what a field holds. Text that is not UTF-8 gets replacement characters.
    pub fn of_field(field: Field<'_>) -> Self {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = match field.kind() {
            Kind::Null => None,
            Kind::Object | Kind::UniformObject => Some(Self::Object(
                field
                    .children()
                    .map(|child| {
                        let name = lossy(child.name_bytes().unwrap_or_default());
                        (Cow::Owned(name), Self::of_field(child))
                    })
                    .collect(),
            )),
            Kind::Array | Kind::UniformArray => {
                Some(Self::Array(field.children().map(Self::of_field).collect()))
            }
            Kind::Binary => {
                field.as_binary().map(|data| Self::Binary(Bytes::copy_from_slice(data)))
            }
            Kind::String => field.string_bytes().map(|text| Self::Text(Cow::Owned(lossy(text)))),
            Kind::IntegerPositive => field.as_u64().map(Self::Unsigned),
            // Below what a signed integer can hold there is nothing better than a float.
            Kind::IntegerNegative => field
                .as_i64()
                .map(Self::Signed)
                .or_else(|| field.negative_as_f64().map(Self::Float)),
            Kind::Float32 | Kind::Float64 => field.as_f64().map(Self::Float),
            Kind::BoolFalse => Some(Self::Bool(false)),
            Kind::BoolTrue => Some(Self::Bool(true)),
            Kind::ObjectAttachment | Kind::BinaryAttachment => {
                field.as_attachment().map(Self::Attachment)
            }
            Kind::Hash => field.as_hash().map(Self::Hash),
            Kind::Uuid => field.as_guid().map(Self::Guid),
            Kind::DateTime => field.as_date_time().map(Self::DateTime),
            Kind::TimeSpan => field.as_time_span().map(Self::TimeSpan),
            Kind::ObjectId => field.as_object_id().map(Self::ObjectId),
            Kind::CustomById | Kind::CustomByName => field.as_custom().map(|custom| match custom {
                Custom::Id(id, data) => Self::CustomById(id, Bytes::copy_from_slice(data)),
                Custom::Name(name, data) => {
                    Self::CustomByName(lossy(name), Bytes::copy_from_slice(data))
                }
            }),
        };
        found.unwrap_or_default()
    }

    /// The word for it in messages.
    pub const fn kind_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Binary(_) => "binary",
            Self::Hash(_) => "a hash",
            Self::Attachment(_) => "an attachment",
            Self::Guid(_) => "a uuid",
            Self::ObjectId(_) => "an object id",
            Self::DateTime(_) => "a date-time",
            Self::TimeSpan(_) => "a time span",
            Self::CustomById(..) | Self::CustomByName(..) => "a custom value",
            Self::Array(_) => "an array",
            Self::Object(_) | Self::Raw(_) => "an object",
        }
    }

    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The fields, when it is an object that was not passed through raw.
    pub fn as_object(&self) -> Option<&[(Name, Self)]> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The object's field of that name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub const fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(*value).ok(),
            Self::Signed(value) => Some(*value),
            _ => None,
        }
    }

    /// A float, or an integer as the nearest one.
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked")]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// A hash, an attachment, or 40 hex digits.
    pub fn as_hash(&self) -> Option<ContentHash> {
        match self {
            Self::Hash(hash) => Some(*hash),
            Self::Attachment(attachment) => Some(attachment.hash()),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A uuid, or the text of one.
    pub fn as_guid(&self) -> Option<Guid> {
        match self {
            Self::Guid(guid) => Some(*guid),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// An object id, or 24 hex digits.
    pub fn as_object_id(&self) -> Option<ObjectId> {
        match self {
            Self::ObjectId(id) => Some(*id),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}
