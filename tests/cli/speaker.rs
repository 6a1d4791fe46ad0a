//! A worker in shell that can be changed on purpose.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use ledgerun::domain::ChunkId;
use ledgerun::wire::compressed::{self, Packing};
use ledgerun::wire::output::OutputBuilder;
use serde_json::{Value, json};

use crate::bench::Bench;

const SYSTEM: &str = "11111111-2222-3333-4444-555555555555";
const VERSION: &str = "66666666-7777-8888-9999-aaaaaaaaaaaa";

/// Registers a worker that answers `odd` to actions that say "odd", and `even` to all others, as the
/// value `word`; an action that says "fail" fails unless `forgives`.
pub(crate) fn speaker(bench: &Bench, odd: &str, even: &str, forgives: bool) -> String {
    let name = format!("speaker-{odd}-{even}-{forgives}");
    let mut lines = String::from("#!/bin/sh\nmkdir -p Outputs\n");
    for (file, word) in [("odd", odd), ("even", even)] {
        let hash = ChunkId::of(word.as_bytes());
        let mut output = OutputBuilder::new();
        output.named_value("word", hash, word.len() as u64);
        let folder = bench.here().join(&name).join("say");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{file}.output")), output.build().bytes()).unwrap();
        let packed = compressed::encode(word.as_bytes(), Packing::Stored);
        std::fs::write(folder.join(format!("{file}.value")), packed).unwrap();
        let copy = format!("cp say/{file}.value Outputs/{hash}; cp say/{file}.output Build.output");
        writeln!(lines, "{file}() {{ {copy}; }}").unwrap();
    }
    if !forgives {
        lines += "if grep -q fail Build.action; then exit 3; fi\n";
    }
    lines += "if grep -q odd Build.action; then odd; else even; fi\n";
    bench.write(&format!("{name}/run.sh"), &lines);
    let program = bench.here().join(&name).join("run.sh");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let described = json!({ "name": name, "path": "run.sh", "host": "Linux",
        "buildsystem_version": SYSTEM, "functions": [{ "name": "Say", "version": VERSION }] });
    bench.write(&format!("{name}/worker.json"), &described.to_string());
    let added = bench.lr(&["worker", "add", &name]);
    assert_eq!(added.code, Some(0), "{added:?}");
    added.stdout.trim_end().to_owned()
}

/// An action for it.
pub(crate) fn say(what: &str) -> Value {
    json!({ "Function": "Say", "FunctionVersion": VERSION, "BuildSystemVersion": SYSTEM,
        "Constants": { "Say": what } })
}

/// Records jobs that say these things, each to its end; gives the recording and the jobs.
pub(crate) fn recorded(bench: &Bench, worker: &str, words: &[&str]) -> (String, Vec<u64>) {
    let recording = bench.lr(&["record", "start"]).stdout.trim_end().to_owned();
    let actions: String = words.iter().map(|word| say(word).to_string()).collect();
    let args = ["submit", "--json", "-", "--worker", worker];
    let submitted = bench.feed(&args, &actions);
    assert_eq!(submitted.code, Some(0), "{submitted:?}");
    let jobs = submitted.stdout.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["lsn"].as_u64().unwrap()
    });
    let jobs: Vec<u64> = jobs.collect();
    let stopped = bench.lr(&["record", "stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    crate::bench::until(|| bench.json(&["record", "show", &recording])[0]["state"] == "complete");
    (recording, jobs)
}
