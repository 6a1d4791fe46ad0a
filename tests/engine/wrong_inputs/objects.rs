//! Objects in either spelling that are none, or not the right ones.

use ledgerun::wire::cb::Object;
use serde_json::json;

use super::{Bench, Wrong};
use crate::wire::{CB, JSON, Request};
use crate::work;

/// `depth` arrays in each other, as the only field of an object.
fn nested_arrays(depth: usize) -> Vec<u8> {
    let mut bytes = vec![0x01];
    for _ in 0..depth {
        bytes = [&[0x04][..], &varuint(bytes.len() + 1), &[1], &bytes].concat();
    }
    // The outermost becomes a field: its type byte gets a name.
    bytes[0] |= 0x80;
    bytes.splice(1..1, *b"\x01a");
    [&[0x02][..], &varuint(bytes.len()), &bytes].concat()
}

fn varuint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ledgerun::wire::cb::varuint::write(&mut bytes, value as u64);
    bytes
}

#[test]
fn compact_binary_that_is_broken() {
    let bench = Bench::start(&[]);
    let good = work::reverse("never submitted").object.bytes().to_vec();
    let send = |bytes: &[u8]| Request::post(bench.jobs(), CB, bytes);
    let wrong = |what: &str, bytes: &[u8], says: &str| Wrong::new(what, send(bytes)).says(says);
    let mut trailing = good.clone();
    trailing.push(0);
    let mut flagged = good.clone();
    flagged[0] |= 0x40;
    bench.check(vec![
        wrong("nothing", b"", "is empty"),
        wrong("a truncated object", &good[..good.len() - 3], "does not fit"),
        wrong("one byte of an object", &good[..1], "end before"),
        wrong("bytes after the object", &trailing, "1 bytes follow"),
        wrong("an unknown type", &[0x15], "type byte 0x15 is not a legal one"),
        wrong("a reserved flag", &flagged, "is not a legal one"),
        wrong("type none", &[0x00], "type byte 0x00"),
        wrong("an integer", &[0x08, 1], "object"),
        wrong("a random text", b"Hello, is this the right place?", "compact binary"),
        wrong("two equal names", b"\x03\x07\x81\x01A\x01B\x01A", "two fields of the same name"),
        wrong("no name", &[0x02, 3, 0x01, 8, 0], "has no name"),
        wrong(
            "a named item",
            b"\x02\x09\x84\x01a\x05\x02\x01\x81\x01F",
            "an item of an array has a name",
        ),
        wrong("items of no size", b"\x03\x07\x85\x01a\x03\x01\x01\x01", "take no bytes at all"),
        wrong("a size past its parent", b"\x02\x05\x81\x01N", "does not fit"),
        wrong(
            "2^62 items",
            b"\x03\x0e\x84\x01a\x0a\xff\x40\0\0\0\0\0\0\0\x01",
            "4611686018427387904 items cannot fit",
        ),
        wrong("a text of 2^60 bytes", b"\x03\x0c\x87\x01a\xff\x10\0\0\0\0\0\0\0", "does not fit"),
        wrong("items left over", b"\x02\x08\x84\x01a\x04\x01\x01\x01\x01", "left over"),
        wrong("65 deep", &nested_arrays(64), "more than 64 deep"),
        wrong("100,000 deep", &nested_arrays(100_000), "more than 64 deep"),
    ]);
}

#[test]
fn compact_binary_that_would_swell() {
    let bench = Bench::start(&[]);
    // A megabyte of nulls, each of which takes dozens of bytes as a value of its own.
    let nulls = Object::build(|o| {
        o.field("chunks").array(|list| (0..1 << 20).for_each(|_| list.item().null()));
    });
    let send = Request::post("/compute/chunks", CB, nulls.into_bytes());
    bench.check(vec![Wrong::new("a million nulls", send).is(413, "too_many_values")]);
}

#[test]
fn json_that_is_broken() {
    let bench = Bench::start(&[]);
    let send = |text: &[u8]| Request::post(bench.jobs(), JSON, text);
    let wrong = |what: &str, text: &[u8], says: &str| Wrong::new(what, send(text)).says(says);
    let deep = "[".repeat(100_000);
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(900_000));
    bench.check(vec![
        wrong("nothing", b"", "line 1"),
        wrong("a truncated text", br#"{"Function": "Re"#, "line 1 column 16"),
        wrong("no JSON", b"Function=Reverse", "line 1 column"),
        wrong("a text after the end", b"{} {}", "trailing characters"),
        wrong(
            "two equal keys",
            br#"{"Function":"a","Function":"b"}"#,
            "\"Function\" is there twice",
        ),
        wrong("an empty key", br#"{"":1}"#, "key is empty"),
        wrong("a list", b"[]", "not an object"),
        wrong("no UTF-8", b"{\"Function\":\"\xff\"}", "line 1"),
        wrong("a lone surrogate", br#"{"Function":"\ud800"}"#, "line 1"),
        wrong("an integer of 65 bits", br#"{"Constants":{"a":36893488147419103232}}"#, "byte 18"),
        wrong("not a number", br#"{"a":NaN}"#, "line 1"),
        wrong("100,000 deep", deep.as_bytes(), "more than 64 deep"),
        wrong("100,000 deep in a field", format!("{{\"a\":{deep}").as_bytes(), "more than 64 deep"),
        wrong("too many values", many.as_bytes(), "values").is(413, "too_many_values"),
    ]);
}

#[test]
fn actions_that_say_nothing_of_use() {
    let bench = Bench::start(&["--batch-actions-max", "50"]);
    let version = "66756e63-7469-6f6e-2d76-657273696f6e";
    let good =
        json!({"Function": "Reverse", "FunctionVersion": version, "BuildSystemVersion": version});
    let with = |name: &str, value: serde_json::Value| {
        let mut action = good.clone();
        action[name] = value;
        Request::post(bench.jobs(), JSON, action.to_string())
    };
    let input = |input: serde_json::Value| with("Inputs", json!({"a.txt": input}));
    let binary = Object::build(|action| action.field("Function").u64(1));
    let unknown = "00112233445566778899aabbccddeeff00112233";
    let unknown_path = format!("/compute/jobs/{unknown}");
    let batch = |count: usize| json!({"actions": vec![json!({}); count]}).to_string();
    bench.check(vec![
        Wrong::new("no function", Request::post(bench.jobs(), JSON, "{}")).says("Function"),
        Wrong::new("no function", Request::post(bench.jobs(), CB, Object::empty().into_bytes()))
            .says("Function: is missing"),
        Wrong::new("a function that is 1", Request::post(bench.jobs(), CB, binary.into_bytes()))
            .says("Function: is an integer, not a string"),
        Wrong::new("an empty function", with("Function", json!(""))).says("Function: is empty"),
        Wrong::new("a misspelt field", with("Functoin", json!("x"))).says("Functoin"),
        Wrong::new("a version that is none", with("FunctionVersion", json!("one")))
            .says("FunctionVersion"),
        Wrong::new("constants that are a list", with("Constants", json!([]))).says("Constants"),
        Wrong::new("inputs that are a list", with("Inputs", json!([]))).says("Inputs"),
        Wrong::new("an input that is a text", input(json!("x"))).says("Inputs.a.txt"),
        Wrong::new("an input without hash", input(json!({"RawSize": 1})))
            .says("Inputs.a.txt.RawHash"),
        Wrong::new("a hash of 39 digits", input(json!({"RawHash": &unknown[1..], "RawSize": 1})))
            .says("Inputs.a.txt.RawHash"),
        Wrong::new("a negative size", input(json!({"RawHash": unknown, "RawSize": -1})))
            .says("Inputs.a.txt.RawSize"),
        Wrong::new("an input nobody has", input(json!({"RawHash": unknown, "RawSize": 1})))
            .is(404, "missing_chunks")
            .says("missing chunks: 1"),
        Wrong::new("an unknown worker", Request::post(unknown_path, JSON, good.to_string()))
            .is(424, "unknown_worker")
            .says(unknown),
        Wrong::new("a function of nobody", Request::post("/compute/jobs", JSON, good.to_string()))
            .is(424, "no_worker")
            .says("Reverse"),
        Wrong::new(
            "a batch that is an object",
            Request::post("/compute/jobs", JSON, r#"{"actions":{}}"#),
        )
        .says("actions"),
        Wrong::new("a batch of too many", Request::post(bench.jobs(), JSON, batch(51)))
            .is(413, "batch_too_large")
            .says("at most 50 actions, this one has 51"),
    ]);

    // Bad items sink nobody else.
    let items = json!({"actions": [{}, good, {"Function": 1}, []]});
    let reply = bench.send(&Request::post(bench.jobs(), JSON, items.to_string())).expect(200);
    let results = reply.value()["results"].clone();
    let code = |at: usize| results[at]["code"].as_str();
    assert_eq!(
        [code(0), code(1), code(2), code(3)].map(|code| code.unwrap_or("fine")),
        ["malformed_body", "fine", "malformed_body", "malformed_body"]
    );
    assert!(results[1]["lsn"].as_u64().is_some(), "{results}");
}
