//! Laws of the codec on random values and random bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::domain::{ContentHash, Guid, ObjectId};
use crate::wire::value::Value;

/// Any value, containers included.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (any::<u64>(), 0..64_u32).prop_map(|(n, shift)| Value::Unsigned(n >> shift)),
        (any::<i64>(), 0..63_u32).prop_map(|(n, shift)| Value::from(n >> shift)),
        any::<f64>().prop_filter("equals itself", |n| !n.is_nan()).prop_map(Value::Float),
        any::<f32>()
            .prop_filter("equals itself", |n| !n.is_nan())
            .prop_map(|n| Value::Float(n.into())),
        ".{0,12}".prop_map(Value::from),
        vec(any::<u8>(), 0..200).prop_map(|data| Value::Binary(data.into())),
        any::<[u8; 20]>().prop_map(|raw| Value::Hash(ContentHash(raw))),
        any::<[u8; 20]>().prop_map(|raw| Value::Attachment(Attachment::Binary(ContentHash(raw)))),
        any::<[u8; 20]>().prop_map(|raw| Value::Attachment(Attachment::Object(ContentHash(raw)))),
        any::<[u8; 16]>().prop_map(|raw| Value::Guid(Guid(raw))),
        any::<[u8; 12]>().prop_map(|raw| Value::ObjectId(ObjectId(raw))),
        any::<i64>().prop_map(Value::DateTime),
        any::<i64>().prop_map(Value::TimeSpan),
        (any::<u64>(), vec(any::<u8>(), 0..9))
            .prop_map(|(id, data)| Value::CustomById(id, data.into())),
        (".{1,5}", vec(any::<u8>(), 0..9))
            .prop_map(|(name, data)| Value::CustomByName(name, data.into())),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::Array),
            // Lists of one kind, which become uniform.
            (inner.clone(), 1..6_usize).prop_map(|(item, n)| Value::Array(vec![item; n])),
            btree_map(".{1,6}", inner, 0..20).prop_map(in_order),
        ]
    })
}

/// An object of any values.
pub(crate) fn any_object() -> impl Strategy<Value = Value> {
    btree_map(".{1,6}", any_value(), 0..12).prop_map(in_order)
}

fn in_order(fields: BTreeMap<String, Value>) -> Value {
    Value::object(fields)
}

/// Reads everything there is to read, to see that nothing of it panics.
fn read_all(field: Field<'_>) -> usize {
    let _ = (field.as_u64(), field.as_i64(), field.as_f64(), field.as_str(), field.as_custom());
    let _ = (field.as_hash(), field.as_binary(), field.as_guid(), field.as_date_time());
    let _ = (field.content_hash(), field.field_hash(), field.get("a"), field.count());
    1 + field.children().map(read_all).sum::<usize>()
}

proptest! {
    #[test]
    fn what_is_written_is_canonical_and_reads_back(value in any_object()) {
        let object = value.to_object();
        prop_assert_eq!(validate(object.bytes(), Modes::ALL), Errors::NONE);
        let parsed = Object::parse(object.bytes().clone()).unwrap();
        prop_assert_eq!(Value::of_object(&parsed), value);
        prop_assert_eq!(parsed.hash(), ContentHash::of(object.bytes()));
        prop_assert_eq!(parsed.value_count(), read_all(parsed.root()));
    }

    #[test]
    fn writing_again_changes_nothing(value in any_object()) {
        let object = value.to_object();
        prop_assert_eq!(Value::of_object(&object).to_object(), object);
    }

    #[test]
    fn every_field_is_found_by_its_name(value in any_object()) {
        let object = value.to_object();
        for (name, expected) in value.as_object().unwrap() {
            let field = object.get(name).unwrap();
            prop_assert_eq!(&Value::of_field(field), expected);
        }
        prop_assert_eq!(object.root().count(), value.as_object().unwrap().len());
    }

    #[test]
    fn a_field_taken_out_and_embedded_keeps_its_bytes(value in any_object()) {
        let outer = Object::build(|o| {
            value.write(o.field("inner"));
            o.field("list").array(|list| {
                value.write(list.item());
                value.write(list.item());
            });
        });
        let expected = value.to_object();
        prop_assert_eq!(&Object::from_field(outer.get("inner").unwrap()).unwrap(), &expected);
        for item in outer.get("list").unwrap().children() {
            prop_assert_eq!(&Object::from_field(item).unwrap(), &expected);
        }
        prop_assert_eq!(Value::Raw(expected).to_object(), value.to_object());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        judge(&bytes);
    }

    #[test]
    fn random_fields_never_panic(bytes in vec(prop_oneof![0..0x20_u8, 0x80..0xa0_u8, any::<u8>()], 0..60)) {
        judge(&bytes);
    }

    #[test]
    fn damaged_objects_never_panic(
        value in any_object(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = value.to_object().into_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        judge(&bytes);
    }
}

/// Both checks end; what the strict one takes, the engine takes, and all of it can be read.
fn judge(bytes: &[u8]) {
    let _ = validate_range(bytes, Modes::ALL);
    let modes = Modes::DEFAULT.and(Modes::NAMES).and(Modes::PADDING);
    match check(bytes) {
        Ok(()) => {
            assert_eq!(validate(bytes, modes), Errors::NONE, "stricter than the engine");
            let mut rest = bytes;
            let field = Field::take(&mut rest, None).expect("checked");
            assert!(rest.is_empty());
            let fields = read_all(field);
            assert!(fields <= bytes.len(), "every field takes a byte");
            if let Ok(object) = Object::parse(Bytes::copy_from_slice(bytes)) {
                let value = Value::of_object(&object);
                assert!(value.to_object().root().is_object());
                serde_json::from_str::<serde_json::Value>(&value.to_json()).expect("JSON");
            }
        }
        Err(error) => {
            assert!(error.offset <= bytes.len());
            assert!(!error.to_string().is_empty());
        }
    }
}
