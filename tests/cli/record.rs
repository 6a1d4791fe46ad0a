//! `record` and `replay`.

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::speaker::{recorded, speaker};

#[test]
fn recordings_are_made_carried_and_forgotten() {
    let bench = Bench::new();
    let early = bench.lr(&["record", "stop"]);
    assert_eq!(early.code, Some(1));
    assert!(early.stderr.contains("`ledgerun record start` begins one"), "{early:?}");
    let worker = speaker(&bench, "a", "b", true);
    let started = bench.json(&["record", "start", "--name", "tour"]).remove(0);
    assert_eq!(started["recording"], started["start_lsn"]);
    let id = started["recording"].to_string();
    let twice = bench.lr(&["record", "start"]);
    assert_eq!(twice.code, Some(1));
    assert!(twice.stderr.contains("`ledgerun record stop` ends it"), "{twice:?}");
    let active = bench.lr(&["record", "export", &id]);
    assert_eq!(active.code, Some(1));
    assert!(active.stderr.contains("record stop"), "{active:?}");
    bench.feed(&["submit", "-", "--worker", &worker], &crate::speaker::say("odd").to_string());
    let stopped = bench.json(&["record", "stop"]).remove(0);
    assert_eq!((&stopped["jobs"], &stopped["recording"]), (&json!(1), &started["recording"]));

    // Waits for the job that may be running.
    let exported = bench.lr(&["record", "export", &id, "-o", "one.lrec"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let again = bench.lr(&["record", "export", &id, "-o", "one.lrec"]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("--force"), "{again:?}");
    let bytes = std::fs::read(bench.here().join("one.lrec")).unwrap();
    let forced = bench.json(&["record", "export", &id, "-o", "one.lrec", "--force"]).remove(0);
    assert_eq!(forced["bytes"], bytes.len());
    let imported = bench.json(&["record", "import", "one.lrec"]).remove(0);
    let copy = imported["recording"].to_string();
    assert_eq!(imported["jobs"], 1);
    assert_eq!(bench.lr(&["record", "export", &copy, "-o", "two.lrec"]).code, Some(0));
    assert_eq!(std::fs::read(bench.here().join("two.lrec")).unwrap(), bytes);

    let rows = bench.lr(&["record", "list"]).stdout;
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0][1], rows[0][6], rows[0][7]), ("complete", "made here", "tour"));
    assert_eq!((rows[1][0], rows[1][6]), (copy.as_str(), "imported"));
    assert!(bench.on_terminal("record list").stdout.starts_with("RECORDING"));
    let shown = bench.lr(&["record", "show", &copy]).stdout;
    assert!(shown.contains("where it was recorded") && shown.contains(&worker), "{shown}");

    // A bit is wrong, the end is missing: nothing of it is kept.
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (name, content) in [("flipped", &damaged[..]), ("cut", &bytes[..middle])] {
        std::fs::write(bench.here().join(name), content).unwrap();
        let refused = bench.lr(&["record", "import", name]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains("at byte ") && refused.stderr.contains(name),
            "{refused:?}"
        );
    }
    assert_eq!(bench.lr(&["record", "import", "absent"]).code, Some(2));
    for id in [&id, &copy] {
        assert_eq!(bench.lr(&["record", "delete", id]).code, Some(0));
    }
    assert_eq!(bench.lr(&["record", "list"]).stdout, "");
    let gone = bench.lr(&["record", "show", &id]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
}

#[test]
fn a_replay_tells_what_differs_by_value() {
    let bench = Bench::new();
    let old = speaker(&bench, "a", "b", false);
    let (id, jobs) = recorded(&bench, &old, &["odd 1", "two", "odd 3", "fail 4"]);
    let same = bench.lr(&["replay", "start", &id, "--wait"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.stdout.contains("is done: 4/4 jobs, 4 matched\n"), "{same:?}");

    // Exactly the jobs that say "odd" have another word now, and one that failed passes.
    let new = speaker(&bench, "c", "b", true);
    let swap = format!("{old}={new}");
    let started = bench.json(&["replay", "start", &id, "--worker", &swap]).remove(0);
    assert_eq!(started["total"], 4);
    let replay = started["replay"].to_string();
    let waited = bench.lr(&["replay", "wait", &replay, "--json"]);
    assert_eq!(waited.code, Some(1), "{waited:?}");
    let told: Value = serde_json::from_str(&waited.stdout).unwrap();
    let hash = |word: &str| ledgerun::domain::ChunkId::of(word.as_bytes()).to_string();
    let differs = |job: u64| json!({ "lsn": job, "value": "word", "recorded": hash("a"), "replayed": hash("c") });
    // In the order in which they ended, which is anybody's.
    let mut mismatched = told["mismatched"].as_array().unwrap().clone();
    mismatched.sort_by_key(|job| job["lsn"].as_u64());
    assert_eq!(mismatched, [differs(jobs[0]), differs(jobs[2])]);
    assert_eq!((&told["matched"], &told["failed"]), (&json!(1), &json!([])));
    assert_eq!(told["newly_passing"], json!([jobs[3]]));
    let shown = bench.lr(&["replay", "show", &replay]);
    assert_eq!(shown.code, Some(1));
    let row = format!("{}\tword\t{}\t{}\n", jobs[0], hash("a"), hash("c"));
    assert!(shown.stdout.contains(&row), "{shown:?}");
    let table = bench.on_terminal(&format!("replay show {replay}")).stdout;
    assert!(table.contains("MISMATCHED JOB") && table.contains("NEWLY PASSING JOB"), "{table}");

    // One that completed and fails now.
    let (good, jobs) = recorded(&bench, &new, &["fail 4"]);
    let swap = format!("{new}={old}");
    let failed = bench.lr(&["replay", "start", &good, "--worker", &swap, "--wait", "--json"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let told: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(told["failed"][0]["lsn"], jobs[0]);

    let rows = bench.lr(&["replay", "list"]).stdout;
    assert!(rows.lines().all(|row| row.split('\t').count() == 9), "{rows}");
    assert_eq!(bench.json(&["replay", "list"])[1]["mismatched_count"], 2);
}

#[test]
fn a_selection_is_what_runs() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", true);
    let (id, jobs) = recorded(&bench, &worker, &["1", "2", "3", "4", "5"]);
    let total = |args: &[&str]| {
        let done = bench.json(&[&["replay", "start", &id, "--wait"], args].concat()).remove(0);
        assert_eq!(done["matched"], done["total"]);
        done["total"].as_u64().unwrap()
    };
    assert_eq!(total(&["--limit", "2"]), 2);
    assert_eq!(total(&["--offset", "1", "--stride", "2"]), 2);
    assert_eq!(total(&["--only", &jobs[1].to_string(), "--repeat", "3"]), 3);
    assert_eq!(total(&["--only", "Say", "--speed", "1000"]), 5);
    assert_eq!(total(&["--only", "Other"]), 0);
    for wrong in [&["--speed", "0"][..], &["--stride", "0"], &["--worker", "x=y"]] {
        assert_eq!(bench.lr(&[&["replay", "start", &id], wrong].concat()).code, Some(2));
    }
    let unknown = bench.lr(&["replay", "start", "99999"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("`ledgerun record list`"), "{unknown:?}");
    let unknown = bench.lr(&["replay", "wait", "99999"]);
    assert!(unknown.stderr.contains("`ledgerun replay list`"), "{unknown:?}");
}

#[test]
fn a_cancelled_replay_has_failed() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", true);
    let (id, _) = recorded(&bench, &worker, &["1", "2"]);
    // At the recorded spacing divided by next to nothing it would take for ever.
    let slow = ["replay", "start", &id, "--speed", "0.0000001"];
    let replay = bench.lr(&slow).stdout.trim_end().to_owned();
    let under_way = bench.lr(&["record", "delete", &id]);
    assert_eq!(under_way.code, Some(1));
    assert!(under_way.stderr.contains("`ledgerun replay cancel`"), "{under_way:?}");
    assert_eq!(bench.lr(&["replay", "cancel", &replay]).code, Some(0));
    let waited = bench.lr(&["replay", "wait", &replay]);
    assert_eq!(waited.code, Some(1), "{waited:?}");
    assert!(waited.stdout.contains("it ended early: "), "{waited:?}");
}
