//! `submit`: actions written as JSON.

use std::fmt::Write as _;

use ledgerun::worker::builtin;
use serde_json::{Value, json};

use crate::bench::Bench;

/// An action of the built-in `Exec` function.
pub(crate) fn exec(argv: &[&str]) -> String {
    action(argv).to_string()
}

fn action(argv: &[&str]) -> Value {
    json!({
        "Function": builtin::EXEC,
        "FunctionVersion": builtin::EXEC_VERSION,
        "BuildSystemVersion": builtin::BUILD_SYSTEM,
        "Constants": { "Exec": { "Argv": argv } },
    })
}

#[test]
fn one_action_of_a_file_and_several_of_a_pipe() {
    let bench = Bench::new();
    let early = bench.feed(&["submit", "-"], &exec(&["true"]));
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.contains("Exec"), "it names what nobody offers: {early:?}");
    bench.lr(&["worker", "add", "--builtin"]);

    bench.write("action.json", &exec(&["echo", "filed"]));
    let one = bench.json(&["submit", "action.json"]).remove(0);
    assert_eq!(one["action"].as_str().map(str::len), Some(40));
    let lsn = one["lsn"].as_u64().unwrap();
    bench.await_state(lsn, "completed");

    let mut several = String::new();
    for word in ["a", "b", "c"] {
        writeln!(several, "{}", exec(&["echo", word])).unwrap();
    }
    let done = bench.feed(&["submit", "-", "--priority", "-5"], &several);
    let lines: Vec<Vec<&str>> =
        done.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((done.code, lines.len()), (Some(0), 3), "{done:?}");
    assert!(lines.iter().all(|line| line.len() == 3), "job, state, action: {done:?}");
    let job = bench.json(&["jobs", "show", lines[0][0]]).remove(0);
    assert_eq!(job["priority"], -5);

    let again = bench.lr(&["submit", "action.json"]);
    assert!(again.stdout.contains("\tcompleted\t"), "{again:?}");
}

#[test]
fn inputs_are_uploaded_when_the_service_asks() {
    let bench = Bench::shared();
    bench.lr(&["worker", "add", "--builtin"]);
    bench.write("words.txt", "three little words\n");
    let hash = ledgerun::domain::ChunkId::of(b"three little words\n");
    let mut wanted = action(&["cat", "renamed.txt"]);
    wanted["Inputs"] = json!({ "renamed.txt": { "RawHash": hash, "RawSize": 19 } });
    bench.write("action.json", &wanted.to_string());
    let missing = bench.lr(&["submit", "action.json"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains(&hash.to_string()), "{missing:?}");
    assert!(missing.stderr.contains("--input"), "it says what to do: {missing:?}");
    let found = bench.json(&["submit", "action.json", "--input", "words.txt"]).remove(0);
    bench.await_state(found["lsn"].as_u64().unwrap(), "completed");
}

#[test]
fn what_is_no_action_is_refused_with_its_place() {
    let bench = Bench::shared();
    bench.lr(&["worker", "add", "--builtin"]);
    for (input, code, told) in [
        ("", 2, "holds no action"),
        ("{\"Function\":", 1, "action 1"),
        ("{}", 1, "Function"),
        ("[1]", 1, "ledgerun: "),
    ] {
        let done = bench.feed(&["submit", "-"], input);
        assert_eq!(done.code, Some(code), "{input}: {done:?}");
        assert!(done.stderr.contains(told), "{input}: {done:?}");
    }
    let absent = bench.lr(&["submit", "absent.json"]);
    assert!(absent.stderr.contains("absent.json"), "{absent:?}");
    assert_ne!(absent.code, Some(0));
}
