//! No target: writes what the targets start from into `corpus/`, and ends.
//!
//! It is built like a target, since a program with coverage counters needs the fuzzing engine, which
//! collects them.

#![no_main]

#[path = "../../support/samples.rs"]
mod samples;
#[path = "../../../src/wire/compressed/samples_oodle.rs"]
mod samples_oodle;

use std::fs;
use std::path::Path;

use ledgerun::domain::{ChunkId, ContentHash, Guid, ObjectId};
use ledgerun::eventlog::codec::{Chain, Encoder};
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::{Custom, Object};
use ledgerun::wire::compressed::{self, Header, Method, Packing};
use ledgerun::wire::descriptor::Descriptor;
use ledgerun::wire::output::OutputBuilder;
use ledgerun::wire::{json, package};
use libfuzzer_sys::fuzz_target;

const ACTION: &str = r#"{"Function":"Exec","FunctionVersion":"6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
"BuildSystemVersion":"b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10",
"Constants":{"Exec":{"Argv":["wc","-l","a.txt"],"Timeout":1.5,"Keep":null}},
"Inputs":{"b/a.txt":{"RawSize":7,"RawHash":"E7E6FB7D2869D109B62CDB1227208D4016CDAA0A"},
"a.txt":{"RawHash":"e7e6fb7d2869d109b62cdb1227208d4016cdaa0a","RawSize":12}}}"#;

const DESCRIPTOR: &str = r#"{"name":"W","path":"bin/w","host":"Linux","cores":1,"timeout":-1,
"buildsystem_version":"17fe280d-ccd8-4be8-a9d1-89c944a70969","environment":["A=1","B=x=y","C="],
"executables":[{"name":"bin/w","hash":"e7e6fb7d2869d109b62cdb1227208d4016cdaa0a","size":1}],
"files":[{"name":"data/x","hash":"e7e6fb7d2869d109b62cdb1227208d4016cdaa0a","size":1}],
"dirs":["Engine/Binaries/Linux"],
"functions":[{"name":"F","version":"6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01"}]}"#;

/// Inputs larger than this would slow the engine down more than they help it.
const SEED_BYTES_MAX: usize = 4 << 10;

fuzz_target!(init: write_and_end(), |_bytes: &[u8]| {});

fn write_and_end() {
    if let Err(error) = write() {
        panic!("cannot write seeds: {error}");
    }
    std::process::exit(0)
}

fn write() -> std::io::Result<()> {
    let action = Action::from_json(&json::parse(ACTION.as_bytes()).expect("JSON")).expect("action");
    let descriptor = json::parse(DESCRIPTOR.as_bytes()).expect("JSON");
    let descriptor = Descriptor::from_json(&descriptor).expect("descriptor");
    let batch = Object::build(|o| {
        o.field("actions").array(|list| {
            list.item().embed(action.object());
            list.item().u64(5);
        });
    });
    let action = action.object().bytes().to_vec();
    let descriptor = descriptor.object().bytes().to_vec();
    let batches = format!(r#"{{"actions":[{ACTION},5,{{"Function":"F"}}]}}"#);
    let (batch, kinds, output) = (batch.bytes().to_vec(), kinds(), output());
    let objects = vec![action.clone(), descriptor.clone(), batch.clone(), kinds, output.clone()];
    save("compact_binary", objects)?;
    save("action", vec![action.clone(), batch])?;
    save("worker_descriptor", vec![DESCRIPTOR.into(), descriptor])?;
    save("build_output", vec![output])?;
    save("json_action", vec![ACTION.into(), batches.into_bytes()])?;
    save("compressed_buffer", buffers().iter().map(|buffer| in_pieces(buffer)).collect())?;
    save("package", packages(&action).iter().map(|message| in_pieces(message)).collect())?;
    save("record_codec", records())?;
    save("archive", vec![archive()])
}

/// The example of the documentation.
fn archive() -> Vec<u8> {
    let format = include_str!("../../../docs/format.md");
    let block = format.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next());
    let digits: String = block.expect("an example").split_whitespace().collect();
    hex::decode(digits).expect("hex")
}

fn save(target: &str, seeds: Vec<Vec<u8>>) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (index, seed) in seeds.iter().enumerate().filter(|(_, seed)| seed.len() <= SEED_BYTES_MAX) {
        fs::write(folder.join(format!("seed-{index}")), seed)?;
    }
    Ok(())
}

/// The length of a piece and whether to seal come first, as the targets take their input apart.
fn in_pieces(bytes: &[u8]) -> Vec<u8> {
    [&[6, 1], bytes].concat()
}

/// An object with a field of every kind.
fn kinds() -> Vec<u8> {
    let object = Object::build(|o| {
        o.field("n").null();
        o.field("b").bool(true);
        o.field("u").u64(300);
        o.field("i").i64(-129);
        o.field("f").f64(0.1);
        o.field("f4").f32(0.5);
        o.field("s").str("hé");
        o.field("bin").binary(&[0, 0xff]);
        o.field("hash").hash(ContentHash([0xab; 20]));
        o.field("ref").binary_attachment(ContentHash([1; 20]));
        o.field("guid").guid(Guid([7; 16]));
        o.field("id").object_id(ObjectId([0xcd; 12]));
        o.field("at").date_time(637_249_794_000_000_000);
        o.field("span").time_span(938_480_000_000);
        o.field("c5").custom(Custom::Id(5, &[0xaa]));
        o.field("cn").custom(Custom::Name(b"ABC", &[1, 2]));
        o.field("one").array(|a| (1..=3).for_each(|n| a.item().u64(n)));
        o.field("more").array(|a| {
            a.item().null();
            a.item().object(|inner| inner.field("z").object(|_| {}));
        });
        o.field("same").object(|inner| {
            inner.field("x").u64(1);
            inner.field("y").u64(2);
        });
    });
    object.bytes().to_vec()
}

fn output() -> Vec<u8> {
    let chunk = |byte| ChunkId(ContentHash([byte; 20]));
    let object = OutputBuilder::new()
        .named_value("stdout", chunk(1), 5)
        .value(ObjectId([9; 12]), chunk(2), 0)
        .message("Warning", "careful")
        .log("Display", "LogShaders", "compiled")
        .meta("ExitCode", 0_u64)
        .cacheable(false)
        .build();
    object.bytes().to_vec()
}

fn buffers() -> Vec<Vec<u8>> {
    let text = b"abcd".repeat(100);
    let mut buffers = vec![
        compressed::encode(b"", Packing::Stored),
        compressed::encode(b"Hello world", Packing::Stored),
        compressed::encode(&text, Packing::Lz4),
    ];
    buffers.extend(samples_oodle::samples().iter().map(|(packed, raw)| oodle(packed, raw)));
    buffers
}

/// A buffer of one Oodle block.
fn oodle(packed: &[u8], raw: &[u8]) -> Vec<u8> {
    let table = [u32::try_from(packed.len()).expect("a small block")];
    let header = Header {
        method: Method::Oodle,
        block_exponent: 20,
        total_bytes: (compressed::HEADER_BYTES + 4 + packed.len()) as u64,
        ..Header::stored(raw.len() as u64, ContentHash::of(raw))
    };
    [header.to_bytes(&table).as_slice(), packed].concat()
}

/// Attachments: none, stored, packed.
fn packages(root: &[u8]) -> Vec<Vec<u8>> {
    let packed = compressed::encode(&b"abcd".repeat(100), Packing::Lz4);
    let part = package::Part::Compressed {
        hash: ContentHash::of(&b"abcd".repeat(100)),
        payload_bytes: packed.len() as u64,
    };
    let plan = package::Plan::new(root, vec![part]).expect("a plan");
    vec![
        package::write(root, &[]).expect("a package"),
        package::write(root, &[b"Hello world", b""]).expect("a package"),
        [plan.head(), &packed].concat(),
    ]
}

/// Values without the version byte, which the target adds.
fn records() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::default();
    let value = |record| encoder.encode(record, Chain::START).expect("a record").0[1..].to_vec();
    samples::records().iter().map(value).collect()
}
