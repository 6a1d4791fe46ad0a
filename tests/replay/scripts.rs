//! Workers that are shell scripts with their results beside them, so that a job costs next to
//! nothing.

use ledgerun::domain::ChunkId;
use ledgerun::wire::compressed::{Packing, encode};
use ledgerun::wire::output::OutputBuilder;
use serde_json::{Value, json};

use crate::eventually;
use crate::http::{Http, Unknown};

const BUILD_SYSTEM: &str = "0c3c8fd2-6a57-4b26-9f0c-5b8d6a1e7301";
const VERSION: &str = "d6d0a1f4-3a0f-4a83-8c83-1f5c0f8f7302";

/// A worker to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a> {
    pub(crate) name: &'a str,
    pub(crate) functions: &'a [&'a str],
    /// What it does before its results are put in place.
    pub(crate) before: &'a str,
    /// Names and contents of what every job of it results in.
    pub(crate) values: &'a [(&'a str, &'a [u8])],
}

/// Fails in a third of all tries.
pub(crate) const FLAKY: &str = "[ $((1$(date +%N) / 1000 % 3)) -ne 0 ] || exit 3\n";
/// Always fails.
pub(crate) const FAILING: &str = "echo out of luck >&2; exit 3\n";

impl Script<'_> {
    /// Uploads and registers it. Gives its id.
    pub(crate) fn register(&self, http: &Http) -> Result<String, Unknown> {
        let mut output = OutputBuilder::new();
        let script = format!("#!/bin/sh\n{}exec cp -R made/. .\n", self.before);
        let mut files = vec![("work".to_owned(), script.into_bytes())];
        for (name, content) in self.values {
            let id = ChunkId::of(content);
            output.named_value(name, id, content.len() as u64);
            files.push((format!("made/Outputs/{id}"), encode(content, Packing::Stored)));
        }
        files.push(("made/Build.output".to_owned(), output.build().into_bytes().to_vec()));
        let functions: Vec<Value> =
            self.functions.iter().map(|name| json!({ "name": name, "version": VERSION })).collect();
        register(http, self.name, "work", BUILD_SYSTEM, &files, &functions)
    }
}

/// Uploads and registers a worker of which the first file is started.
pub(crate) fn register(
    http: &Http,
    name: &str,
    path: &str,
    build_system: &str,
    files: &[(String, Vec<u8>)],
    functions: &[Value],
) -> Result<String, Unknown> {
    let mut executables = Vec::new();
    let mut data = Vec::new();
    for (name, bytes) in files {
        let id = ChunkId::of(bytes).to_string();
        let described = json!({ "name": name, "hash": id, "size": bytes.len() });
        let runs = bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF");
        if runs { executables.push(described) } else { data.push(described) }
    }
    let descriptor = json!({
        "name": name,
        "path": path,
        "host": "Linux",
        "buildsystem_version": build_system,
        "executables": executables,
        "files": data,
        "functions": functions,
    });
    let worker = eventually("the worker is registered", || {
        let mut upload = files.iter().map(|(_, bytes)| {
            let id = ChunkId::of(bytes).to_string();
            http.put_chunk(&id, bytes.clone()).map(|reply| reply.status)
        });
        if upload.any(|status| !matches!(status, Ok(200 | 201))) {
            return Some(Err(Unknown));
        }
        let reply = match http.post("/compute/workers", &descriptor) {
            Ok(reply) => reply,
            Err(unknown) => return Some(Err(unknown)),
        };
        // Where nothing is promised, what was uploaded may be collected before it is referred to.
        (reply.status != 404).then(|| Ok(reply.expect(200)))
    });
    worker.map(|answer| answer["worker"].as_str().unwrap().to_owned())
}

/// An action of a script; equal numbers are equal actions.
pub(crate) fn action(function: &str, number: u64) -> Value {
    json!({
        "Function": function,
        "FunctionVersion": VERSION,
        "BuildSystemVersion": BUILD_SYSTEM,
        "Constants": { "Number": number },
    })
}

/// Repeatable content.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
