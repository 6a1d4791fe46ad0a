//! `demo`: the whole of it, small.

use serde_json::Value;

use crate::bench::{done, program};

#[test]
fn the_demo_loses_nothing_and_says_so() {
    let here = tempfile::tempdir().unwrap();
    let mut command = program(here.path());
    // What is set for a service of one's own doesn't concern the demo's.
    command.args(["demo", "--jobs", "24"]).env("LEDGERUN_SLOTS", "0");
    let done = done(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("nothing was lost"), "{done:?}");
    for step in ["24 compilations acknowledged", "SIGKILL after", "ready again"] {
        assert!(done.stderr.contains(step), "also without a terminal: {step}: {done:?}");
    }
    assert!(std::fs::read_dir(here.path()).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn the_demo_in_json_and_kept() {
    let here = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = program(here.path());
        command.args(["demo", "--json", "--jobs", "8", "--keep", "kept"]);
        done(command.output().unwrap())
    };
    let first = run();
    assert_eq!(first.code, Some(0), "{first:?}");
    let report: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!(report["good"], true, "{report}");
    for key in ["acknowledged", "known_after_restart", "completed"] {
        assert_eq!(report[key], 8, "{key}: {report}");
    }
    for key in ["failed", "lost", "repeated"] {
        assert_eq!(report[key], 0, "{key}: {report}");
    }
    let kept = crate::service::Service::start(&here.path().join("kept"), &[]);
    assert_eq!(Some(kept.last_lsn()), report["last_lsn"].as_u64());
    drop(kept);
    let again = run();
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("not empty"), "{again:?}");
}
