//! `run`: command lines as actions.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Bench, done, program, until, wait};
use crate::service::{Service, Starting};

#[test]
fn a_command_runs_with_its_files_and_a_second_time_from_its_result() {
    let bench = Bench::new();
    bench.write("a.txt", "x\ny\n");
    let first = bench.lr(&["run", "--", "wc", "-l", "a.txt"]);
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), "2 a.txt\n"), "{first:?}");
    assert_eq!(first.stderr, "", "the built-in worker is registered without a word");
    let second = bench.lr(&["run", "--", "wc", "-l", "a.txt"]);
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "2 a.txt\n"));
    let cached: Vec<bool> =
        bench.json(&["jobs", "list"]).iter().map(|job| job["cached"] == true).collect();
    assert_eq!(cached, [false, true]);

    let fresh = bench.json(&["run", "--fresh", "--", "wc", "-l", "a.txt"]).remove(0);
    assert_eq!((&fresh["cached"], &fresh["exit_code"]), (&false.into(), &0.into()));
    assert_eq!(fresh["values"]["stdout"]["size"], 8);
    bench.write("a.txt", "x\n");
    let changed = bench.lr(&["run", "--", "wc", "-l", "a.txt"]);
    assert_eq!(changed.stdout, "1 a.txt\n", "other content is another action");
}

#[test]
fn the_exit_code_is_the_commands() {
    let bench = Bench::shared();
    for code in [0, 1, 2, 3, 77, 125, 126, 127, 128, 255] {
        let done = bench.lr(&["run", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert_eq!(done.stderr, "", "a command's own failure is its own to explain");
    }
    for (signal, code) in [(9, 137), (15, 143), (11, 139)] {
        let done = bench.lr(&["run", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(done.code, Some(code), "{done:?}");
    }
    let missing = bench.lr(&["run", "--", "no-such-program"]);
    assert_eq!(missing.code, Some(127), "{missing:?}");
    assert!(missing.stderr.contains("\"no-such-program\" was not found"), "{missing:?}");
    let missing = bench.lr(&["run", "--", "./no-such-file"]);
    assert_eq!(missing.code, Some(127), "{missing:?}");
    bench.write("plain.sh", "#!/bin/sh\necho ran\n");
    let plain = bench.lr(&["run", "--", "./plain.sh"]);
    assert_eq!(plain.code, Some(126), "{plain:?}");

    // What was missing is looked for again: it may be there now.
    let path = bench.here().join("plain.sh");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let runs = bench.lr(&["run", "--", "./plain.sh"]);
    assert_eq!((runs.code, runs.stdout.as_str()), (Some(0), "ran\n"), "{runs:?}");
    let again = bench.lr(&["--json", "run", "--", "no-such-program"]);
    let told: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(told["meta"]["StartError"], 2);
    assert_eq!(told["cached"], false, "that nothing was found is not kept");
}

#[test]
fn a_service_that_cannot_be_reached_is_125() {
    let here = tempfile::tempdir().unwrap();
    let mut command = program(here.path());
    command.args(["--host", "http://127.0.0.1:1", "run", "--", "true"]);
    let done = done(command.output().unwrap());
    assert_eq!(done.code, Some(125));
    assert!(done.stderr.contains("cannot reach the service at http://127.0.0.1:1"), "{done:?}");
    assert!(done.stderr.contains("ledgerun serve"), "it says what to do: {done:?}");
}

#[test]
fn outputs_come_back() {
    let bench = Bench::shared();
    bench.write("src/main.txt", "body\n");
    bench.write("src/deep/more.txt", "more\n");
    let script = "mkdir -p out/sub && cat src/main.txt src/deep/more.txt > out/sub/all.txt && \
                  echo told >&2 && echo said && touch out/empty";
    let done = bench.lr(&["run", "--input", "src", "--output", "out/**", "--", "sh", "-c", script]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("said\n", "told\n"));
    assert_eq!(bench.read("out/sub/all.txt"), "body\nmore\n");
    assert_eq!(bench.read("out/empty"), "");
    let none = bench.lr(&["run", "--output", "none/*", "--", "true"]);
    assert_eq!(none.code, Some(0));
    assert!(none.stderr.contains("matches no file"), "{none:?}");
    let outside = bench.lr(&["run", "--input", "/etc/hosts", "--", "true"]);
    assert_eq!(outside.code, Some(125));
    assert!(outside.stderr.contains("/etc/hosts is not a path below"), "{outside:?}");
}

#[test]
fn standard_input_environment_and_directory() {
    let bench = Bench::shared();
    bench.write("sub/in.txt", "inside\n");
    let done = bench.lr(&[
        "run",
        "--stdin",
        "sub/in.txt",
        "--cwd",
        "sub",
        "--env",
        "WORD=a=b",
        "--",
        "sh",
        "-c",
        "cat; echo $WORD; basename $PWD; ls",
    ]);
    assert_eq!(done.stdout, "inside\na=b\nsub\nin.txt\n", "{done:?}");
    let fed = bench.feed(&["run", "--stdin", "-", "--", "tr", "a-z", "A-Z"], "loud\n");
    assert_eq!((fed.code, fed.stdout.as_str()), (Some(0), "LOUD\n"), "{fed:?}");
    let wrong = bench.lr(&["run", "--env", "WORD", "--", "true"]);
    assert_eq!(wrong.code, Some(125));
    assert!(wrong.stderr.contains("KEY=VALUE"), "{wrong:?}");
    let bare = bench.lr(&["run", "--no-auto-inputs", "--", "cat", "sub/in.txt"]);
    assert_eq!(bare.code, Some(1), "not taken for an input: {bare:?}");
}

#[test]
fn options_behind_the_command_are_the_commands() {
    let bench = Bench::shared();
    let done = bench.lr(&["run", "echo", "--json", "--host", "x", "-Build=y"]);
    assert_eq!(done.stdout, "--json --host x -Build=y\n", "{done:?}");
}

#[test]
fn more_than_fits_in_a_pipe_comes_whole_and_a_gone_reader_is_no_failure() {
    let bench = Bench::shared();
    let all = bench.lr(&["run", "--", "seq", "1", "200000"]);
    assert_eq!(all.stdout.lines().count(), 200_000);
    let mut command = bench.command(&["run", "--", "seq", "1", "200000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = wait(child);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_interrupt_cancels_the_job() {
    let bench = Bench::new();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut command = bench.command(&["run", "--", "sleep", &format!("10{code}")]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let running = || bench.json(&["jobs", "list", "--state", "running"]);
        until(|| !running().is_empty());
        let lsn = running()[0]["lsn"].as_u64().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let done = wait(child);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains(&format!("job {lsn} is cancelled")), "{done:?}");
        bench.await_state(lsn, "cancelled");
    }
}

#[test]
fn a_restart_of_the_service_meanwhile_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // The same port twice, because the client only knows one.
    let first = Service::start(&data, &["--slots", "1"]);
    let url = first.url().to_owned();
    let mut run = program(dir.path());
    let script = "while ! test -e $FLAG; do sleep 0.02; done; echo through";
    let flag = format!("FLAG={}", dir.path().join("flag").display());
    run.args(["--host", &url, "run", "--env", &flag, "--", "sh", "-c", script]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = |state: &str| {
        let mut list = program(dir.path());
        list.args(["--host", &url, "--json", "jobs", "list", "--state", state]);
        done(list.output().unwrap()).stdout.lines().count()
    };
    until(|| count("running") == 1);
    first.kill();
    let address = url.trim_start_matches("http://");
    let mut again = program(dir.path());
    again.args(["serve", "--slots", "1", "--listen", address, "--data-dir"]).arg(&data);
    let _second = Starting::of(again).ready().unwrap();
    std::fs::write(dir.path().join("flag"), "").unwrap();
    let done = wait(child);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "through\n"), "{done:?}");
    assert!(done.stderr.contains("waiting for the service to come back"), "{done:?}");
}
