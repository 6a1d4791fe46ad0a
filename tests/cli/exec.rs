//! `exec`: archives, recordings and folders, run here and there, and shown.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bench::{Bench, done, program};
use crate::speaker::{recorded, say, speaker};

fn last(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn an_archive_runs_on_a_service_and_inside_of_the_program() {
    let bench = Bench::new();
    let old = speaker(&bench, "a", "b", false);
    let (id, jobs) = recorded(&bench, &old, &["odd 1", "two", "fail 3"]);
    assert_eq!(bench.lr(&["record", "export", &id, "-o", "r.lrec"]).code, Some(0));
    let count = || bench.json(&["record", "list"]).len();

    let run = bench.json(&["exec", "r.lrec"]).remove(0);
    assert_eq!(
        (&run["good"], &run["total"], &run["matched"]),
        (&json!(true), &json!(3), &json!(3))
    );
    for field in ["p50", "p95", "p99", "max"] {
        assert!(run["latency_ms"][field].as_f64().unwrap() > 0.0, "{run}");
    }
    assert!(run["elapsed_ms"].as_f64().unwrap() > 0.0 && run["jobs_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(count(), 1, "what was imported for it is gone");
    let kept = bench.json(&["exec", "r.lrec", "--keep"]).remove(0);
    assert_eq!(count(), 2);
    let reused = bench.json(&["exec", "r.lrec", "--keep"]).remove(0);
    assert_eq!((count(), &reused["recording"]), (2, &kept["recording"]));
    let by_id = bench.json(&["exec", &id, "--limit", "1"]).remove(0);
    assert_eq!((by_id["recording"].to_string(), &by_id["total"]), (id.clone(), &json!(1)));

    let new = speaker(&bench, "c", "b", false);
    let swap = format!("{old}={new}");
    let changed = bench.lr(&["exec", &id, "--worker", &swap]);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(changed.stdout.contains("mismatched\t1\n"), "{changed:?}");
    assert!(changed.stdout.contains(&format!("{}\tword\t", jobs[0])), "{changed:?}");

    // Nothing else is there: neither the service nor what it knows.
    let mut alone = program(&bench.here());
    alone.args(["--host", "http://127.0.0.1:1", "exec", "r.lrec", "--inproc", "--json"]);
    let alone = done(alone.args(["--slots", "1"]).output().unwrap());
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert_eq!((alone.stdout.lines().count(), &last(&alone.stdout)["matched"]), (1, &json!(3)));
    assert_eq!(alone.stderr, "");
    let fetched = bench.lr(&["exec", &id, "--inproc", "--json"]);
    assert_eq!(fetched.code, Some(0), "{fetched:?}");

    let neither = bench.lr(&["exec", "nothing"]);
    assert_eq!(neither.code, Some(2), "{neither:?}");
    bench.write("text", "no archive");
    let refused = bench.lr(&["exec", "text"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("at byte 0"), "{refused:?}");
    assert_eq!(bench.lr(&["exec", "text", "--dump"]).code, Some(1));
    let away = bench.lr(&["--host", "127.0.0.1:1", "exec", "r.lrec"]);
    assert_eq!(away.code, Some(3), "{away:?}");
}

#[test]
fn a_recording_is_printed_and_written_and_runs_from_the_folder() {
    let bench = Bench::new();
    bench.write("in.txt", "one\ntwo\n");
    let id = bench.lr(&["record", "start"]).stdout.trim_end().to_owned();
    assert_eq!(bench.lr(&["run", "-i", "in.txt", "--", "wc", "-l", "in.txt"]).code, Some(0));
    assert_eq!(bench.lr(&["run", "--", "sh", "-c", "echo x; exit 3"]).code, Some(3));
    assert_eq!(bench.lr(&["record", "stop"]).code, Some(0));

    let lines = bench.lr(&["exec", &id, "--dump"]).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["object"]["Constants"]["Exec"]["Argv"], json!(["wc", "-l", "in.txt"]));
    let input = ledgerun::domain::ChunkId::of(b"one\ntwo\n").to_string();
    assert_eq!(lines[0]["inputs"], json!([{ "name": "in.txt", "hash": input, "size": 8 }]));
    assert_eq!(
        (&lines[1]["state"], &lines[1]["result"]["Meta"]["ExitCode"]),
        (&json!("completed"), &json!(3))
    );

    let written = bench.json(&["exec", &id, "--dump-actions", "acts"]).remove(0);
    assert_eq!((&written["jobs"], &written["missing"]), (&json!(2), &json!([])));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(bench.here().join("acts").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let jobs: BTreeSet<_> =
        lines.iter().map(|line| format!("{:020}.json", line["lsn"].as_u64().unwrap())).collect();
    assert_eq!(names("jobs"), jobs);
    // Each file is what its name says; names of inputs are nowhere a path.
    for name in names("chunks") {
        let content = std::fs::read(bench.here().join("acts/chunks").join(&name)).unwrap();
        assert_eq!(ledgerun::domain::ChunkId::of(&content).to_string(), name);
    }
    assert!(
        names("chunks").contains(&input)
            && names("chunks").contains(lines[0]["worker"].as_str().unwrap())
    );
    let taken = bench.lr(&["exec", &id, "--dump-actions", "acts"]);
    assert_eq!(taken.code, Some(2), "{taken:?}");
    let again = bench.lr(&["exec", "acts", "--dump"]).stdout;
    let again: Vec<Value> = again.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(again, lines);

    // The same results: here, and by a service that knows nothing, worker included.
    let here = bench.json(&["exec", "acts"]).remove(0);
    assert_eq!((&here["matched"], &here["total"]), (&json!(2), &json!(2)));
    let alone =
        bench.lr(&["--host", "127.0.0.1:1", "exec", "acts", "--inproc", "--json", "--repeat", "2"]);
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert_eq!(last(&alone.stdout)["matched"], 4);
    assert_eq!(bench.lr(&["exec", "acts", "--speed", "2"]).code, Some(2));
}

#[test]
fn a_folder_tells_what_differs_and_what_is_missing() {
    let bench = Bench::new();
    let old = speaker(&bench, "a", "b", false);
    let (id, jobs) = recorded(&bench, &old, &["odd 1", "two", "fail 3"]);
    assert_eq!(bench.lr(&["exec", &id, "--dump-actions", "acts"]).code, Some(0));
    let new = speaker(&bench, "c", "b", true);
    let swap = format!("{old}={new}");
    let changed = bench.lr(&["exec", "acts", "--json", "--worker", &swap]);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    let told = last(&changed.stdout);
    assert_eq!(
        (&told["mismatched"][0]["lsn"], &told["mismatched"][0]["value"]),
        (&json!(jobs[0]), &json!("word"))
    );
    assert_eq!((&told["matched"], &told["newly_passing"]), (&json!(1), &json!([jobs[2]])));

    // By hand: actions as JSON, in files of any name.
    bench.write("mine/jobs/first.json", &say("odd").to_string());
    let mut lacking = say("two");
    let nowhere = ledgerun::domain::ChunkId::of(b"nowhere").to_string();
    lacking["Inputs"] = json!({ "../../x": { "RawHash": nowhere, "RawSize": 7 } });
    bench.write("mine/jobs/second.json", &lacking.to_string());
    let run = bench.lr(&["exec", "mine", "--json"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let told = last(&run.stdout);
    assert_eq!((&told["uncompared"], &told["failed"][0]["lsn"]), (&json!(1), &json!(2)));
    assert!(told["failed"][0]["error"].as_str().unwrap().contains(&nowhere), "{told}");
    let empty = bench.lr(&["exec", "speaker-a-b-false"]);
    assert_eq!(empty.code, Some(1));
    assert!(empty.stderr.contains("--dump-actions"), "{empty:?}");
    bench.write("acts/jobs/99.json", "{\"lsn\": 1}");
    let broken = bench.lr(&["exec", "acts"]);
    assert!(broken.stderr.contains("acts/jobs/99.json"), "{broken:?}");
}
