//! The format's worked examples: what we write has exactly these bytes.

use super::tests::hex_bytes;
use super::*;
use crate::domain::{ContentHash, Guid, ObjectId};

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
        for n in [0, -1, 127, 128, -128, -129] {
            a.item().i64(n);
        }
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
    assert_eq!(bytes(-631_475.768_888_888_8), "0bc123456789abcdef");
    assert!(bytes(1e300).starts_with("0b"));
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
