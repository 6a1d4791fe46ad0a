//! JSON text as a [`Value`], without the liberties that JSON readers usually take: two keys of one
//! name, integers that become floats, nesting without end.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::wire::cb::DEPTH_MAX;
use crate::wire::value::Value;

/// Text is not the JSON we take. Names line and column, both counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    #[error("JSON at byte {offset}: the integer {text} does not fit 64 bits; write it as a float")]
    Integer {
        /// Offset in bytes.
        offset: usize,
        text: String,
    },
}

/// Reads one JSON value. A number with `.`, `e` or `E` is a float, any other an integer.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text = settle_integers(text)?;
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let value = Nested { depth: 0 }.deserialize(&mut reader).map_err(JsonError::Syntax)?;
    reader.end().map_err(JsonError::Syntax)?;
    Ok(value)
}

/// The reader below turns integers that it cannot hold into floats, and `-0` too. So those are
/// refused, or written as `0`, before it sees them.
fn settle_integers(text: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let mut settled = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string_len(text.get(at..).unwrap_or_default()),
            b'-' | b'0'..=b'9' => {
                let rest = text.get(at..).unwrap_or_default();
                let len = rest.iter().take_while(|b| is_number_byte(**b)).count();
                let number = rest.get(..len).unwrap_or_default();
                if number == b"-0" {
                    if let Some(minus) = settled.to_mut().get_mut(at) {
                        *minus = b' ';
                    }
                } else if is_too_large(number) {
                    let text = String::from_utf8_lossy(number).chars().take(48).collect();
                    return Err(JsonError::Integer { offset: at, text });
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    Ok(settled)
}

const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether it is an integer outside both `i64` and `u64`.
fn is_too_large(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    std::str::from_utf8(number).is_ok_and(|text| {
        if digits.len() == number.len() {
            text.parse::<u64>().is_err()
        } else {
            text.parse::<i64>().is_err()
        }
    })
}

/// Length of the string literal that `text` starts with, quotes included.
fn string_len(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A value inside `depth` objects and arrays.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl Nested {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!(
                "objects and arrays are nested more than {DEPTH_MAX} deep"
            )));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.is_empty() {
                return Err(A::Error::custom("a key is empty; every field needs a name"));
            }
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("the key {name:?} is there twice")));
            }
            fields.push((Cow::Owned(name), map.next_value_seed(inner)?));
        }
        Ok(Value::Object(fields))
    }
}
