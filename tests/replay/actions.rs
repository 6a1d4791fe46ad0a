//! The built-in workers, as they are and changed, and actions for them.

use ledgerun::domain::ChunkId;
use ledgerun::worker::builtin;
use serde_json::{Value, json};

use crate::http::Http;
use crate::scripts::register;

/// Where the executable is in the worker's folder.
const PROGRAM: &str = "builtin";

fn functions() -> [Value; 2] {
    [
        json!({ "name": builtin::EXEC, "version": builtin::EXEC_VERSION }),
        json!({ "name": builtin::COMPILE_SHADER, "version": builtin::COMPILE_SHADER_VERSION }),
    ]
}

fn program() -> (String, Vec<u8>) {
    (PROGRAM.to_owned(), std::fs::read(env!("CARGO_BIN_EXE_ledgerun")).unwrap())
}

/// Registers the program itself as the worker that it is.
pub(crate) fn register_builtin(http: &Http) -> String {
    let files = [program()];
    register(http, builtin::NAME, PROGRAM, builtin::BUILD_SYSTEM, &files, &functions()).unwrap()
}

/// Registers the same program behind a script that changes some actions on their way to it:
/// `tone-a` comes out as `tone-b`, HLSL as GLSL, and what is doomed fails.
pub(crate) fn register_changed(http: &Http) -> String {
    let script = "#!/bin/sh
        export LC_ALL=C
        if grep -qa doomed Build.action; then echo doomed >&2; exit 9; fi
        sed 's/tone-a/tone-b/g; s/hlsl/glsl/' Build.action > Changed.action || exit 8
        ./builtin -Build=Changed.action || exit $?
        exec mv Changed.output Build.output
    ";
    let files = [("changed".to_owned(), script.as_bytes().to_vec()), program()];
    register(http, "changed", "changed", builtin::BUILD_SYSTEM, &files, &functions()).unwrap()
}

/// A shell command whose standard output and files `out/*` are kept.
pub(crate) fn exec(command: &str, input: Option<&[u8]>) -> Value {
    let mut action = json!({
        "Function": builtin::EXEC,
        "FunctionVersion": builtin::EXEC_VERSION,
        "BuildSystemVersion": builtin::BUILD_SYSTEM,
        "Constants": { "Exec": { "Argv": ["sh", "-c", command] } },
    });
    if command.contains("out/") {
        action["Constants"]["Exec"]["Outputs"] = json!(["out/*"]);
    }
    if let Some(bytes) = input {
        let id = ChunkId::of(bytes).to_string();
        action["Inputs"] = json!({ "input": { "RawHash": id, "RawSize": bytes.len() } });
    }
    action
}

/// A source with one entry point for each number.
pub(crate) fn shader_source(number: u64) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read_write> data: array<u32>;
        @compute @workgroup_size(64)
        fn entry(@builtin(global_invocation_id) id: vec3<u32>) {{
            data[id.x] = data[id.x] * {number}u + id.y;
        }}"
    )
}

/// The translation of a source.
pub(crate) fn shader(target: &str, source: &str) -> Value {
    let id = ChunkId::of(source.as_bytes()).to_string();
    json!({
        "Function": builtin::COMPILE_SHADER,
        "FunctionVersion": builtin::COMPILE_SHADER_VERSION,
        "BuildSystemVersion": builtin::BUILD_SYSTEM,
        "Constants": { "Shader": { "Target": target, "EntryPoint": "entry" } },
        "Inputs": { "Source": { "RawHash": id, "RawSize": source.len() } },
    })
}
