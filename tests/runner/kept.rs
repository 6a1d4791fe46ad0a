//! Folders that are kept for the next attempt, and what it finds in them: nothing of the last.

use std::time::Instant;

use ledgerun::domain::Outcome;

use crate::bench::{Bench, PATIENCE, SUCCEED, Worker, script, unique_seconds, until};

/// One worker that runs whatever its input says, so that all attempts are of the same worker.
fn shell() -> Worker {
    // Behind the header of the compressed buffer.
    script("commands=$(tail -c +65 Inputs/*); eval \"$commands\"")
}

/// Runs commands and waits until their folder was tidied or thrown away.
fn run(bench: &Bench, commands: &str) -> String {
    let launch = bench.launch_of(&shell(), &[("commands", commands.as_bytes())]);
    let ended = bench.run_launch(launch);
    until("the folder is tidy", || bench.is_tidy(1));
    match &ended.outcome {
        Outcome::Completed { stderr, .. } => {
            String::from_utf8(bench.tail(stderr.as_ref())).unwrap()
        }
        Outcome::Failed(failure) => panic!("{commands}: {failure:?}"),
    }
}

/// Tells one folder from the next even where numbers of inodes are used again.
const WHICH: &str = "stat -c '%i %w' . >&2; printf '\\002\\000' > Build.output";

#[test]
fn attempts_of_a_worker_take_turns_in_a_folder_under_names_of_their_own() {
    let bench = Bench::with_slots(1);
    let which = || run(&bench, WHICH);
    // One that comes before the last one's folder is tidy gets a second, so not the first time.
    let begun = Instant::now();
    while which() != which() {
        assert!(begun.elapsed() < PATIENCE, "no folder is ever used twice");
    }
    let path = || run(&bench, &format!("pwd >&2; {SUCCEED}"));
    assert_ne!(path(), path());
    let other = bench.run(&script(&format!("ls >&2; {SUCCEED}")), &[]);
    let Outcome::Completed { stderr, .. } = &other.outcome else { panic!("{other:?}") };
    assert_eq!(bench.tail(stderr.as_ref()), b"Build.action\nEngine\nInputs\nOutputs\n");
}

#[test]
fn nothing_of_an_attempt_is_seen_by_the_next() {
    let deep = "i=0; while [ $i -lt 60 ]; do mkdir -p d/d/d/d && cd d/d/d/d; i=$((i+1)); done";
    let seconds = unique_seconds();
    let daemon =
        format!("(cd / && setsid env -i /bin/sh -c 'sleep {seconds} & exit 0' &) 2>/dev/null");
    let deeds = [
        "touch left Inputs/left Outputs/left Engine/left Engine/Binaries/Linux/left .hidden",
        "mkdir -p a/b/c && touch a/b/c/d && ln -s / a/root && ln -s a/b link",
        "mkdir closed && touch closed/file && chmod 0 closed && mkdir half && chmod 500 half",
        "chmod 500 Inputs Outputs Engine . && chmod 700 .",
        "mkdir -p ro/ro && touch ro/ro/file && chmod -R 500 ro",
        "chmod 777 .",
        "rmdir Outputs && ln -s /tmp Outputs",
        "mv Engine elsewhere && mkdir -p Engine/Binaries/Linux",
        "mv Inputs x && mv Outputs Inputs && mv x Outputs",
        "cd Engine/Binaries/Linux && cp script copy && mv -f copy script && cd ../../..",
        "rm Build.action && mkdir Build.action && touch Build.action/x",
        "rm Build.action && ln -s /etc/passwd Build.action",
        "ln Build.action Outputs/same && echo more >> Build.action",
        "mkfifo pipe Outputs/pipe && : > Build.action",
        "i=0; while [ $i -lt 600 ]; do : > file-$i; i=$((i+1)); done",
        "dd if=/dev/zero of=big bs=1M count=8 2>/dev/null",
        daemon.as_str(),
        deep,
    ];
    let look = format!(
        "find . -printf '%P %y %m %n %l\\n' | LC_ALL=C sort >&2; cksum Build.action >&2; {SUCCEED}"
    );
    let fresh = run(&Bench::with_slots(1), &look);
    assert!(fresh.contains("\nOutputs d "), "{fresh}");
    let links = |listing: &str| {
        // How many folders share the worker's file isn't the attempt's affair.
        let lines =
            listing.lines().filter(|line| !line.starts_with("Engine/Binaries/Linux/script"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let bench = Bench::with_slots(1);
    for deed in deeds {
        run(&bench, &format!("here=$PWD; {deed}; cd \"$here\"; {SUCCEED}"));
        for _ in 0..3 {
            let seen = run(&bench, &look);
            assert_eq!(links(&seen), links(&fresh), "after: {deed}");
            assert!(seen.contains("Engine/Binaries/Linux/script f 555 "), "after {deed}: {seen}");
        }
    }
    let failed = bench.run(&script("touch left; exit 3"), &[]);
    assert_eq!(failed.failure().exit_code, Some(3));
}
