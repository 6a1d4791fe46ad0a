//! The format's published vectors.

use proptest::prelude::*;

use super::*;
use crate::domain::{ContentHash, Guid, ObjectId};

/// Bytes from hex with blanks.
pub(super) fn hex_bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace([' ', '\n'], "")).unwrap()
}

/// Bytes of what `write` puts into the only field of an object, without the object and the name.
fn value_bytes(write: impl FnOnce(Slot<'_>)) -> Vec<u8> {
    let object = Object::build(|object| {
        write(object.field("v"));
        // Another type, so that the object stays plain and keeps the type byte we look at.
        object.field("other").null();
    });
    let field = object.get("v").unwrap();
    [&[field.kind().byte()], field.value()].concat()
}

fn array_bytes(write: impl FnOnce(&mut ArrayWriter<'_>)) -> Vec<u8> {
    value_bytes(|slot| slot.array(write))
}

fn object_bytes(write: impl FnOnce(&mut ObjectWriter<'_>)) -> Vec<u8> {
    let object = Object::build(write);
    assert_eq!(validate(object.bytes(), Modes::ALL), Errors::NONE, "canonical");
    object.bytes().to_vec()
}

const ATTACHMENT: &str = "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a";

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
fn worked_examples_of_containers() {
    let hash = |bytes: &[u8]| ContentHash::of(bytes).to_string();
    let empty = Object::build(|_| {});
    assert_eq!(empty, Object::empty());
    assert_eq!(empty.bytes()[..], hex_bytes("0200"));
    assert_eq!(empty.hash().to_string(), "cd60d75282bae1f9754e8cbc7590d8b3ed2f4c93");
    assert_eq!(array_bytes(|_| {}), hex_bytes("04 01 00"));
    assert_eq!(hash(&array_bytes(|_| {})), "34f41654e8bcd3f838c67742eefdec07d62c5b4d");
    let mixed = array_bytes(|a| {
        a.item().null();
        a.item().bool(false);
        a.item().bool(true);
    });
    assert_eq!(mixed, hex_bytes("04 04 03 01 0c 0d"));
    let single = object_bytes(|o| o.field("id").u64(1));
    assert_eq!(single, hex_bytes("03 05 88 02 69 64 01"));
    assert_eq!(hash(&single), "fef0e9aa4122710b1226fce3a154e3fac591cc33");
    let two = object_bytes(|o| {
        o.field("n").u64(300);
        o.field("s").str("hi");
    });
    assert_eq!(two, hex_bytes("02 0b 88 01 6e 81 2c 87 01 73 02 68 69"));
    assert_eq!(hash(&two), "0bba438356d02f34ef00f4931cdb0c68a55efe83");
    let uniform = array_bytes(|a| (1..=3).for_each(|n| a.item().u64(n)));
    assert_eq!(uniform, hex_bytes("05 05 03 08 01 02 03"));
    assert_eq!(hash(&uniform), "4fdfa457ee7ab6f42942e1bd0dd45481de4c3765");
    let signs = array_bytes(|a| {
        [0, -1, 127, 128, -128, -129].into_iter().for_each(|n| a.item().i64(n));
    });
    assert_eq!(signs, hex_bytes("04 0f 06 08 00 09 00 08 7f 08 80 80 09 7f 09 80 80"));
    let floats = array_bytes(|a| [0.5, 0.1].into_iter().for_each(|n| a.item().f64(n)));
    assert_eq!(floats, hex_bytes("04 0f 02 0a 3f 00 00 00 0b 3f b9 99 99 99 99 99 9a"));
    let all_true = object_bytes(|o| {
        o.field("a").bool(true);
        o.field("b").bool(true);
    });
    assert_eq!(all_true, hex_bytes("03 05 8d 01 61 01 62"));
    let trues = array_bytes(|a| (0..2).for_each(|_| a.item().bool(true)));
    assert_eq!(trues, hex_bytes("04 03 02 0d 0d"));
    let empties = array_bytes(|a| (0..2).for_each(|_| a.item().object(|_| {})));
    assert_eq!(empties, hex_bytes("05 04 02 02 00 00"));
    assert_eq!(hash(&empties), "03ae4c0b51cab9a22314aded6df3edf421ece512");
    let differing = array_bytes(|a| {
        a.item().object(|_| {});
        a.item().object(|o| o.field("a").u64(1));
    });
    assert_eq!(differing, hex_bytes("04 09 02 02 00 03 04 88 01 61 01"));
    let arrays = array_bytes(|a| a.item().array(|inner| (1..=2).for_each(|n| inner.item().u64(n))));
    assert_eq!(arrays, hex_bytes("05 07 01 05 04 02 08 01 02"));
}

#[test]
fn worked_examples_of_nesting_and_values() {
    let nested = object_bytes(|o| {
        o.field("o").object(|inner| {
            inner.field("x").u64(1);
            inner.field("y").u64(2);
        });
        o.field("l").array(|l| ["a", "b"].into_iter().for_each(|text| l.item().str(text)));
    });
    let bytes = "02 15 83 01 6f 07 88 01 78 01 01 79 02 85 01 6c 06 02 07 01 61 01 62";
    assert_eq!(nested, hex_bytes(bytes));
    assert_eq!(ContentHash::of(&nested).to_string(), "3f9d3bbdde92dab45fb53938c191ace3ce95c68c");
    let texts = object_bytes(|o| {
        o.field("s").str("hé");
        o.field("b").binary(&[0, 0xff]);
    });
    assert_eq!(texts, hex_bytes("02 0d 87 01 73 03 68 c3 a9 86 01 62 02 00 ff"));
    let reference = object_bytes(|o| o.field("ref").binary_attachment(ATTACHMENT.parse().unwrap()));
    assert_eq!(reference, hex_bytes(&format!("03 19 8f 03 72 65 66 {ATTACHMENT}")));
    let hash = ContentHash::of(&reference).to_string();
    assert_eq!(hash, "417c47bdefab38398106419c7b89dcb8be9578d6");
    let long = object_bytes(|o| o.field(&"n".repeat(128)).u64(1));
    assert_eq!(long, hex_bytes(&format!("03 80 84 88 80 80 {} 01", "6e".repeat(128))));

    let guid = Guid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    let id = ObjectId(hex_bytes("0123456789abcdef01234567").try_into().unwrap());
    let values: [(&str, Vec<u8>); 9] = [
        ("11 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f", value_bytes(|s| s.guid(guid))),
        ("12 08 d7 f7 4f b4 8f 94 00", value_bytes(|s| s.date_time(637_249_794_000_000_000))),
        ("13 00 00 00 da 81 c4 5c 00", value_bytes(|s| s.time_span(938_480_000_000))),
        ("14 01 23 45 67 89 ab cd ef 01 23 45 67", value_bytes(|s| s.object_id(id))),
        ("1e 03 05 aa bb", value_bytes(|s| s.custom(Custom::Id(5, &[0xaa, 0xbb])))),
        (
            "1f 08 03 41 42 43 01 02 03 04",
            value_bytes(|s| s.custom(Custom::Name(b"ABC", &[1, 2, 3, 4]))),
        ),
        ("09 ff 7f ff ff ff ff ff ff ff", value_bytes(|s| s.i64(i64::MIN))),
        ("08 ff ff ff ff ff ff ff ff ff", value_bytes(|s| s.u64(u64::MAX))),
        ("0d", value_bytes(|s| s.bool(true))),
    ];
    for (expected, found) in values {
        assert_eq!(found, hex_bytes(expected));
        check(&found).unwrap();
    }
    assert_eq!(timestamp_of(637_249_794_000_000_000).to_string(), "2020-05-13T15:10:00.000000Z");
    assert_eq!(ticks_of(timestamp_of(637_249_794_000_000_000)), 637_249_794_000_000_000);
}

#[test]
fn worked_floats() {
    let bytes = |value: f64| hex::encode(value_bytes(|slot| slot.f64(value)));
    assert_eq!(bytes(-0.0), "0a80000000");
    assert_eq!(bytes(f64::INFINITY), "0a7f800000");
    assert!(bytes(f64::NAN).starts_with("0b"), "NaN stays a double");
    assert_eq!(bytes(-631_475.768_888_888_76), "0bc123456789abcdef");
    assert!(bytes(1e300).starts_with("0b"));
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
fn captured_statistics_reproduce() {
    let bytes = hex_bytes(
        "03 30 85 09 70 72 6f 76 69 64 65 72 73 24 06 07 09 64 61 73 68 62 6f 61 72 64 04 68 74 74 70
         03 70 72 6a 08 73 65 73 73 69 6f 6e 73 02 77 73 02 7a 24",
    );
    let object = Object::parse(bytes.clone()).unwrap();
    let providers: Vec<_> =
        object.get("providers").unwrap().children().filter_map(Field::as_str).collect();
    assert_eq!(providers, ["dashboard", "http", "prj", "sessions", "ws", "z$"]);
    let again = object_bytes(|o| {
        o.field("providers").array(|a| providers.iter().for_each(|text| a.item().str(text)));
    });
    assert_eq!(again, bytes);
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
