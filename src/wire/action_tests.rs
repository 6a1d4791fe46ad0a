use super::*;
use crate::wire::cb::{Attachment, Kind};
use crate::wire::json;

const JSON: &str = r#"{
  "Function": "Exec", "FunctionVersion": "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
  "BuildSystemVersion": "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10",
  "Constants": {"Exec": {"Argv": ["wc", "-l", "a.txt"], "Timeout": 1.5, "Keep": null}},
  "Inputs": {"b/a.txt": {"RawSize": 7, "RawHash": "E7E6FB7D2869D109B62CDB1227208D4016CDAA0A"},
             "a.txt": {"RawHash": "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a", "RawSize": 12}} }"#;

fn action(text: &str) -> Result<Action, SchemaError> {
    Action::from_json(&json::parse(text.as_bytes()).unwrap())
}

/// The same action as a client with compact binary writes it.
fn twin() -> Object {
    let hash = "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a".parse().unwrap();
    Object::build(|o| {
        o.field("Function").str("Exec");
        o.field("FunctionVersion").guid("6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01".parse().unwrap());
        o.field("BuildSystemVersion").guid("b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10".parse().unwrap());
        o.field("Constants").object(|constants| {
            constants.field("Exec").object(|exec| {
                exec.field("Argv").array(|argv| {
                    for word in ["wc", "-l", "a.txt"] {
                        argv.item().str(word);
                    }
                });
                exec.field("Keep").null();
                exec.field("Timeout").f64(1.5);
            });
        });
        o.field("Inputs").object(|inputs| {
            for (name, size) in [("a.txt", 12), ("b/a.txt", 7)] {
                inputs.field(name).object(|input| {
                    input.field("RawHash").binary_attachment(hash);
                    input.field("RawSize").u64(size);
                });
            }
        });
    })
}

#[test]
fn json_and_compact_binary_have_one_id() {
    let from_json = action(JSON).unwrap();
    let from_binary = Action::parse(twin()).unwrap();
    assert_eq!(from_json, from_binary);
    assert_eq!(from_json.id(), ActionId::of(twin().bytes()));
    // And what we print is the same action again.
    let printed = json::to_string(from_json.object());
    assert_eq!(action(&printed).unwrap().id(), from_json.id());
}

#[test]
fn key_order_in_json_changes_nothing() {
    let shuffled = r#"{ "Inputs": {"a.txt": {"RawSize": 12, "RawHash": "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a"},
        "b/a.txt": {"RawHash": "e7e6fb7d2869d109b62cdb1227208d4016cdaa0a", "RawSize": 7}},
      "Constants": {"Exec": {"Keep": null, "Timeout": 15e-1, "Argv": ["wc", "-l", "a.txt"]}},
      "BuildSystemVersion": "{B5A7C6DE-58F7-4D0C-9B0A-3C1E5F0D2A10}",
      "FunctionVersion": "6b1f6a0e2f0b4c1e9d3a6f2f1a4c7e01", "Function": "Exec" }"#;
    assert_eq!(action(shuffled).unwrap().id(), action(JSON).unwrap().id());
    let integer = JSON.replace("1.5", "15");
    assert_ne!(action(&integer).unwrap().id(), action(JSON).unwrap().id());
    let other_order = JSON.replace(r#"["wc", "-l""#, r#"["-l", "wc""#);
    assert_ne!(action(&other_order).unwrap().id(), action(JSON).unwrap().id());
    assert_ne!(action(&JSON.replace(r#", "Keep": null"#, "")), action(JSON));
}

#[test]
fn an_action_tells_what_it_needs() {
    let action = action(JSON).unwrap();
    assert_eq!(action.function(), "Exec");
    assert_eq!(action.key().function.version.to_string(), "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01");
    assert_eq!(action.build_system().to_string(), "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10");
    let argv = action.constants().unwrap().get("Exec").unwrap().get("Argv").unwrap();
    assert_eq!(argv.kind(), Kind::UniformArray);
    let names: Vec<_> = action.inputs().iter().map(|input| (&*input.name, input.size)).collect();
    assert_eq!(names, [("a.txt", 12), ("b/a.txt", 7)]);
    assert_eq!(action.input("b/a.txt").unwrap().size, 7);
    assert_eq!(action.chunks().len(), 1, "each chunk once");
    let attachment = Attachment::Binary(action.chunks()[0].0);
    assert_eq!(action.object().attachments(), [attachment]);
}

#[test]
fn constants_and_inputs_may_be_absent() {
    let bare = r#"{"Function":"F","FunctionVersion":"6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
        "BuildSystemVersion":"b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10"}"#;
    let action = action(bare).unwrap();
    assert!(action.inputs().is_empty() && action.constants().is_none());
    assert_eq!(action.object().root().count(), 3, "absent fields stay absent");
}

#[test]
fn errors_name_the_field() {
    let cases = [
        (JSON.replace("\"Function\":", "\"Functoin\":"), "Functoin"),
        (JSON.replace("\"Exec\", \"FunctionVersion", "\"\", \"FunctionVersion"), "Function"),
        (JSON.replace("6b1f6a0e-", "6b1f6a0e"), "FunctionVersion"),
        (
            JSON.replace("\"BuildSystemVersion\": \"b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10\",", ""),
            "BuildSystemVersion",
        ),
        (JSON.replace("\"RawSize\": 7", "\"RawSize\": -7"), "Inputs.b/a.txt.RawSize"),
        (JSON.replace("\"RawSize\": 7", "\"RawSize\": 7.0"), "Inputs.b/a.txt.RawSize"),
        (JSON.replace("E7E6", "E7"), "Inputs.b/a.txt.RawHash"),
        (JSON.replace("\"RawSize\": 12", "\"Size\": 12"), "Inputs.a.txt.Size"),
        (JSON.replace(", \"RawSize\": 12", ""), "Inputs.a.txt.RawSize"),
        (JSON.replace("{\"Exec\": {", "[{").replace("null}}", "null}]"), "Constants"),
        ("[]".to_owned(), "an action"),
    ];
    for (text, field) in cases {
        let error = action(&text).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
    let plain_hash = Object::build(|o| {
        o.field("Function").str("F");
        o.field("FunctionVersion").guid(Guid([1; 16]));
        o.field("BuildSystemVersion").guid(Guid([2; 16]));
        o.field("Inputs").object(|i| {
            i.field("a").object(|input| {
                input.field("RawHash").hash(crate::domain::ContentHash([1; 20]));
                input.field("RawSize").u64(1);
            });
        });
    });
    let error = Action::parse(plain_hash).unwrap_err();
    assert_eq!(error.to_string(), "field Inputs.a.RawHash: is a hash, not a binary attachment");
}

#[test]
fn batches_keep_the_good_items() {
    let batch = format!(r#"{{"actions": [{JSON}, {{"Function": "F"}}, 5, {JSON}]}}"#);
    let from_json = Submission::from_json(&json::parse(batch.as_bytes()).unwrap()).unwrap();
    let written = Object::build(|o| {
        o.field("actions").array(|list| {
            list.item().embed(&twin());
            list.item().object(|bad| bad.field("Function").str("F"));
            list.item().u64(5);
            list.item().embed(&twin());
        });
    });
    for submission in [from_json, Submission::parse(written).unwrap()] {
        let Submission::Batch(items) = submission else { panic!("a batch") };
        assert_eq!(items.len(), 4);
        for good in [0, 3] {
            assert_eq!(items[good].as_ref().unwrap().id(), action(JSON).unwrap().id());
        }
        assert_eq!(items[1].as_ref().unwrap_err().field, "actions[1].FunctionVersion");
        assert!(items[2].as_ref().unwrap_err().field.starts_with("actions[2]"));
    }
    // All items of one kind: the array is uniform, and still each item has its own id.
    let uniform = Object::build(|o| {
        o.field("actions").array(|list| (0..3).for_each(|_| list.item().embed(&twin())));
    });
    assert_eq!(uniform.get("actions").unwrap().kind(), Kind::UniformArray);
    let Submission::Batch(items) = Submission::parse(uniform).unwrap() else { panic!("a batch") };
    for item in items {
        assert_eq!(item.unwrap().object(), &twin());
    }
    let single = Submission::parse(twin()).unwrap();
    assert_eq!(single, Submission::One(action(JSON).unwrap()));
    assert!(Submission::from_json(&json::parse(br#"{"actions":5}"#).unwrap()).is_err());
    assert!(Submission::from_json(&json::parse(br#"{"actions":[],"x":1}"#).unwrap()).is_err());
}
