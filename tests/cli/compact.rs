//! Directories whose log was compacted: what `check` and `log verify` tell of them, and that a start
//! refuses what they call damaged.

use std::path::Path;

use serde_json::{Value, json};

use crate::backup::{answers, digest, ledgerun, submit, text};
use crate::bench::{Bench, program};
use crate::check::{check, finding, kinds, tamper};
use crate::service::{Service, Starting, command};
use crate::speaker::speaker;

/// A service with jobs and a queue, whose log was compacted after them; the jobs.
fn compacted() -> (Bench, Vec<u64>) {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    let mut jobs = submit(&bench, &worker, &["one", "odd", "three"]);
    assert_eq!(bench.lr(&["jobs", "retire", &jobs.remove(0).to_string()]).code, Some(0));
    // The newest record stays; so the state is one without the job.
    assert_eq!(bench.lr(&["queue", "create"]).code, Some(0));
    let report = bench.json(&["log", "compact"]).remove(0);
    assert_eq!(report["compacted"], true, "{report}");
    assert!(report["records_kept"].as_u64() > Some(5), "{report}");
    assert!(report["records_removed"].as_u64() > Some(1), "{report}");
    jobs.extend(submit(&bench, &worker, &["four", "fail"]));
    (bench, jobs)
}

/// Whether a service without checkpoints refuses to start on it.
fn refused(data: &Path) {
    let _ = std::fs::remove_dir_all(data.join("checkpoints"));
    let mut command = command(data);
    command.args(["--slots", "0"]);
    let ended = Starting::of(command).ready().unwrap_err();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    assert!(ended.stderr.contains("from a backup"), "{ended:?}");
    assert!(!ended.stderr.contains("stack backtrace"), "{ended:?}");
    let verified = ledgerun(data.parent().unwrap(), &["log", "verify", "--data-dir", text(data)]);
    assert_eq!(verified.code, Some(5), "{verified:?}");
}

fn copy(data: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut cp = std::process::Command::new("cp");
    cp.args(["-a", "--sparse=always"]).arg(data).arg(copy.path().join("data"));
    assert!(cp.status().unwrap().success());
    copy
}

#[test]
fn a_compacted_log_is_checked_from_its_state_on() {
    let (bench, jobs) = compacted();
    let verified = bench.json(&["log", "verify"]).remove(0);
    assert_eq!(verified["good"], true, "{verified}");
    let before = answers(&bench.here(), bench.service.url(), &jobs);
    bench.service.terminate();
    let (data, here) = bench.ended();
    let data = data.path();
    // In the middle of the exchange the old log is there, and so is what is left of one given up.
    for (name, mended) in [("log.old", true), ("log.next", true), ("log.swap", true)] {
        let path = data.join(name);
        if name == "log.swap" {
            std::fs::write(&path, b"left over").unwrap();
        } else {
            std::fs::create_dir(&path).unwrap();
        }
        let (harmless, report) = check(data, &["--repair"]);
        assert_eq!(harmless.code, Some(0), "{harmless:?}");
        assert_eq!(finding(&report, "leftover")["repaired"], mended, "{report}");
        assert!(!path.exists(), "{name}");
    }
    std::fs::rename(data.join("log"), data.join("log.old")).unwrap();
    let (sound, report) = check(data, &[]);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert_eq!(report["findings"], json!([]), "{report}");
    assert_eq!(report["records"].as_u64(), Some(count(&report)), "{report}");
    assert_eq!(report["digest"], verified["digest"]);
    let service = Service::start(data, &["--slots", "0"]);
    assert_eq!(answers(here.path(), service.url(), &jobs), before);
}

/// Records from the first one to the last.
fn count(report: &Value) -> u64 {
    let lsn = |key: &str| report[key].as_u64().unwrap();
    assert!(lsn("first_lsn") > 5, "{report}");
    lsn("last_lsn") - lsn("first_lsn") + 1
}

#[test]
fn a_flipped_bit_of_what_was_folded_is_told() {
    let (bench, _) = compacted();
    bench.service.terminate();
    let (data, _here) = bench.ended();
    let whole = std::fs::read(data.path().join("log/db")).unwrap();
    let mut words = Vec::new();
    for tree in ["base", "kept"] {
        tamper(&copy(data.path()).path().join("data/log"), 512 << 10, tree, |tree, keys| {
            words.push(tree.get(&keys[0]).unwrap().unwrap()[8..48].to_vec());
        });
    }
    for word in words {
        let mut windows = whole.windows(word.len());
        let at = windows.position(|window| window == word).unwrap();
        let copy = copy(data.path());
        let data = copy.path().join("data");
        let mut damaged = whole.clone();
        damaged[at + 3] ^= 4;
        std::fs::write(data.join("log/db"), &damaged).unwrap();
        let (found, report) = check(&data, &[]);
        assert_eq!(found.code, Some(5), "byte {at}: {found:?}");
        assert_eq!(report["starts"], false, "{report}");
        refused(&data);
    }
}

/// What the storage engine has no word against.
#[test]
fn a_state_or_a_kept_record_that_is_another_is_told_with_all_else() {
    let (bench, _) = compacted();
    bench.service.terminate();
    let (data, _here) = bench.ended();
    for tree in ["base", "kept"] {
        for remove in [true, false] {
            let copy = copy(data.path());
            let data = copy.path().join("data");
            tamper(&data.join("log"), 512 << 10, tree, |tree, keys| {
                let mut value = tree.remove(&keys[0]).unwrap().unwrap().to_vec();
                let at = value.len() / 2;
                value[at] ^= 1;
                if !remove {
                    tree.insert(&keys[0], value).unwrap();
                }
            });
            let (found, report) = check(&data, &["--repair"]);
            assert_eq!(found.code, Some(5), "{tree} {remove}: {found:?}");
            assert_eq!(kinds(&report), ["base", "unknown_references"], "{report}");
            assert_eq!(finding(&report, "base")["weight"], "fatal");
            assert_eq!(report["records"].as_u64(), Some(count(&report)), "{report}");
            assert!(report["chunks"].as_u64() > Some(3), "the chunks were looked at: {report}");
            // A start from a checkpoint needs neither; the running service tells it when asked.
            let service = Service::start(&data, &["--slots", "0"]);
            let mut verify = program(data.parent().unwrap());
            verify.env("LEDGERUN_HOST", service.url()).args(["log", "verify", "--json"]);
            let verified = verify.output().unwrap();
            assert_eq!(verified.status.code(), Some(1), "{verified:?}");
            let told = String::from_utf8(verified.stdout).unwrap();
            assert!(told.contains("\"base\""), "{told}");
            drop(service);
            refused(&data);
        }
    }
}

#[test]
fn a_compacted_log_is_backed_up_and_restored() {
    let bench = Bench::new();
    let worker = speaker(&bench, "a", "b", false);
    assert_eq!(bench.lr(&["backup", "behind"]).code, Some(0));
    let mut jobs = submit(&bench, &worker, &["one", "odd", "three"]);
    assert_eq!(bench.lr(&["jobs", "retire", &jobs.remove(0).to_string()]).code, Some(0));
    assert_eq!(bench.lr(&["backup", "older"]).code, Some(0));
    assert_eq!(bench.lr(&["queue", "create"]).code, Some(0));
    let report = bench.json(&["log", "compact"]).remove(0);
    assert_eq!(report["compacted"], true, "{report}");
    // The folder ends where the log begins: it goes on. Where it ends before that, it can't.
    let behind = bench.lr(&["backup", "behind"]);
    assert_eq!(behind.code, Some(1), "{behind:?}");
    let words = format!("which begins with {}", report["first_lsn"]);
    assert!(behind.stderr.contains(&words) && behind.stderr.contains("another folder"));
    for folder in ["older", "kept"] {
        assert_eq!(bench.lr(&["backup", folder]).code, Some(0));
    }
    jobs.extend(submit(&bench, &worker, &["four", "fail"]));
    for folder in ["older", "kept"] {
        assert_eq!(bench.lr(&["backup", folder]).code, Some(0));
    }
    let before = answers(&bench.here(), bench.service.url(), &jobs);
    bench.service.terminate();
    let (data, here) = bench.ended();
    let here = here.path();
    let offline = ledgerun(here, &["backup", "offline", "--data-dir", text(data.path())]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let wanted = digest(data.path());
    for (folder, target) in [("older", "a"), ("kept", "b"), ("offline", "c")] {
        let sound = ledgerun(here, &["check", "--backup", folder]);
        assert_eq!(sound.code, Some(0), "{sound:?}");
        let restored = ledgerun(here, &["restore", folder, "--data-dir", target]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert_eq!(digest(&here.join(target)), wanted, "{folder}");
        let service = Service::start(&here.join(target), &["--slots", "0"]);
        let after = answers(here, service.url(), &jobs);
        // The first question is the log itself: the older folder has what was folded since.
        assert_eq!(after[1..], before[1..], "{folder}");
        if folder == "older" {
            let tail = before[0].lines().skip(1).collect::<Vec<_>>().join("\n");
            assert!(after[0].trim_end().ends_with(&tail) && after[0].len() > before[0].len());
        } else {
            assert_eq!(after[0], before[0], "{folder}");
        }
        let on = ledgerun(here, &["--host", service.url(), "backup", folder, "--json"]);
        assert_eq!(on.code, Some(0), "{on:?}");
        assert_eq!(serde_json::from_str::<Value>(&on.stdout).unwrap()["records"], 0);
    }
    let first = report["first_lsn"].as_u64().unwrap();
    for (at, code) in [(first - 2, 1), (first - 1, 0), (first, 0)] {
        let target = format!("at-{at}");
        let args = ["restore", "kept", "--data-dir", &target, "--at", &at.to_string()];
        let restored = ledgerun(here, &args);
        assert_eq!(restored.code, Some(code), "{at}: {restored:?}");
        if code == 0 {
            let service = Service::start(&here.join(&target), &["--slots", "0"]);
            assert_eq!(service.last_lsn(), at);
            let url = ["--host", service.url()];
            let made = ledgerun(here, &[&url[..], &["queue", "create"]].concat());
            assert_eq!(made.code, Some(0), "{made:?}");
            let dump = ledgerun(here, &[&url[..], &["log", "dump", "--json"]].concat());
            assert_eq!(dump.stdout.lines().count() as u64, at + 2 - first, "{dump:?}");
        }
    }
}
