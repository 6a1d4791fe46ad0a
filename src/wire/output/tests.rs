use super::*;
use crate::domain::ContentHash;
use crate::wire::cb::{Errors, Modes, validate};

fn chunk_of(byte: u8) -> ChunkId {
    ChunkId(ContentHash([byte; 20]))
}

#[test]
fn what_a_worker_writes_reads_back() {
    let object = OutputBuilder::new()
        .named_value("stdout", chunk_of(1), 5)
        .value(ObjectId([9; 12]), chunk_of(2), 0)
        .message("Warning", "careful")
        .log("Display", "LogShaders", "compiled")
        .meta("ExitCode", 0_u64)
        .cacheable(false)
        .build();
    assert_eq!(validate(object.bytes(), Modes::ALL), Errors::NONE);
    let output = Output::parse(Object::parse(object.bytes().clone()).unwrap()).unwrap();
    assert_eq!(output.values().len(), 2);
    let stdout = output.value_named("stdout").unwrap();
    assert_eq!(
        (stdout.id, stdout.hash, stdout.size),
        (ObjectId::of_name("stdout"), chunk_of(1), 5)
    );
    assert_eq!(output.value_name(ObjectId([9; 12])), None);
    assert_eq!(output.messages()[0].message, "careful");
    assert_eq!(output.logs()[0].category, "LogShaders");
    assert_eq!(output.meta().unwrap().get("ExitCode").unwrap().as_u64(), Some(0));
    assert!(!output.is_cacheable() && !output.has_errors());
    assert_eq!(output.chunks(), [chunk_of(1), chunk_of(2)]);
}

#[test]
fn a_name_used_again_replaces_its_value() {
    let object = OutputBuilder::new()
        .named_value("a", chunk_of(1), 1)
        .named_value("a", chunk_of(2), 2)
        .meta("M", 1_u64)
        .meta("M", 2_u64)
        .build();
    let output = Output::parse(Object::parse(object.bytes().clone()).unwrap()).unwrap();
    assert_eq!((output.values().len(), output.value_named("a").unwrap().size), (1, 2));
    assert_eq!(output.meta().unwrap().get("M").unwrap().as_u64(), Some(2));
}

#[test]
fn errors_of_the_build_are_told() {
    let failed = |builder: &OutputBuilder| Output::parse(builder.build()).unwrap().has_errors();
    assert!(failed(OutputBuilder::new().error("no")));
    assert!(failed(OutputBuilder::new().log("error", "LogShaders", "no")));
    assert!(!failed(OutputBuilder::new().message("Warning", "hm")));
    let empty = Output::parse(OutputBuilder::new().build()).unwrap();
    assert!(empty.values().is_empty() && !empty.has_errors() && empty.is_cacheable());
}

#[test]
fn outputs_that_lie_are_refused() {
    let value = |list: &mut crate::wire::cb::ArrayWriter<'_>, id: u8| {
        list.item().object(|fields| {
            fields.field("Id").object_id(ObjectId([id; 12]));
            fields.field("RawHash").binary_attachment(ContentHash([1; 20]));
            fields.field("RawSize").u64(1);
        });
    };
    let twice = Object::build(|o| {
        o.field("Values").array(|list| {
            value(list, 1);
            value(list, 2);
            value(list, 1);
        });
    });
    assert_eq!(Output::parse(twice).unwrap_err().field, "Values[2].Id");
    let cases: [(&str, Object); 3] = [
        ("Values", Object::build(|o| o.field("Values").object(|_| {}))),
        ("Values[0].Id", Object::build(|o| o.field("Values").array(|l| l.item().object(|_| {})))),
        ("Meta", Object::build(|o| o.field("Meta").str("x"))),
    ];
    for (field, object) in cases {
        assert_eq!(Output::parse(object).unwrap_err().field, field);
    }
    let message = Object::build(|o| {
        o.field("Messages").array(|list| {
            list.item().object(|fields| {
                fields.field("Level").str("Error");
                fields.field("Message").u64(5);
            });
        });
    });
    let error = Output::parse(message).unwrap_err().to_string();
    assert_eq!(error, "field Messages[0].Message: is an integer, not a string");
}
