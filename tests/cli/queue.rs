//! `queue`, and the commands about jobs inside of one.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::bench::{Bench, done, program, until, wait};
use crate::service::Starting;

/// An action that runs as long as the file `go` isn't there. Absolute, because an attempt runs in a
/// folder of its own.
fn waits_for(go: &std::path::Path, code: u8) -> Vec<String> {
    let script = format!("until [ -e {} ]; do sleep 0.02; done; exit {code}", go.display());
    ["run", "--", "sh", "-c", &script].map(str::to_owned).to_vec()
}

#[test]
fn a_queue_is_made_shown_and_listed() {
    let bench = Bench::new();
    assert_eq!(bench.lr(&["queue", "create"]).stdout, "1\n");
    let settings = [
        "queue",
        "create",
        "--remote",
        "--name",
        "mine",
        "--max-retries",
        "-1",
        "--max-running",
        "2",
        "--expire-after",
        "2h",
        "--metadata",
        "{\"a\": [1]}",
    ];
    let token = bench.lr(&settings).stdout.trim().to_owned();
    assert!(token.len() == 24 && token.bytes().all(|digit| digit.is_ascii_hexdigit()), "{token}");
    let made = &bench.json(&settings)[0];
    assert_eq!((&made["queue_id"], made["queue_token"].as_str().unwrap().len()), (&json!(3), 24));
    for name in ["2", &token] {
        let shown = &bench.json(&["queue", "show", name])[0];
        assert_eq!((&shown["name"], &shown["remote"]), (&json!("mine"), &json!(true)));
        assert_eq!((&shown["max_retries"], &shown["max_running"]), (&json!(3), &json!(2)));
        assert_eq!(shown["expire_after_idle_s"], 7_200);
        assert_eq!(shown["metadata"], json!({"a": [1]}));
        let text = bench.lr(&["queue", "show", name]).stdout;
        assert!(text.starts_with("queue 2  active\n  name       mine\n"), "{text}");
        assert!(!text.contains(&token));
    }
    let mut by_variable = bench.command(&["queue", "show"]);
    let by_variable = done(by_variable.env("LEDGERUN_QUEUE", &token).output().unwrap());
    assert!(by_variable.stdout.starts_with("queue 2 "), "{by_variable:?}");
    assert_eq!(bench.lr(&["queue", "show"]).code, Some(2), "none is named");

    let list = bench.lr(&["queue", "list"]).stdout;
    assert_eq!(list.lines().next(), Some("1\tactive\t0\t0\t0\t0\t0\t-"));
    assert_eq!(list.lines().count(), 3);
    let page = bench.lr(&["queue", "list", "--after", "1", "--limit", "1"]);
    assert_eq!(page.stdout, "2\tactive\t0\t0\t0\t0\t0\tmine\n");
    assert_eq!(page.stderr, "there are more: --after 2\n");
    assert!(bench.on_terminal("queue list").stdout.starts_with("QUEUE"));

    for wrong in [
        &["--metadata", "[1]"][..],
        &["--expire-after", "250ms"],
        &["--max-running", "-1"],
        &["--max-retries", "many"],
    ] {
        let refused = bench.lr(&[&["queue", "create"], wrong].concat());
        assert_eq!(refused.code, Some(2), "{wrong:?}: {refused:?}");
    }
    let slip = bench.lr(&["queue", "show", &token[1..]]);
    assert_eq!(slip.code, Some(2), "{slip:?}");
    let unknown = bench.lr(&["queue", "show", &"0".repeat(24)]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("no such queue") && !unknown.stderr.contains("0000"),
        "{unknown:?}"
    );
    // An address without a service: what cannot be reached is told without the token.
    let mut away = program(&bench.here());
    away.args(["--host", "http://127.0.0.1:1", "queue", "show", &token]);
    let away = done(away.output().unwrap());
    assert_eq!(away.code, Some(3));
    assert!(!away.stderr.contains(&token), "{away:?}");
}

#[test]
fn jobs_stay_inside_of_their_queue() {
    let bench = Bench::new();
    let queue = bench.lr(&["queue", "create", "--remote"]).stdout.trim().to_owned();
    let other = bench.lr(&["queue", "create"]).stdout.trim().to_owned();
    assert_eq!(bench.lr(&["run", "--", "echo", "outside"]).code, Some(0));
    let ran = bench.lr(&["run", "--queue", &queue, "--", "echo", "inside"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "inside\n"), "{ran:?}");
    assert_eq!(bench.lr(&["run", "--queue", &queue, "--", "false"]).code, Some(1));

    let jobs = bench.json(&["jobs", "list", "--queue", &queue]);
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job["queue"] == 1));
    assert_eq!(bench.json(&["jobs", "--queue", &queue, "list"]), jobs);
    assert_eq!(bench.json(&["jobs", "list"]).len(), 3);
    assert!(bench.json(&["jobs", "list", "--queue", &other]).is_empty());
    let lsn = jobs[0]["lsn"].to_string();
    for words in [&["show"][..], &["explain"]] {
        let args = [&["jobs"], words, &[lsn.as_str()]].concat();
        assert_eq!(bench.lr(&[&args[..], &["--queue", &queue]].concat()).code, Some(0));
        let refused = bench.lr(&[&args[..], &["--queue", &other]].concat());
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    let ended = bench.json(&["completed", "--queue", &queue]);
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|job| job["queue"] == 1));
    let refused = bench.lr(&["jobs", "retire", &lsn, "--queue", &other]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(bench.lr(&["jobs", "retire", &lsn, "--queue", &queue]).code, Some(0));
    assert_eq!(bench.json(&["completed", "--queue", &queue]).len(), 1);

    bench.write("a.txt", "x\n");
    let action = json!({
        "Function": "Exec", "FunctionVersion": "6b1f6a0e-2f0b-4c1e-9d3a-6f2f1a4c7e01",
        "BuildSystemVersion": "b5a7c6de-58f7-4d0c-9b0a-3c1e5f0d2a10",
        "Constants": {"Exec": {"Argv": ["cat", "a.txt"]}},
        "Inputs": {"a.txt": {
            "RawHash": ledgerun::domain::ChunkId::of(b"x\n").to_string(), "RawSize": 2,
        }},
    });
    let args = ["submit", "-", "--input", "a.txt", "--queue", &queue];
    assert_eq!(bench.feed(&args, &action.to_string()).code, Some(0));
    let waited = bench.lr(&["queue", "wait", &queue]);
    assert_eq!(waited.code, Some(0), "a command that ends with 1 is no failed job: {waited:?}");
    assert_eq!(bench.json(&["queue", "drain", &queue])[0]["state"], "complete");
    let refused = bench.feed(&args, &action.to_string());
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("cannot take a new job: it is complete"), "{refused:?}");
}

#[test]
fn waiting_ends_with_the_last_job() {
    let bench = Bench::new();
    let queue = bench.lr(&["queue", "create"]).stdout.trim().to_owned();
    assert_eq!(bench.lr(&["queue", "wait", &queue]).stdout, "queue 1 is active: none\n");
    let go = bench.here().join("go");
    let mut run = bench.command(&[]);
    let run = run.args(waits_for(&go, 0)).env("LEDGERUN_QUEUE", &queue);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| bench.json(&["queue", "show", &queue])[0]["running_count"] == 1);
    let mut waiting = bench.command(&["queue", "wait", &queue]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    std::fs::write(&go, "").unwrap();
    let waited = wait(waiting);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(0), "queue 1 is active: 1 completed\n")
    );
    assert_eq!(waited.stderr, "", "a bar is for a terminal");
    assert_eq!(wait(run).code, Some(0));

    // On a terminal there is one.
    let seen = bench.on_terminal("queue wait 1");
    assert!(seen.stdout.contains("1/1 ended: 1 completed"), "{seen:?}");

    let mut run = bench.command(&[]);
    let run = run.args(waits_for(&bench.here().join("never"), 0));
    let run = run.env("LEDGERUN_QUEUE", &queue);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(|| bench.json(&["queue", "show", &queue])[0]["running_count"] == 1);
    let mut waiting = bench.command(&["queue", "wait", &queue, "--json"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let cancelled = &bench.json(&["queue", "cancel", &queue])[0];
    assert_eq!(
        (&cancelled["state"], &cancelled["cancelled_count"]),
        (&json!("cancelled"), &json!(1))
    );
    let waited = wait(waiting);
    assert_eq!(waited.code, Some(1));
    let shown: Value = serde_json::from_str(&waited.stdout).unwrap();
    assert_eq!(shown, *cancelled);
    assert_eq!(wait(run).code, Some(125));
}

/// A token and the wait for its queue go on across a kill and a restart.
#[test]
fn waiting_goes_on_across_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    let start = |listen: &str| {
        let mut service = program(here.path());
        service.args(["serve", "--listen", listen, "--data-dir"]).arg(data.path());
        Starting::of(service).ready().unwrap()
    };
    let service = start("127.0.0.1:0");
    let url = service.url().to_owned();
    let lr = |args: &[&str]| {
        let mut command = program(here.path());
        command.env("LEDGERUN_HOST", &url).args(args);
        command
    };
    let json = |args: &[&str]| -> Value {
        let done = done(lr(&[&["--json"], args].concat()).output().unwrap());
        serde_json::from_str(&done.stdout).unwrap()
    };
    let token = json(&["queue", "create", "--remote"])["queue_token"].as_str().unwrap().to_owned();
    let go = here.path().join("go");
    let mut run = lr(&[]);
    let run = run.args(waits_for(&go, 0)).env("LEDGERUN_QUEUE", &token).spawn().unwrap();
    until(|| json(&["queue", "show", &token])["running_count"] == 1);
    let mut waiting = lr(&["queue", "wait", &token]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    service.kill();
    std::fs::write(&go, "").unwrap();
    let _service = start(url.strip_prefix("http://").unwrap());
    let waited = wait(waiting);
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(0), "queue 1 is active: 1 completed\n")
    );
    assert_eq!(wait(run).code, Some(0));
}
