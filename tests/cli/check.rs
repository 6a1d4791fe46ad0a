//! `check`: all that is wrong is told at once, and only what loses nothing is mended.

use std::path::Path;

use serde_json::{Value, json};

use crate::bench::{Bench, Done, done, program};
use crate::speaker::{recorded, speaker};

pub(crate) fn check(data: &Path, args: &[&str]) -> (Done, Value) {
    let mut command = program(data.parent().unwrap());
    command.args(["check", "--json", "--data-dir"]).arg(data).args(args);
    let done = done(command.output().unwrap());
    let report = serde_json::from_str(&done.stdout).unwrap_or(Value::Null);
    (done, report)
}

pub(crate) fn kinds(report: &Value) -> Vec<&str> {
    let mut kinds: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

pub(crate) fn finding<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let found = report["findings"].as_array().unwrap().iter().find(|f| f["kind"] == kind);
    found.unwrap_or_else(|| panic!("{kind}: {report}"))
}

/// The data of a service that has done something and stopped.
fn stopped() -> (tempfile::TempDir, tempfile::TempDir) {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    recorded(&bench, &worker, &["odd", "two", "fail"]);
    let report = bench.json(&["check"]).remove(0);
    assert_eq!((&report["good"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    let (used, _) = check(&bench.data(), &[]);
    assert_eq!(used.code, Some(4), "{used:?}");
    assert_eq!(bench.lr(&["check", "--repair"]).code, Some(2));
    assert_eq!(bench.lr(&["check", "--data-dir", "nowhere"]).code, Some(2));
    assert_eq!(bench.lr(&["--host", "127.0.0.1:1", "check"]).code, Some(3));
    bench.service.terminate();
    bench.ended()
}

/// Bytes of a segment of chunks.
pub(crate) fn chunk_segment() -> usize {
    ledgerun::chunks::Options::default().segment_bytes
}

/// Changes the entries of a tree.
pub(crate) fn tamper(
    db: &Path,
    segment: usize,
    tree: &str,
    change: impl FnOnce(&sled::Tree, Vec<sled::IVec>),
) {
    let config = sled::Config::new().path(db).segment_size(segment);
    // Another test's child may hold the lock for a moment.
    let db = ledgerun::durable::open_unlocked(|| config.open()).unwrap();
    let tree = db.open_tree(tree).unwrap();
    let keys = tree.iter().keys().map(Result::unwrap).collect();
    change(&tree, keys);
    db.flush().unwrap();
}

#[test]
fn leftovers_are_harmless_and_are_removed_on_demand() {
    let (data, _here) = stopped();
    let data = data.path();
    let (sound, report) = check(data, &[]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert_eq!((&report["good"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    assert_eq!(report["records"], report["last_lsn"]);
    assert!(report["chunks"].as_u64().unwrap() > 5 && report["bytes"].as_u64().unwrap() > 0);

    let left = ["log/snap.0123.generating", "log/unread-snap.01", ".new-abc", "checkpoints/.new-x"];
    std::fs::create_dir_all(data.join("checkpoints")).unwrap();
    std::fs::create_dir_all(data.join("chunks/g000099.dead")).unwrap();
    let bad = "checkpoints/00000000000000000005.state";
    for name in left.iter().chain([&bad]) {
        std::fs::write(data.join(name), b"left over").unwrap();
    }
    let (harmless, report) = check(data, &[]);
    assert_eq!(harmless.code, Some(0), "{harmless:?}");
    assert_eq!(report["good"], true);
    assert_eq!(kinds(&report), ["checkpoint", "leftover"]);
    assert_eq!(report["findings_count"], 6, "{report}");
    assert!(data.join(bad).exists() && data.join(".new-abc").exists(), "nothing was asked for");
    let (mended, report) = check(data, &["--repair"]);
    assert_eq!(mended.code, Some(0), "{mended:?}");
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() > 3 && findings.iter().all(|f| f["repaired"] == true), "{report}");
    for name in left.iter().chain([&bad]) {
        assert!(!data.join(name).exists(), "{name}");
    }
    assert_eq!(check(data, &[]).1["findings"], json!([]));
}

#[test]
fn damage_does_not_hide_other_damage() {
    let (data, _here) = stopped();
    let data = data.path();
    let mut gone = 0;
    tamper(&data.join("log"), 512 << 10, "events", |events, keys| {
        let lsn = |key: &sled::IVec| u64::from_be_bytes((**key).try_into().unwrap());
        let (torn, removed) = (&keys[keys.len() / 3], &keys[keys.len() / 2]);
        let mut value = events.get(torn).unwrap().unwrap().to_vec();
        value.truncate(value.len() - 2);
        events.insert(torn, value).unwrap();
        gone = lsn(removed);
        events.remove(removed).unwrap();
        events.insert(b"no position", b"").unwrap();
        events.remove(keys.last().unwrap()).unwrap();
    });
    let mut damaged = String::new();
    tamper(&data.join("chunks/g000001"), chunk_segment(), "pieces", |pieces, keys| {
        let mut value = pieces.get(&keys[0]).unwrap().unwrap().to_vec();
        value[0] ^= 1;
        pieces.insert(&keys[0], value).unwrap();
        damaged = hex::encode(&keys[0][..20]);
    });
    std::fs::create_dir_all(data.join("log/blobs")).unwrap();
    let (found, report) = check(data, &[]);
    assert_eq!(found.code, Some(5), "{found:?}");
    assert_eq!((&report["good"], &report["starts"]), (&json!(false), &json!(false)));
    let kinds = kinds(&report);
    for kind in ["record", "gap", "lost_tail", "damaged_chunk", "unknown_references"] {
        assert!(kinds.contains(&kind), "{kind}: {report}");
    }
    let gaps = report["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == "gap");
    assert!(gaps.clone().any(|f| f["lsn"] == gone), "{gone}: {report}");
    assert_eq!(finding(&report, "damaged_chunk")["chunk"], damaged);
    let lost = finding(&report, "lost_tail");
    assert!(lost["remedy"].as_str().unwrap().contains("--accept-lost-history"), "{lost}");
    // Nobody repairs what would lose something.
    let (still, report) = check(data, &["--repair"]);
    assert_eq!(still.code, Some(5), "{still:?}");
    assert_eq!(finding(&report, "lost_tail")["repaired"], false);
}

#[test]
fn chunks_that_are_needed_are_looked_for() {
    let (data, _here) = stopped();
    let data = data.path();
    let (mut removed, mut damaged) = (String::new(), String::new());
    tamper(&data.join("chunks/g000001"), chunk_segment(), "manifests", |manifests, keys| {
        manifests.remove(&keys[0]).unwrap();
        removed = hex::encode(&keys[0]);
        damaged = hex::encode(&keys[1]);
    });
    tamper(&data.join("chunks/g000001"), chunk_segment(), "pieces", |pieces, keys| {
        let key = keys.iter().find(|key| hex::encode(&key[..20]) == damaged).unwrap();
        pieces.insert(key, b"something else").unwrap();
    });
    let (found, report) = check(data, &[]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert_eq!(report["starts"], true);
    let missing = finding(&report, "missing_chunk");
    assert_eq!(missing["chunk"], removed);
    assert!(missing["lsn"].is_u64(), "{missing}");
    assert_eq!(finding(&report, "damaged_chunk")["chunk"], damaged);
    // Looking changes nothing; repairing makes room for an upload of the right content.
    assert_eq!(check(data, &[]).1["findings"], report["findings"]);
    assert_eq!(check(data, &["--repair"]).0.code, Some(1));
    let (_, after) = check(data, &[]);
    assert_eq!(kinds(&after), ["missing_chunk"], "{after}");
    assert_eq!(after["findings_count"], 2);
}

#[test]
fn a_log_that_can_not_be_opened_gets_a_report() {
    let (data, _here) = stopped();
    let data = data.path();
    let states = std::fs::read_dir(data.join("checkpoints")).unwrap().count();
    let conf = std::fs::read(data.join("log/conf")).unwrap();
    std::fs::write(data.join("log/conf"), b"no configuration").unwrap();
    let (found, report) = check(data, &["--repair"]);
    assert_eq!(found.code, Some(5), "{found:?}");
    let log = finding(&report, "log");
    assert!(log["path"].as_str().unwrap().ends_with("/log"), "{log}");
    assert!(report["chunks"].as_u64().unwrap() > 5, "the chunks were looked at: {report}");
    let mut text = program(data.parent().unwrap());
    let text = done(text.args(["check", "--data-dir"]).arg(data).output().unwrap());
    assert_eq!(text.code, Some(5));
    assert!(text.stdout.contains("does not start") && text.stdout.contains("log\t"), "{text:?}");

    // Damaged all over, the database forgets everything, and says nothing.
    std::fs::write(data.join("log/conf"), conf).unwrap();
    for entry in std::fs::read_dir(data.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let (found, report) = check(data, &["--repair"]);
    assert_eq!(found.code, Some(5), "{found:?}");
    assert_eq!(report["starts"], false, "{report}");
    let left = std::fs::read_dir(data.join("checkpoints")).unwrap().count();
    assert_eq!(left, states, "what may be all that is left of the state stays");
}
