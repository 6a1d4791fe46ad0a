//! `log show`, `log at`, `log verify`, and the history in `jobs show`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::bench::{Bench, done, program};
use crate::speaker::{recorded, say, speaker};

#[test]
fn a_record_and_a_history_are_shown() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", true);
    let (_, jobs) = recorded(&bench, &worker, &["odd"]);
    let lsn = jobs[0].to_string();
    let shown = bench.lr(&["log", "show", &lsn]).stdout;
    assert!(shown.starts_with(&format!("record {lsn}  job_submitted\n")), "{shown}");
    assert!(shown.contains("\"Say\": \"odd\""), "the object is spelled out: {shown}");
    let dumped = bench.json(&["log", "dump", "--from", &lsn, "--to", &lsn]);
    assert_eq!(bench.json(&["log", "show", &lsn]), dumped);
    let none = bench.lr(&["log", "show", "99999"]);
    assert_eq!(none.code, Some(1), "{none:?}");

    let history = bench.lr(&["jobs", "show", &lsn]).stdout;
    let history: Vec<&str> = history.split("\nhistory\n").nth(1).unwrap().lines().collect();
    let kinds = history.iter().map(|line| line.split_whitespace().nth(2).unwrap());
    let kinds: Vec<&str> = kinds.collect();
    assert_eq!(kinds, ["job_submitted", "attempt_assigned", "attempt_started", "attempt_finished"]);
    assert_eq!(bench.json(&["jobs", "show", &lsn])[0]["events"][0], dumped[0]);

    let states = |at: u64, what: &str| bench.lr(&["log", "at", &at.to_string(), what]).stdout;
    assert_eq!(states(jobs[0] - 1, "jobs"), "");
    assert!(states(jobs[0], "jobs").starts_with(&format!("{lsn}\tpending\t")));
    assert!(states(jobs[0], "workers").starts_with(&worker));
    assert_eq!(states(jobs[0], "queues"), "");
    assert_eq!(bench.lr(&["log", "at", "99999", "jobs"]).code, Some(1));
    assert_eq!(bench.lr(&["log", "at", "1", "moons"]).code, Some(2));
}

#[test]
fn an_instance_is_verified_while_it_runs_and_afterwards() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    let (id, _) = recorded(&bench, &worker, &["odd", "two", "fail"]);
    assert_eq!(bench.lr(&["record", "export", &id, "-o", "r"]).code, Some(0));
    assert_eq!(bench.lr(&["record", "import", "r"]).code, Some(0));
    let report = bench.json(&["log", "verify"]).remove(0);
    assert_eq!((&report["good"], &report["problems"]), (&json!(true), &json!([])));
    assert_eq!(report["records"], report["last_lsn"]);
    assert!(report["chunks"].as_u64().unwrap() > 5, "{report}");
    let data = bench.data();
    let data = data.to_str().unwrap().to_owned();
    let used = bench.lr(&["log", "verify", "--data-dir", &data]);
    assert_eq!(used.code, Some(4), "{used:?}");
    assert_eq!(bench.lr(&["log", "verify", "--data-dir", "nowhere"]).code, Some(2));
    assert_eq!(bench.lr(&["--host", "127.0.0.1:1", "log", "verify"]).code, Some(3));

    bench.service.terminate();
    let (data, here) = bench.ended();
    let offline = |path: &std::path::Path| {
        let mut verify = program(here.path());
        done(verify.args(["log", "verify", "--json", "--data-dir"]).arg(path).output().unwrap())
    };
    let sound = offline(data.path());
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let again: Value = serde_json::from_str(&sound.stdout).unwrap();
    assert_eq!(again["chunks"], report["chunks"], "{again}");

    // All chunks gone: the log is whole, what it needs is not there.
    std::fs::remove_dir_all(data.path().join("chunks")).unwrap();
    let lost = offline(data.path());
    assert_eq!(lost.code, Some(1), "{lost:?}");
    let told: Value = serde_json::from_str(&lost.stdout).unwrap();
    assert_eq!(
        (&told["good"], &told["problems"][0]["kind"]),
        (&json!(false), &json!("missing_chunk"))
    );
    assert!(told["problems"][0]["lsn"].is_u64() && told["problems"][0]["chunk"].is_string());
    // The log itself.
    for entry in std::fs::read_dir(data.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let damaged = offline(data.path());
    assert_eq!(damaged.code, Some(5), "{damaged:?}");
}

/// A worker whose results depend on what was before is found out.
#[test]
fn functions_that_are_not_pure_are_named_by_value() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", true);
    // The same, but what it says alternates.
    let moody = "moody";
    let from = bench.here().join("speaker-a-b-true");
    std::fs::create_dir_all(bench.here().join("moody/say")).unwrap();
    for file in ["odd.output", "even.output", "odd.value", "even.value"] {
        std::fs::copy(from.join("say").join(file), bench.here().join("moody/say").join(file))
            .unwrap();
    }
    let script = bench.read("speaker-a-b-true/run.sh");
    let mark = bench.here().join("mark");
    let (head, _) = script.split_once("if grep -q odd").unwrap();
    let mood = format!("if mkdir {}; then odd; else even; fi\n", mark.display());
    bench.write("moody/run.sh", &format!("{head}{mood}"));
    let run = bench.here().join("moody/run.sh");
    std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o755)).unwrap();
    let described = bench.read("speaker-a-b-true/worker.json").replace("\"Say\"", "\"Mood\"");
    bench.write("moody/worker.json", &described);
    let added = bench.lr(&["worker", "add", moody]);
    assert_eq!(added.code, Some(0), "{added:?}");

    recorded(&bench, &worker, &["odd", "two", "three"]);
    let pure = bench.json(&["log", "verify", "--rerun", "2", "--seed", "7"]).remove(0);
    assert_eq!(pure["rerun"]["jobs"], 2);
    assert_eq!(pure["rerun"]["functions"], json!({ "Say": { "jobs": 2, "impure": 0 } }));

    let mut action = say("anything");
    action["Function"] = json!("Mood");
    let job = bench.feed(&["submit", "--json", "-"], &action.to_string());
    let job: Value = serde_json::from_str(&job.stdout).unwrap();
    bench.await_state(job["lsn"].as_u64().unwrap(), "completed");
    std::fs::remove_dir(&mark).unwrap();
    let found = bench.lr(&["log", "verify", "--rerun", "2", "--json"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["good"], false);
    let impure = &found["rerun"]["impure"][0];
    assert_eq!(
        (&impure["function"], &impure["lsn"], &impure["value"]),
        (&json!("Mood"), &job["lsn"], &json!("word"))
    );
    assert_eq!(found["rerun"]["functions"]["Say"], json!({ "jobs": 1, "impure": 0 }));
    let seed = found["rerun"]["seed"].to_string();
    std::fs::remove_dir(&mark).unwrap();
    let text = bench.lr(&["log", "verify", "--rerun", "2", "--seed", &seed]);
    assert_eq!(text.code, Some(1));
    assert!(text.stdout.contains("NOT THE SAME") && text.stdout.contains("Mood\t"), "{text:?}");
}
