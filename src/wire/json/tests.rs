//! JSON in and out.

use proptest::prelude::*;

use super::*;
use crate::domain::{ContentHash, Guid, ObjectId};
use crate::wire::cb::Object;
use crate::wire::cb::laws::any_object;
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

proptest! {
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
