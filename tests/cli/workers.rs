//! `worker`: registering, listing, showing, removing.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::bench::Bench;

#[test]
fn the_built_in_worker_is_listed_shown_and_removed() {
    let bench = Bench::new();
    let none = bench.lr(&["worker", "list"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert!(none.stderr.contains("worker add --builtin"), "{none:?}");

    let added = bench.lr(&["worker", "add", "--builtin"]);
    let id = added.stdout.trim_end();
    assert_eq!((added.code, id.len()), (Some(0), 40), "{added:?}");
    let again = bench.json(&["worker", "add", "--builtin"]);
    assert_eq!(again, [json!({ "worker": id })], "once more is the same");

    let list = bench.lr(&["worker", "list"]);
    let row: Vec<&str> = list.stdout.trim_end().split('\t').collect();
    assert_eq!(row[..4], [id, "ledgerun-builtin", "Linux", "Exec, CompileShaderJobs"]);
    let table = bench.on_terminal("worker list").stdout;
    assert!(table.contains("WORKER") && table.contains("FUNCTIONS"), "{table}");
    let shown = bench.json(&["worker", "show", id]).remove(0);
    assert_eq!(shown["name"], "ledgerun-builtin");

    assert_eq!(bench.lr(&["worker", "remove", id]).code, Some(0));
    assert_eq!(bench.lr(&["worker", "list"]).stdout, "");
    let unknown = "0".repeat(40);
    for verb in ["show", "remove"] {
        let done = bench.lr(&["worker", verb, &unknown]);
        assert_eq!(done.code, Some(1), "{verb}: {done:?}");
        assert!(done.stderr.contains(&unknown), "{verb}: {done:?}");
    }
    assert_eq!(bench.lr(&["worker", "show", "short"]).code, Some(2), "usage");
}

/// A worker that speaks the protocol by itself, in shell: it answers every action with nothing.
#[test]
fn a_directory_becomes_a_worker() {
    let bench = Bench::shared();
    let bare = bench.lr(&["worker", "add", "w"]);
    assert_eq!(bare.code, Some(1));
    assert!(bare.stderr.contains("w/worker.json"), "{bare:?}");

    bench.write("w/bin/run.sh", "#!/bin/sh\nprintf '\\002\\000' > Build.output\n");
    let program = bench.here().join("w/bin/run.sh");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.write("w/data/table.txt", "1 2 3\n");
    let (system, version) =
        ("11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa");
    let described = json!({ "name": "mine", "path": "bin/run.sh", "host": "Linux",
        "buildsystem_version": system, "functions": [{ "name": "Nothing", "version": version }] });
    bench.write("w/worker.json", &described.to_string());
    let added = bench.lr(&["worker", "add", "w"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let shown = bench.json(&["worker", "show", added.stdout.trim_end()]).remove(0);
    let names = |key: &str| {
        let files = shown[key].as_array().unwrap().iter();
        files.map(|file| file["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("executables"), names("files")),
        (vec!["bin/run.sh"], vec!["data/table.txt"])
    );

    let action = json!({ "Function": "Nothing", "FunctionVersion": version,
        "BuildSystemVersion": system });
    let job = bench.feed(&["submit", "--json", "-"], &action.to_string());
    let job: serde_json::Value = serde_json::from_str(&job.stdout).unwrap();
    bench.await_state(job["lsn"].as_u64().unwrap(), "completed");

    bench.write("w/worker.json", "{\"name\": \"mine\"}");
    let wrong = bench.lr(&["worker", "add", "w"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    bench.write("w/worker.json", "not JSON");
    let wrong = bench.lr(&["worker", "add", "w"]);
    assert!(wrong.stderr.contains("w/worker.json is not JSON"), "{wrong:?}");
}
