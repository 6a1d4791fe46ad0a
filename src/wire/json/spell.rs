//! Compact binary as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::wire::cb::{Custom, Field, Kind, Object};

const TICKS_PER_SECOND: i64 = 10_000_000;
const NANOS_PER_TICK: i64 = 100;
/// Seconds from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;

/// A field that serialises as its JSON spelling. Text that is not UTF-8 gets replacement characters.
#[derive(Clone, Copy, Debug)]
pub struct Spelled<'a>(pub Field<'a>);

/// An object as JSON text.
pub fn to_string(object: &Object) -> String {
    serde_json::to_string(&Spelled(object.root()))
        .unwrap_or_else(|error| unreachable!("no I/O: {error}"))
}

/// A date-time as RFC 3339. Beyond the year 9999, where that ends, the number of ticks.
pub fn date_time_text(ticks: i64) -> String {
    let seconds = ticks.div_euclid(TICKS_PER_SECOND) - UNIX_EPOCH_SECONDS;
    let nanos = i32::try_from(ticks.rem_euclid(TICKS_PER_SECOND) * NANOS_PER_TICK);
    let time = nanos.ok().and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
    time.map_or_else(|| format!("{ticks} ticks"), |time| time.to_string())
}

/// A time span as a number of seconds, an integer when it is one.
#[expect(clippy::cast_precision_loss, reason = "JSON readers have doubles at best")]
pub fn span_seconds<S: Serializer>(ticks: i64, serializer: S) -> Result<S::Ok, S::Error> {
    if ticks % TICKS_PER_SECOND == 0 {
        serializer.serialize_i64(ticks / TICKS_PER_SECOND)
    } else {
        serializer.serialize_f64(ticks as f64 / TICKS_PER_SECOND as f64)
    }
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let field = self.0;
        let spelled = match field.kind() {
            Kind::Null => None,
            Kind::Object | Kind::UniformObject => return object(field, serializer),
            Kind::Array | Kind::UniformArray => {
                return serializer.collect_seq(field.children().map(Spelled));
            }
            Kind::IntegerPositive => {
                return serializer.serialize_u64(field.as_u64().unwrap_or_default());
            }
            // Below what a signed integer can hold there is nothing better than a float.
            Kind::IntegerNegative => {
                return match field.as_i64() {
                    Some(value) => serializer.serialize_i64(value),
                    None => serializer.serialize_f64(field.negative_as_f64().unwrap_or_default()),
                };
            }
            // As the double it is exactly, so that reading it back gives the same value.
            Kind::Float32 | Kind::Float64 => {
                return serializer.serialize_f64(field.as_f64().unwrap_or(f64::NAN));
            }
            Kind::BoolFalse => return serializer.serialize_bool(false),
            Kind::BoolTrue => return serializer.serialize_bool(true),
            Kind::TimeSpan => {
                return span_seconds(field.as_time_span().unwrap_or_default(), serializer);
            }
            Kind::CustomById | Kind::CustomByName => return custom(field, serializer),
            Kind::Binary => field.as_binary().map(|data| STANDARD.encode(data)),
            Kind::String => {
                field.string_bytes().map(|text| String::from_utf8_lossy(text).into_owned())
            }
            Kind::ObjectAttachment | Kind::BinaryAttachment | Kind::Hash => {
                field.as_hash().map(|hash| hash.to_string())
            }
            Kind::Uuid => field.as_guid().map(|guid| guid.to_string()),
            Kind::DateTime => field.as_date_time().map(date_time_text),
            Kind::ObjectId => field.as_object_id().map(|id| id.to_string()),
        };
        match spelled {
            Some(text) => serializer.serialize_str(&text),
            None => serializer.serialize_unit(),
        }
    }
}

fn object<S: Serializer>(field: Field<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for child in field.children() {
        let name = String::from_utf8_lossy(child.name_bytes().unwrap_or_default());
        map.serialize_entry(&name, &Spelled(child))?;
    }
    map.end()
}

fn custom<S: Serializer>(field: Field<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    match field.as_custom() {
        Some(Custom::Id(id, data)) => {
            map.serialize_entry("Id", &id)?;
            map.serialize_entry("Data", &STANDARD.encode(data))?;
        }
        Some(Custom::Name(name, data)) => {
            map.serialize_entry("Name", &String::from_utf8_lossy(name))?;
            map.serialize_entry("Data", &STANDARD.encode(data))?;
        }
        None => {}
    }
    map.end()
}
