//! A [`Value`] as compact binary and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Value;
use crate::wire::cb::{Custom, Object, ObjectWriter, Slot};
use crate::wire::json::{Spelled, date_time_text, span_seconds};

impl Value {
    /// The value as a compact binary object in canonical form; a value that is no object becomes
    /// the field `value` of one.
    pub fn to_object(&self) -> Object {
        match self {
            Self::Object(fields) => Object::build(|object| write_fields(fields, object)),
            Self::Raw(object) => object.clone(),
            other => Object::build(|object| other.write(object.field("value"))),
        }
    }

    /// The value as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("no I/O: {error}"))
    }

    /// Writes it into `slot`.
    pub fn write(&self, slot: Slot<'_>) {
        match self {
            Self::Null => slot.null(),
            Self::Bool(value) => slot.bool(*value),
            Self::Unsigned(value) => slot.u64(*value),
            Self::Signed(value) => slot.i64(*value),
            Self::Float(value) => slot.f64(*value),
            Self::Text(text) => slot.str(text),
            Self::Binary(data) => slot.binary(data),
            Self::Hash(hash) => slot.hash(*hash),
            Self::Attachment(attachment) => slot.attachment(*attachment),
            Self::Guid(guid) => slot.guid(*guid),
            Self::ObjectId(id) => slot.object_id(*id),
            Self::DateTime(ticks) => slot.date_time(*ticks),
            Self::TimeSpan(ticks) => slot.time_span(*ticks),
            Self::CustomById(id, data) => slot.custom(Custom::Id(*id, data)),
            Self::CustomByName(name, data) => slot.custom(Custom::Name(name.as_bytes(), data)),
            Self::Array(items) => slot.array(|array| {
                for item in items {
                    item.write(array.item());
                }
            }),
            Self::Object(fields) => slot.object(|object| write_fields(fields, object)),
            Self::Raw(object) => slot.embed(object),
        }
    }
}

fn write_fields(fields: &[(super::Name, Value)], object: &mut ObjectWriter<'_>) {
    for (name, value) in fields {
        value.write(object.field(name));
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Binary(data) => serializer.serialize_str(&STANDARD.encode(data)),
            Self::Hash(hash) => serializer.collect_str(hash),
            Self::Attachment(attachment) => serializer.collect_str(&attachment.hash()),
            Self::Guid(guid) => serializer.collect_str(guid),
            Self::ObjectId(id) => serializer.collect_str(id),
            Self::DateTime(ticks) => serializer.serialize_str(&date_time_text(*ticks)),
            Self::TimeSpan(ticks) => span_seconds(*ticks, serializer),
            Self::CustomById(id, data) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("Id", id)?;
                map.serialize_entry("Data", &STANDARD.encode(data))?;
                map.end()
            }
            Self::CustomByName(name, data) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("Name", name)?;
                map.serialize_entry("Data", &STANDARD.encode(data))?;
                map.end()
            }
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
            Self::Raw(object) => Spelled(object.root()).serialize(serializer),
        }
    }
}
