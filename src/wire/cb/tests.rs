//! The format's published vectors.

use proptest::prelude::*;

use super::*;
use crate::domain::ContentHash;

/// Bytes from hex with blanks.
pub(super) fn hex_bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace([' ', '\n'], "")).unwrap()
}

#[test]
fn varuints_encode_and_decode() {
    let vectors: [(u64, &str); 15] = [
        (0x1, "01"),
        (0x12, "12"),
        (0x123, "8123"),
        (0x1234, "9234"),
        (0x12345, "c12345"),
        (0x12_3456, "d23456"),
        (0x123_4567, "e1234567"),
        (0x1234_5678, "f012345678"),
        (0x1_2345_6789, "f123456789"),
        (0x12_3456_789a, "f8123456789a"),
        (0x1234_5678_9abc, "fc123456789abc"),
        (0x1_2345_6789_abcd, "fd23456789abcd"),
        (0x12_3456_789a_bcde, "fe123456789abcde"),
        (0x123_4567_89ab_cdef, "ff0123456789abcdef"),
        (0x1234_5678_9abc_def0, "ff123456789abcdef0"),
    ];
    for (value, bytes) in vectors {
        let bytes = hex_bytes(bytes);
        let mut out = Vec::new();
        varuint::write(&mut out, value);
        assert_eq!(out, bytes, "{value:#x}");
        assert_eq!(varuint::read(&bytes), Some((value, bytes.len())));
        assert_eq!(varuint::read(&bytes[..bytes.len() - 1]), None);
    }
    // Not what a table elsewhere says of 0x123456789ab.
    assert_eq!(varuint::read(&hex_bytes("fb23456789ab")), Some((0x323_4567_89ab, 6)));
    assert_eq!(varuint::read(&hex_bytes("f923456789ab")), Some((0x123_4567_89ab, 6)));
}

#[test]
fn varuints_change_length_at_the_boundaries() {
    for len in 1..=8_u32 {
        let largest = (1_u64 << (7 * len)) - 1;
        assert_eq!(varuint::len_of(largest), len as usize);
        assert_eq!(varuint::len_of(largest + 1), len as usize + 1);
    }
    assert_eq!((varuint::len_of(0), varuint::len_of(u64::MAX)), (1, 9));
}

proptest! {
    #[test]
    fn varuints_round_trip(value: u64, shift in 0..64_u32) {
        let value = value >> shift;
        let mut out = Vec::new();
        varuint::write(&mut out, value);
        prop_assert_eq!(out.len(), varuint::len_of(value));
        prop_assert_eq!(varuint::read(&out), Some((value, out.len())));
    }
}

#[test]
fn engine_validation_agrees_with_its_vectors() {
    let valid = [
        "01",
        "81014e",
        "0200",
        "020781014e88014900",
        "030381014e",
        "040100",
        "040402010800",
        "0503010800",
        "088080",
        "0b3ffffffff0000000",
        "0b47ffffffe0000000",
        "1e0100",
        "1f020141",
        "0403020101",
        "0403020c0c",
        "0403020d0d",
        "030781014101420161",
        "0300",
        "05020008",
    ];
    for bytes in valid {
        assert_eq!(validate(&hex_bytes(bytes), Modes::ALL), Errors::NONE, "{bytes}");
    }
    // What is wrong, and the mode without which it would not be.
    let wrong: [(Errors, Modes, &[&str]); 10] = [
        (
            Errors::OUT_OF_BOUNDS,
            Modes::ALL,
            &[
                "",
                "81",
                "8180",
                "02038a014e",
                "0502010a",
                "08ff00000000000000",
                "1e00",
                "050100",
                "030188",
            ],
        ),
        (Errors::INVALID_TYPE, Modes::ALL, &["15", "41", "05020201", "03020100", "1f0100"]),
        (Errors::DUPLICATE_NAME, Modes::NAMES, &["030781014101420141"]),
        (Errors::MISSING_NAME, Modes::NAMES, &["0203010800", "0303080000"]),
        (Errors::ARRAY_NAME, Modes::NAMES, &["04050201810146", "050401810146"]),
        (
            Errors::INVALID_INTEGER,
            Modes::FORMAT,
            &[
                "8180014e",
                "02c00000",
                "04e000000100",
                "0405f000000000",
                "06f80000000000",
                "07fc000000000000",
                "08fe00000000000000",
                "09ff0000000000000000",
                "1e028000",
                "1f03800141",
            ],
        ),
        (Errors::INVALID_FLOAT, Modes::FORMAT, &["0b3fffffffe0000000", "0b47efffffe0000000"]),
        (Errors::NON_UNIFORM_OBJECT, Modes::FORMAT, &["0203810141"]),
        (Errors::NON_UNIFORM_ARRAY, Modes::FORMAT, &["0403010800", "04050208010802"]),
        (Errors::PADDING, Modes::PADDING, &["0100", "04010000", "020000"]),
    ];
    for (error, mode, vectors) in wrong {
        for bytes in vectors {
            let raw = hex_bytes(bytes);
            assert_eq!(validate(&raw, Modes::ALL), error, "{bytes}");
            assert_eq!(validate(&raw, Modes::ALL.without(mode)), Errors::NONE, "{bytes}");
            let expected = if mode == Modes::ALL { error } else { Errors::NONE };
            assert_eq!(validate(&raw, Modes::DEFAULT), expected, "{bytes}");
        }
    }
}

#[test]
fn engine_validation_of_ranges() {
    assert_eq!(validate_range(&[], Modes::ALL), Errors::NONE);
    assert_eq!(validate_range(&hex_bytes("01 01 0801"), Modes::ALL), Errors::NONE);
    assert_eq!(validate_range(&hex_bytes("01 00"), Modes::ALL), Errors::INVALID_TYPE);
    assert_eq!(validate_range(&hex_bytes("01 06"), Modes::ALL), Errors::OUT_OF_BOUNDS);
}

#[test]
fn engine_validation_cuts_sizes_and_ends_where_the_engine_would_not() {
    // A size past the end is cut, so this passes but for its form.
    assert_eq!(validate(&hex_bytes("02 05 81 01 4e"), Modes::ALL), Errors::NON_UNIFORM_OBJECT);
    // The engine's loop never ends on these.
    assert_eq!(validate(&hex_bytes("03 05 1f 01 00 01 00"), Modes::ALL), Errors::INVALID_TYPE);
    let endless = hex_bytes("05 0b ff ffffffffffffffff 1f 01 00");
    assert!(!validate(&endless, Modes::ALL).is_empty());
}

#[test]
fn ingest_is_stricter_than_the_engine() {
    let refused = [
        ("", 0, Problem::Truncated("type byte")),
        ("02 05 81 01 4e", 1, Problem::Size { what: "object", size: 5, left: 3 }),
        ("04 04 01 01 01 01", 4, Problem::ItemsOver(2)),
        ("04 02 05 01", 2, Problem::Count { count: 5, left: 1 }),
        ("04 0a ff ffffffffffffffff 01", 2, Problem::Count { count: u64::MAX, left: 1 }),
        ("03 05 1f 01 00 01 00", 3, Problem::MissingName),
        ("05 03 02 01 01", 2, Problem::Count { count: 2, left: 1 }),
        ("05 04 02 01 01 01", 4, Problem::ZeroSizeChild),
        ("02 00 00", 2, Problem::Trailing(1)),
        ("15", 0, Problem::Type(0x15)),
        ("41", 0, Problem::Type(0x41)),
        ("03 07 81 01 41 01 42 01 41", 8, Problem::DuplicateName),
        ("02 03 01 08 00", 2, Problem::MissingName),
        ("02 03 81 00 00", 2, Problem::MissingName),
        ("05 04 01 81 01 46", 4, Problem::NamedItem),
        ("1f 01 00", 2, Problem::CustomName),
        ("02 06 87 01 61 05 61 62", 5, Problem::Size { what: "string", size: 5, left: 2 }),
    ];
    for (bytes, offset, problem) in refused {
        let found = check(&hex_bytes(bytes)).map_err(|e| (e.offset, e.problem));
        assert_eq!(found, Err((offset, problem)), "{bytes}");
    }
    // Not canonical, but legal.
    for bytes in ["02 05 88 02 69 64 01", "0203810141", "0403010800", "8180014e", "0300"] {
        check(&hex_bytes(bytes)).unwrap();
    }
}

#[test]
fn many_names_are_compared_too() {
    let twice = |extra: &str| {
        Object::build(|object| {
            for n in 0..100 {
                object.field(&format!("field {n}")).u64(n);
            }
            object.field(extra).null();
        })
    };
    check(twice("field 100").bytes()).unwrap();
    let object = twice("field 17");
    let error = check(object.bytes()).unwrap_err();
    assert_eq!(error.problem, Problem::DuplicateName);
    assert!(object.bytes()[error.offset..].starts_with(b"field 17"));
    assert!(object.bytes()[..error.offset].ends_with(&[8]), "the second one is named");
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| {
        let mut bytes = vec![0x04, 0x01, 0x00];
        for _ in 1..depth {
            let mut outer = vec![0x04];
            varuint::write(&mut outer, bytes.len() as u64 + 1);
            outer.push(1);
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    };
    check(&nested(DEPTH_MAX)).unwrap();
    assert_eq!(check(&nested(DEPTH_MAX + 1)).unwrap_err().problem, Problem::Depth);
    assert_eq!(check(&nested(2_000)).unwrap_err().problem, Problem::Depth);
    assert_eq!(validate(&nested(DEPTH_MAX), Modes::DEFAULT), Errors::NONE);
    assert_eq!(validate(&nested(2_000), Modes::ALL), Errors::OUT_OF_BOUNDS);
}

#[test]
fn hashes_are_of_bytes_and_leave_out_the_objects_name() {
    let uniform = Object::parse(hex_bytes("03 05 88 02 69 64 01")).unwrap();
    let plain = Object::parse(hex_bytes("02 05 88 02 69 64 01")).unwrap();
    assert_eq!(uniform.hash().to_string(), "fef0e9aa4122710b1226fce3a154e3fac591cc33");
    assert_eq!(plain.hash().to_string(), "0ce65ab3b557830198b8c7824d6f2dd639f7bdcd");
    let named = hex_bytes("83 04 72 6f 6f 74 05 88 02 69 64 01");
    let field = Field::take(&mut &named[..], None).unwrap();
    assert_eq!(field.content_hash(), uniform.hash());
    assert_eq!(field.field_hash().to_string(), "ae0c4bd6ca96ebdcb5655923249059b11471e8f9");
    assert_eq!(uniform.root().field_hash(), uniform.hash());
    let parsed = Object::parse(named).unwrap();
    assert_eq!(parsed, uniform);
}

#[test]
fn only_objects_are_objects() {
    assert_eq!(Object::parse(Vec::new()), Err(ObjectError::Empty));
    let array = Object::parse(hex_bytes("04 01 00"));
    assert_eq!(array, Err(ObjectError::NotAnObject("an array")));
    assert!(matches!(Object::parse(hex_bytes("15")), Err(ObjectError::Invalid(_))));
}

#[test]
fn plain_and_uniform_payloads_read_the_same() {
    let plain = Object::parse(hex_bytes("02 0c 88 01 41 01 88 01 42 02 88 01 43 03")).unwrap();
    let uniform = Object::parse(hex_bytes("03 0a 88 01 41 01 01 42 02 01 43 03")).unwrap();
    for object in [&plain, &uniform] {
        let read: Vec<_> =
            object.fields().map(|f| (f.name().unwrap(), f.as_u64().unwrap())).collect();
        assert_eq!(read, [("A", 1), ("B", 2), ("C", 3)]);
        assert_eq!(object.get("B").unwrap().as_i64(), Some(2));
        assert!(object.get("b").is_none(), "case matters");
        assert_eq!(object.root().count(), 3);
    }
    assert_eq!(validate(uniform.bytes(), Modes::ALL), Errors::NONE);
    for items in ["04 07 03 08 01 08 02 08 03", "05 05 03 08 01 02 03"] {
        let bytes = hex_bytes(items);
        let array = Field::take(&mut &bytes[..], None).unwrap();
        assert_eq!(array.count(), 3);
        assert_eq!(array.as_array().unwrap().filter_map(Field::as_u64).sum::<u64>(), 6);
    }
    let inside = Object::parse(hex_bytes("82 03 4b 65 79 04 88 01 46 08")).unwrap();
    assert_eq!(inside.get("F").unwrap().as_u64(), Some(8));
    let float = hex_bytes("0a c0 12 34 56");
    let single = Field::take(&mut &float[..], None).unwrap().as_f64().unwrap();
    assert!((single - -2.284_444_33).abs() < 1e-8);
    let largest = hex_bytes("1e 0d ff ff ff ff ff ff ff ff ff 01 02 03 04");
    check(&largest).unwrap();
    let custom = Field::take(&mut &largest[..], None).unwrap().as_custom();
    assert_eq!(custom, Some(Custom::Id(u64::MAX, &[1, 2, 3, 4])));
}

#[test]
fn accessors_keep_to_their_kinds_and_ranges() {
    let field = |bytes: &'static [u8]| Field::take(&mut &bytes[..], None).unwrap();
    let huge = field(&[0x09, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!((huge.as_i64(), huge.as_u64(), huge.as_f64()), (None, None, None));
    assert_eq!(huge.negative_as_f64(), Some(-18_446_744_073_709_551_616.0));
    assert_eq!(field(&[0x09, 0x7f]).as_i64(), Some(-128));
    assert_eq!(field(&[0x09, 0x7f]).as_f64(), Some(-128.0));
    assert_eq!(field(&[0x08, 0x05]).as_f64(), Some(5.0));
    assert_eq!(field(&[0x07, 0x01, 0xff]).as_str(), None);
    assert_eq!(field(&[0x07, 0x01, 0x61]).as_binary(), None);
    let mut hash = vec![0x10];
    hash.extend([7; 20]);
    let hash = Field::take(&mut &hash[..], None).map(|f| (f.as_hash(), f.as_attachment())).unwrap();
    assert_eq!(hash, (Some(ContentHash([7; 20])), None), "a hash is no attachment");
}

#[test]
fn attachments_are_found_at_any_depth() {
    let (a, b) = (ContentHash([1; 20]), ContentHash([2; 20]));
    let object = Object::build(|o| {
        o.field("deep").array(|list| {
            list.item().object(|inner| inner.field("x").binary_attachment(a));
            list.item().object(|inner| inner.field("x").attachment(Attachment::Object(b)));
        });
        o.field("not").hash(ContentHash([3; 20]));
        o.field("again").binary_attachment(a);
    });
    assert_eq!(object.attachments(), [Attachment::Binary(a), Attachment::Object(b)]);
}
