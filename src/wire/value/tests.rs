//! Values of both spellings answer alike.

use super::*;
use crate::domain::{Lsn, Timestamp};
use crate::wire::json;

#[test]
fn an_answer_is_written_once() {
    let answer = Value::object([("lsn", Value::from(Lsn(7)))])
        .with("action", ContentHash([1; 20]))
        .with("at", Timestamp(1_589_382_600_000_000))
        .with("queue", None::<u64>)
        .with_some("stderr", None::<String>)
        .with("need", vec![ContentHash([2; 20])]);
    let object = answer.to_object();
    assert_eq!(object.get("lsn").unwrap().as_u64(), Some(7));
    assert_eq!(object.get("action").unwrap().as_hash(), Some(ContentHash([1; 20])));
    assert_eq!(object.get("at").unwrap().as_date_time(), Some(637_249_794_000_000_000));
    assert!(object.get("queue").unwrap().is_null());
    assert!(object.get("stderr").is_none());
    let expected = format!(
        r#"{{"lsn":7,"action":"{}","at":"2020-05-13T15:10:00Z","queue":null,"need":["{}"]}}"#,
        "01".repeat(20),
        "02".repeat(20),
    );
    assert_eq!(answer.to_json(), expected);
}

#[test]
fn requests_read_alike_in_both_spellings() {
    let hash = "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a";
    let text = format!(r#"{{"priority":-3,"chunks":["{hash}"],"cancel":true,"speed":2}}"#);
    let from_json = json::parse(text.as_bytes()).unwrap();
    let object = Value::object([("priority", Value::from(-3))])
        .with("chunks", Value::array([hash.parse::<ContentHash>().unwrap()]))
        .with("cancel", true)
        .with("speed", 2_u64)
        .to_object();
    for request in [from_json, Value::of_object(&object)] {
        assert_eq!(request.get("priority").unwrap().as_i64(), Some(-3));
        let chunks = request.get("chunks").unwrap().as_array().unwrap();
        assert_eq!(chunks[0].as_hash().unwrap().to_string(), hash);
        assert_eq!(request.get("cancel").unwrap().as_bool(), Some(true));
        assert_eq!(request.get("speed").unwrap().as_f64(), Some(2.0));
        assert!(request.get("other").is_none());
    }
}
