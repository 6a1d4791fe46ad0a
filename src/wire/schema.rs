//! How the typed readers of objects say what is wrong, and the steps they share.

use crate::domain::{ContentHash, Guid, ObjectId};

use super::cb::{Attachment, Field, Fields, Kind};
use super::value::Value;

/// An object is not what its schema says. Names the field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("field {field}: {problem}")]
pub struct SchemaError {
    /// Path of the field, such as `Inputs.a.txt.RawHash` or `files[3].name`.
    pub field: String,
    pub problem: String,
}

impl SchemaError {
    pub(super) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// The same inside of `outer`.
    pub(super) fn within(mut self, outer: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{outer}{dot}{}", self.field);
        self
    }

    /// The same in the item of that number.
    pub(super) fn at(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

/// Shortens text of a stranger for a message.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The field of that name, which must be there.
pub(super) fn required<'a>(object: Field<'a>, name: &str) -> Result<Field<'a>, SchemaError> {
    object.get(name).ok_or_else(|| SchemaError::new(name, "is missing"))
}

/// The field of that name, unless it is absent or null.
pub(super) fn optional<'a>(object: Field<'a>, name: &str) -> Option<Field<'a>> {
    object.get(name).filter(|field| !field.is_null())
}

fn wrong(name: &str, field: Field<'_>, expected: &str) -> SchemaError {
    SchemaError::new(name, format!("is {}, not {expected}", field.kind().name()))
}

/// A string.
pub(super) fn text<'a>(field: Field<'a>, name: &str) -> Result<&'a str, SchemaError> {
    match field.string_bytes() {
        None => Err(wrong(name, field, "a string")),
        Some(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| SchemaError::new(name, "is a string that is not UTF-8")),
    }
}

/// A string that says something.
pub(super) fn some_text<'a>(field: Field<'a>, name: &str) -> Result<&'a str, SchemaError> {
    match text(field, name)? {
        "" => Err(SchemaError::new(name, "is empty")),
        text => Ok(text),
    }
}

/// A uuid.
pub(super) fn guid(field: Field<'_>, name: &str) -> Result<Guid, SchemaError> {
    field.as_guid().ok_or_else(|| wrong(name, field, "a uuid"))
}

/// An integer from zero up.
pub(super) fn unsigned(field: Field<'_>, name: &str) -> Result<u64, SchemaError> {
    field.as_u64().ok_or_else(|| match field.kind() {
        Kind::IntegerNegative => SchemaError::new(name, "is below zero"),
        _ => wrong(name, field, "an integer"),
    })
}

/// A signed integer.
pub(super) fn signed(field: Field<'_>, name: &str) -> Result<i64, SchemaError> {
    field.as_i64().ok_or_else(|| match field.kind() {
        Kind::IntegerNegative | Kind::IntegerPositive => {
            SchemaError::new(name, "does not fit a signed 64-bit integer")
        }
        _ => wrong(name, field, "an integer"),
    })
}

/// A reference to bytes held elsewhere.
pub(super) fn chunk(field: Field<'_>, name: &str) -> Result<ContentHash, SchemaError> {
    match field.as_attachment() {
        Some(Attachment::Binary(hash)) => Ok(hash),
        _ => Err(wrong(name, field, "a binary attachment")),
    }
}

/// An object id.
pub(super) fn object_id(field: Field<'_>, name: &str) -> Result<ObjectId, SchemaError> {
    field.as_object_id().ok_or_else(|| wrong(name, field, "an object id"))
}

/// An object.
pub(super) fn object<'a>(field: Field<'a>, name: &str) -> Result<Field<'a>, SchemaError> {
    if field.is_object() { Ok(field) } else { Err(wrong(name, field, "an object")) }
}

/// The items of an array; none when the field is absent.
pub(super) fn items<'a>(object: Field<'a>, name: &str) -> Result<Fields<'a>, SchemaError> {
    match optional(object, name) {
        None => Ok(Field::null().children()),
        Some(field) => field.as_array().ok_or_else(|| wrong(name, field, "an array")),
    }
}

/// Reads each item of an array with `read`; errors name the item.
pub(super) fn each<'a, T>(
    object: Field<'a>,
    name: &str,
    mut read: impl FnMut(Field<'a>) -> Result<T, SchemaError>,
) -> Result<Vec<T>, SchemaError> {
    items(object, name)?
        .enumerate()
        .map(|(index, item)| read(item).map_err(|error| error.at(index).within(name)))
        .collect()
}

// The same for values that came from JSON, where types that JSON lacks are told by the schema.

/// What JSON must spell for a field, and how it looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    Text,
    Guid,
    Unsigned,
    Signed,
    Chunk,
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Guid => "a uuid such as 6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
            Self::Unsigned => "an integer of at least 0",
            Self::Signed => "an integer",
            Self::Chunk => "a hash of 40 hex digits",
        }
    }

    /// The typed value that `value` spells.
    pub(super) fn typed(self, value: &Value, name: &str) -> Result<Value, SchemaError> {
        let typed = match self {
            Self::Text => value.as_str().map(|text| Value::from(text.to_owned())),
            Self::Guid => value.as_guid().map(Value::Guid),
            Self::Unsigned => value.as_u64().map(Value::Unsigned),
            Self::Signed => value.as_i64().map(Value::from),
            Self::Chunk => value.as_hash().map(|h| Value::Attachment(Attachment::Binary(h))),
        };
        typed.ok_or_else(|| {
            let found = match value.as_str() {
                Some(text) => shown(text),
                None => value.kind_name().to_owned(),
            };
            SchemaError::new(name, format!("is {found}, not {}", self.name()))
        })
    }
}

/// The fields of `value` in the order of `known`; a field that is not known is refused by name.
pub(super) fn known_fields<'v>(
    value: &'v Value,
    what: &str,
    known: &[&'static str],
) -> Result<Vec<(&'static str, &'v Value)>, SchemaError> {
    let Some(fields) = value.as_object() else {
        return Err(SchemaError::new(what, format!("is {}, not an object", value.kind_name())));
    };
    if let Some((name, _)) = fields.iter().find(|(name, _)| !known.contains(&&**name)) {
        let problem = format!("is not a field of {what}; those are {}", known.join(", "));
        return Err(SchemaError::new(&**name, problem));
    }
    Ok(known.iter().filter_map(|name| value.get(name).map(|found| (*name, found))).collect())
}
