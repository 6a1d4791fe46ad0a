//! JSON in and out.

use proptest::prelude::*;

use super::*;
use crate::domain::{ContentHash, Guid, ObjectId};
use crate::wire::cb::laws::any_object;
use crate::wire::cb::{Errors, Modes, Object, validate};
use crate::wire::value::Value;

#[test]
fn every_kind_has_its_spelling() {
    let object = Object::build(|o| {
        o.field("n").null();
        o.field("b").bool(true);
        o.field("u").u64(u64::MAX);
        o.field("i").i64(i64::MIN);
        o.field("f").f64(0.1);
        o.field("single").f32(0.1);
        o.field("whole").f64(3.0);
        o.field("nan").f64(f64::NAN);
        o.field("inf").f64(f64::NEG_INFINITY);
        o.field("s").str("a\"\n");
        o.field("bin").binary(&[0, 0xff, 1]);
        o.field("hash").hash(ContentHash([0xab; 20]));
        o.field("ref").binary_attachment(ContentHash([1; 20]));
        o.field("guid").guid(Guid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
        o.field("id").object_id(ObjectId([0xcd; 12]));
        o.field("at").date_time(637_249_794_000_000_000);
        o.field("at7").date_time(637_249_794_000_000_001);
        o.field("span").time_span(938_480_000_000);
        o.field("half").time_span(-5_000_000);
        o.field("by_id").custom(crate::wire::cb::Custom::Id(5, &[1]));
        o.field("by_name").custom(crate::wire::cb::Custom::Name(b"T", &[]));
        o.field("a").array(|a| (1..=2).for_each(|n| a.item().u64(n)));
        o.field("o").object(|inner| inner.field("z").object(|_| {}));
    });
    let expected = concat!(
        r#"{"n":null,"b":true,"u":18446744073709551615,"i":-9223372036854775808,"f":0.1,"#,
        r#""single":0.10000000149011612,"whole":3.0,"nan":null,"inf":null,"s":"a\"\n","bin":"AP8B","#,
        r#""hash":"abababababababababababababababababababab","#,
        r#""ref":"0101010101010101010101010101010101010101","#,
        r#""guid":"00010203-0405-0607-0809-0a0b0c0d0e0f","id":"cdcdcdcdcdcdcdcdcdcdcdcd","#,
        r#""at":"2020-05-13T15:10:00Z","at7":"2020-05-13T15:10:00.0000001Z","span":93848,"half":-0.5,"#,
        r#""by_id":{"Id":5,"Data":"AQ=="},"by_name":{"Name":"T","Data":""},"a":[1,2],"o":{"z":{}}}"#,
    );
    assert_eq!(to_string(&object), expected);
    assert_eq!(Value::of_object(&object).to_json(), expected, "values spell alike");
    assert_eq!(Value::Raw(object).to_json(), expected);
}

#[test]
fn times_without_a_year_of_four_digits_are_still_told() {
    assert_eq!(date_time_text(0), "0001-01-01T00:00:00Z");
    assert_eq!(date_time_text(i64::MAX), format!("{} ticks", i64::MAX));
    assert!(!date_time_text(i64::MIN).is_empty());
}

#[test]
fn numbers_are_integers_or_floats_by_how_they_are_written() {
    let cases = [
        ("1", Value::Unsigned(1)),
        ("-1", Value::Signed(-1)),
        ("-0", Value::Unsigned(0)),
        (
            "[-0,\"-0\",-0.0]",
            Value::array([Value::Unsigned(0), Value::from("-0"), Value::Float(-0.0)]),
        ),
        ("1.0", Value::Float(1.0)),
        ("1e2", Value::Float(100.0)),
        ("1E2", Value::Float(100.0)),
        ("18446744073709551615", Value::Unsigned(u64::MAX)),
        ("-9223372036854775808", Value::Signed(i64::MIN)),
        ("18446744073709551616.0", Value::Float(18_446_744_073_709_551_616.0)),
        // Read wrongly by readers that are only nearly exact.
        ("2.3763291579014155e-308", Value::Float(2.376_329_157_901_415_5e-308)),
        ("7.038531e-26", Value::Float(7.038_531e-26)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text.as_bytes()).unwrap(), expected, "{text}");
    }
    assert!(matches!(parse(b"-0"), Ok(Value::Unsigned(0))));
    for (text, at) in [("[1, 18446744073709551616]", 4), ("{\"a\":-9223372036854775809}", 5)] {
        match parse(text.as_bytes()) {
            Err(JsonError::Integer { offset, .. }) => assert_eq!(offset, at, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    // Digits inside of strings are no numbers.
    assert!(parse(br#""99999999999999999999 \" 99999999999999999999""#).is_ok());
}

#[test]
fn what_json_readers_let_pass_is_refused() {
    let says = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    assert!(says(r#"{"a":1,"b":{"c":1,"c":2}}"#).contains("\"c\" is there twice"));
    assert!(says(r#"{"a":1,"\u0061":2}"#).contains("twice"));
    assert!(says(r#"{"":1}"#).contains("empty"));
    for text in ["", "{", "[1,]", "{\"a\":1} x", "01", "-", "1e400", "nul", "\"\\", "\"\u{1}\""] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(parse(b"\"\xff\"").is_err(), "not UTF-8");
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(64).as_bytes()).is_ok());
    assert!(says(&nested(65)).contains("64 deep"));
    assert!(parse(nested(200_000).as_bytes()).is_err());
}

/// Without the one difference there is: an integer `-0` is zero to us.
fn normal(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Json::Number(number) if number.as_f64() == Some(0.0) => Json::from(0),
        Json::Array(items) => items.into_iter().map(normal).collect(),
        Json::Object(fields) => fields.into_iter().map(|(k, v)| (k, normal(v))).collect(),
        other => other,
    }
}

/// Integers of every width, floats of every size and spelling, as a client would write them.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (any::<u64>(), 0..64_u32).prop_map(|(n, shift)| (n >> shift).to_string()),
        (any::<i64>(), 0..64_u32).prop_map(|(n, shift)| (n >> shift).to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        any::<f32>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        // Doubles that shrink to singles.
        any::<f32>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(|n| format!("{:?}", f64::from(n))),
        "-?(0|[1-9][0-9]{0,25})\\.[0-9]{1,25}([eE][+-]?[0-9]{1,2})?",
        Just("-0".to_owned()),
        Just("-0.0".to_owned()),
    ]
}

/// A string literal: plain, or with every escape there is.
fn literal() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[^\\x00-\\x1f\"\\\\]{0,8}",
        r#"\\["\\/bfnrt]"#,
        "\\\\u[0-9a-cA-C][0-9a-fA-F]{3}",
        Just("\\ud83d\\uDE00".to_owned()),
        // What other spellings of compact binary look like stays text.
        Just("6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01".to_owned()),
        Just("2020-05-13T15:10:00Z".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// JSON text of any value, with white space where it may be.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number(),
        literal(),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| format!("[{}]", items.join("\t, "))),
            // Equal items, which become uniform.
            (inner.clone(), 1..5_usize)
                .prop_map(|(item, n)| format!("[ {} ]", vec![item; n].join(","))),
            json_object(inner),
        ]
    })
}

fn json_object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let fields = proptest::collection::btree_map("[a-zA-ZäöΩ0-9_. ]{1,5}", value, 0..6);
    fields.prop_map(|fields| {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("\"{name}\" : {value}")).collect();
        format!("{{{}\n}}", fields.join(",\r\n"))
    })
}

proptest! {
    #[test]
    fn what_came_as_json_is_stable(text in json_object(any_json())) {
        let first = parse(text.as_bytes()).unwrap().to_object();
        let spelled = to_string(&first);
        let second = parse(spelled.as_bytes()).unwrap().to_object();
        prop_assert_eq!(second.bytes(), first.bytes(), "{} spelled {}", text, spelled);
        prop_assert_eq!(to_string(&second), spelled);
        prop_assert_eq!(validate(first.bytes(), Modes::ALL), Errors::NONE);
        // The same as another reader finds in the text, floats to the last bit.
        let other: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours: serde_json::Value = serde_json::from_str(&to_string(&first)).unwrap();
        prop_assert_eq!(normal(ours), normal(other));
    }

    #[test]
    fn both_ways_to_json_agree(value in any_object()) {
        let text = to_string(&value.to_object());
        prop_assert_eq!(&text, &value.to_json());
        // Spelled once, it has plain types, and those survive another round.
        let plain = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(parse(plain.to_json().as_bytes()).unwrap(), plain.clone());
        prop_assert_eq!(to_string(&plain.to_object()), text);
    }

    #[test]
    fn random_text_never_panics(text in "[\\[\\]{}\":,0-9eE.+\\- \\\\a-c]{0,60}") {
        let ours = parse(text.as_bytes());
        // Whatever we take, a reader that takes more takes too.
        if ours.is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
