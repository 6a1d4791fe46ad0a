//! Death of the supervisor and of the service.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ledgerun::domain::{FailureKind, Outcome};
use ledgerun::runner::Runner;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{
    Bench, SUCCEED, is_alive, parent_of, processes_with, script, unique_seconds, until,
};

/// Says to a copy of this test program that it is to be a service, and what its worker sleeps.
const CHILD: &str = "LEDGERUN_TEST_SERVICE";

/// A worker that leaves a daemon without environment, group or folder, one with all of them, and
/// stays itself.
fn spreader(seconds: &str) -> String {
    format!(
        "(cd / && setsid env -i /bin/sh -c '/bin/sleep {seconds} & exit 0' >/dev/null 2>&1 &)\n\
         (setsid sleep {seconds} &)\n\
         sleep {seconds} &\n\
         exec sleep {seconds}"
    )
}

#[test]
fn a_killed_supervisor_loses_its_attempts_and_is_replaced() {
    let bench = Bench::new();
    for _ in 0..3 {
        let seconds = unique_seconds();
        let launch = bench.launch_of(&script(&spreader(&seconds)), &[]);
        let attempt = launch.attempt;
        bench.runner.launch(launch);
        bench.wait_started();
        until("all four sleep", || processes_with(&seconds).len() == 4);
        let supervisor = bench.runner.supervisor_pid().unwrap();
        kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
        let ended = bench.wait(attempt);
        ended.expect(FailureKind::RunnerLost, "supervisor");
        assert_eq!(processes_with(&seconds), [0; 0]);
        let ended = bench.run(&script(SUCCEED), &[]);
        assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
        assert_ne!(bench.runner.supervisor_pid(), Some(supervisor));
    }
}

/// Not a test of its own: the service that the next test kills.
#[test]
fn service() {
    let Ok(seconds) = std::env::var(CHILD) else { return };
    let bench = Bench::new();
    let launch = bench.launch_of(&script(&spreader(&seconds)), &[]);
    bench.runner.launch(launch);
    bench.wait_started();
    println!("\nsupervisor {}", bench.runner.supervisor_pid().unwrap());
    loop {
        std::thread::park();
    }
}

#[test]
fn nothing_outlives_a_killed_service() {
    let mut took = Vec::new();
    for _ in 0..5 {
        let seconds = unique_seconds();
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "survival::service", "--nocapture"])
            .env(CHILD, &seconds)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
        let supervisor: i32 = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(pid) = line.strip_prefix("supervisor ") {
                break pid.parse().unwrap();
            }
        };
        until("all four sleep", || processes_with(&seconds).len() == 4);
        until("the daemons are orphaned", || {
            let parents = processes_with(&seconds).into_iter().filter_map(parent_of);
            parents.filter(|parent| *parent == supervisor).count() == 3
        });
        let begun = Instant::now();
        service.kill().unwrap();
        // Its new parent, which may be this very process, need not have reaped the supervisor.
        let gone = || processes_with(&seconds).is_empty() && !is_alive(supervisor);
        until("everything is gone", gone);
        took.push(begun.elapsed());
        service.wait().unwrap();
    }
    took.sort();
    println!("everything was gone after {took:?}");
    // The middle one: a busy machine may hold one up.
    assert!(took[2] < Duration::from_millis(200), "{took:?}");
}
