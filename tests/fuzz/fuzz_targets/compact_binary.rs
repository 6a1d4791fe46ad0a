//! One compact binary field: both validations end, and what the strict one takes can be read.

#![no_main]

use bytes::Bytes;
use ledgerun::wire::cb::{Errors, Field, Modes, Object, check, validate, validate_range};
use ledgerun::wire::{json, value::Value};
use libfuzzer_sys::fuzz_target;

fn read(field: Field<'_>) -> usize {
    let _ = (field.as_u64(), field.as_i64(), field.as_f64(), field.as_bool(), field.as_str());
    let _ = (field.as_hash(), field.as_binary(), field.as_guid(), field.as_object_id());
    let _ = (field.as_date_time(), field.as_time_span(), field.as_custom(), field.as_attachment());
    let _ = (field.content_hash(), field.field_hash(), field.count(), field.name());
    1 + field.children().map(read).sum::<usize>()
}

fuzz_target!(|bytes: &[u8]| {
    let _ = validate(bytes, Modes::ALL);
    let _ = validate_range(bytes, Modes::ALL);
    if let Err(error) = check(bytes) {
        assert!(error.offset <= bytes.len());
        return;
    }
    let modes = Modes::DEFAULT.and(Modes::NAMES).and(Modes::PADDING);
    assert_eq!(validate(bytes, modes), Errors::NONE, "stricter than the engine");
    let Ok(object) = Object::parse(Bytes::copy_from_slice(bytes)) else { return };
    assert!(read(object.root()) <= bytes.len());
    let text = json::to_string(&object);
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    let value = Value::of_object(&object);
    let written = value.to_object();
    assert_eq!(Value::of_object(&written).to_object(), written);
});
