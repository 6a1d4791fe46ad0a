//! `completed` and `log dump`: what happened, as it happens.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::bench::{Bench, wait};

#[test]
fn each_end_is_listed_once() {
    let bench = Bench::new();
    for word in ["a", "b", "c", "d"] {
        bench.lr(&["run", "--", "echo", word]);
    }
    let all = bench.json(&["completed"]);
    assert_eq!(all.len(), 4);
    let mut since = 0;
    for expected in &all {
        let from = since.to_string();
        let page = bench.json(&["completed", "--since", &from, "--limit", "1"]);
        assert_eq!(page, std::slice::from_ref(expected));
        since = page[0]["completed_lsn"].as_u64().unwrap();
    }
    assert!(bench.json(&["completed", "--since", &since.to_string()]).is_empty());
    let rows = bench.lr(&["completed"]).stdout;
    assert_eq!(rows.lines().map(|row| row.split('\t').count()).collect::<Vec<_>>(), [4; 4]);
    let first = format!("{}\t{}\tcompleted\t", all[0]["completed_lsn"], all[0]["lsn"]);
    assert!(rows.starts_with(&first), "{rows}");
    let table = bench.on_terminal("completed").stdout;
    assert!(table.starts_with("ENDED AT") && table.lines().count() == 5, "{table}");
    assert_eq!(bench.lr(&["completed", "--limit", "0"]).code, Some(2));
}

#[test]
fn following_ends_with_its_reader_and_with_its_limit() {
    let bench = Bench::new();
    bench.lr(&["run", "--", "echo", "early"]);
    let mut limited = bench.command(&["completed", "--follow", "--limit", "2", "--json"]);
    let limited = limited.stdout(Stdio::piped()).spawn().unwrap();
    let mut followed = bench.command(&["completed", "--follow", "--json"]);
    let mut followed = followed.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(followed.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    // Answered from the first one's result, so it ends at the very next LSN.
    bench.lr(&["run", "--", "echo", "early"]);
    let second: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let ended = |line: &Value| line["completed_lsn"].as_u64().unwrap();
    assert_eq!(ended(&second), ended(&first) + 1);
    assert_eq!(wait(limited).stdout.lines().count(), 2);
    drop(lines);
    bench.lr(&["run", "--", "echo", "later"]);
    let done = wait(followed);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "a gone reader has seen enough");
}

#[test]
fn the_log_is_dumped_in_ranges() {
    let bench = Bench::new();
    bench.lr(&["run", "--", "echo", "a"]);
    let all = bench.json(&["log", "dump"]);
    let lsns = |records: &[Value]| -> Vec<u64> {
        records.iter().map(|record| record["lsn"].as_u64().unwrap()).collect()
    };
    let last = u64::try_from(all.len()).unwrap();
    assert_eq!(lsns(&all), (1..=last).collect::<Vec<_>>());
    assert!(all[0]["event"].get("worker_registered").is_some());
    let range = bench.json(&["log", "dump", "--from", "2", "--to", "3"]);
    assert_eq!(lsns(&range), [2, 3]);
    assert!(bench.json(&["log", "dump", "--from", "5", "--to", "4"]).is_empty());
    assert!(bench.json(&["log", "dump", "--from", "99999"]).is_empty());
    let text = bench.lr(&["log", "dump"]).stdout;
    assert_eq!(text.lines().count(), all.len());
    assert!(text.contains("job_submitted") && text.lines().all(|line| line.len() < 400), "{text}");
}

#[test]
fn the_log_is_followed_as_it_grows() {
    let bench = Bench::new();
    let mut command = bench.command(&["log", "dump", "--follow", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    bench.lr(&["worker", "add", "--builtin"]);
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["lsn"], 1, "it came although the request for more is still open");
    bench.lr(&["run", "--", "true"]);
    let second: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(second["lsn"], 2);
    let mut bounded = bench.command(&["log", "dump", "--follow", "--to", "3"]);
    let bounded = wait(bounded.stdout(Stdio::piped()).spawn().unwrap());
    assert_eq!(bounded.stdout.lines().count(), 3, "an end that is there already ends it");
    drop(lines);
    bench.lr(&["run", "--", "false"]);
    assert_eq!(wait(child).code, Some(0));
}

#[test]
fn a_gone_reader_is_a_success() {
    let bench = Bench::shared();
    bench.lr(&["run", "--", "true"]);
    for args in [&["log", "dump"][..], &["jobs", "list"], &["worker", "list"], &["completed"]] {
        let mut command = bench.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = wait(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}
