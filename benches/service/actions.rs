//! Actions and workers for the benches.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ledgerun::client::Client;
use ledgerun::domain::{ChunkId, WorkerId};
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::Object;
use serde_json::json;

pub(crate) const BUILD_SYSTEM: &str = "17fe280d-ccd8-4be8-a9d1-89c944a70969";
pub(crate) const FUNCTION_VERSION: &str = "b4a57f6b-3d5e-4d2f-8f0b-6a5c1f3b2d17";

/// A small action, about 200 bytes of compact binary; `number` makes it its own.
pub(crate) fn action(number: usize) -> Vec<u8> {
    let action = json!({
        "Function": "BenchNoop",
        "FunctionVersion": FUNCTION_VERSION,
        "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": { "Bench": { "Number": number, "Text": "a constant of a usual length" } },
    });
    encode(&action)
}

/// An action as compact binary.
pub(crate) fn encode(action: &serde_json::Value) -> Vec<u8> {
    let action = ledgerun::wire::json::parse(action.to_string().as_bytes()).unwrap();
    Action::from_json(&action).unwrap().into_object().bytes().to_vec()
}

/// An action with one input, as JSON.
pub(crate) fn with_input(number: usize, input: ChunkId, bytes: usize) -> serde_json::Value {
    json!({
        "Function": "BenchNoop",
        "FunctionVersion": FUNCTION_VERSION,
        "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": { "Bench": { "Number": number } },
        "Inputs": { "Input": { "RawHash": input, "RawSize": bytes } },
    })
}

/// Registers a worker whose executable is `program`.
pub(crate) fn register(base: &str, program: &Path) -> WorkerId {
    let bytes = std::fs::read(program).unwrap();
    let id = ChunkId::of(&bytes);
    let descriptor = json!({
        "name": "bench",
        "path": "Engine/Binaries/Linux/noop",
        "host": "Linux",
        "buildsystem_version": BUILD_SYSTEM,
        "timeout": 60,
        "cores": 1,
        "environment": [],
        "executables": [{ "name": "Engine/Binaries/Linux/noop", "hash": id, "size": bytes.len() }],
        "files": [],
        "dirs": ["Engine/Binaries/Linux"],
        "functions": [{ "name": "BenchNoop", "version": FUNCTION_VERSION }],
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::new(base).unwrap();
        client.put_chunk(id, bytes.into()).await.unwrap();
        let answer: serde_json::Value = client.post("/compute/workers", &descriptor).await.unwrap();
        answer["worker"].as_str().unwrap().parse().unwrap()
    })
}

/// Compiles the worker: a native program that writes a constant `Build.output` and ends.
pub(crate) fn compile_noop(dir: &Path) -> PathBuf {
    let output = Object::build(|object| {
        object.field("Meta").object(|meta| meta.field("Cacheable").bool(false));
    });
    let mut bytes = String::new();
    for byte in output.bytes() {
        write!(bytes, "{byte},").unwrap();
    }
    let source = format!(r#"fn main() {{ std::fs::write("Build.output", [{bytes}]).unwrap(); }}"#);
    let (path, program) = (dir.join("noop.rs"), dir.join("noop"));
    std::fs::write(&path, source).unwrap();
    let status =
        Command::new("rustc").arg("-O").arg("-o").arg(&program).arg(&path).status().unwrap();
    assert!(status.success(), "cannot compile the no-op worker");
    program
}
