//! Processes that run too long, wander off or are killed.

use std::time::{Duration, Instant};

use ledgerun::domain::{AttemptNo, AttemptRef, FailureKind, Lsn, Outcome};
use ledgerun::runner::Runner;

use crate::bench::{
    Bench, SUCCEED, Worker, parent_of, processes_with, script, unique_seconds, until,
};

#[test]
fn a_time_out_kills_the_whole_group() {
    let bench = Bench::new();
    let seconds = unique_seconds();
    let worker = Worker {
        timeout: 1,
        ..script(&format!("sleep {seconds} & sleep {seconds} & echo here >&2; wait"))
    };
    let begun = Instant::now();
    let ended = bench.run(&worker, &[]);
    ended.expect(FailureKind::TimedOut, "ran longer than its 1 s");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(bench.tail(ended.failure().stderr.as_ref()), b"here\n");
    assert_eq!(processes_with(&seconds), [0; 0]);
}

/// Commands that leave a process behind: session of its own, forked twice, its environment and
/// working folder shed, with `stderr` open or not.
fn daemon(seconds: &str, stderr: &str) -> String {
    format!(
        "(cd / && setsid env -i /bin/sh -c '/bin/sleep {seconds} & exit 0' >/dev/null {stderr} &)"
    )
}

#[test]
fn a_daemon_is_gone_when_its_attempt_has_ended() {
    let bench = Bench::new();
    for stderr in ["2>/dev/null", ""] {
        for end in [SUCCEED, "exit 1", "kill -9 $$"] {
            let seconds = unique_seconds();
            // Once with the daemon up, once with it still on its way.
            let up = format!("until grep -qsz '^{seconds}$' /proc/[0-9]*/cmdline; do :; done");
            for wait in [up.as_str(), ":"] {
                let daemon = daemon(&seconds, stderr);
                let ended = bench.run(&script(&format!("{daemon}; {wait}; {end}")), &[]);
                assert_eq!(processes_with(&seconds), [0; 0], "{ended:?}");
            }
        }
    }
}

#[test]
fn a_daemon_of_one_attempt_outlives_the_end_of_another() {
    let bench = Bench::new();
    let seconds = unique_seconds();
    // Keeps its environment, so whose it is can be told.
    let long =
        script(&format!("(setsid sleep {seconds} >/dev/null 2>&1 &); read line < go; {SUCCEED}"));
    let launch = bench.launch_of(&long, &[]);
    let attempt = launch.attempt;
    let go = bench.folder(attempt).join("go");
    // The pipe is there before the process looks for it: its folder is made by the launch.
    let worker = Worker { script: with_fifo(&long.script), ..long };
    let launch = ledgerun::runner::Launch { attempt, ..bench.launch_of(&worker, &[]) };
    bench.runner.launch(launch);
    bench.wait_started();
    let supervisor = bench.runner.supervisor_pid();
    until("the daemon is orphaned", || {
        processes_with(&seconds).iter().any(|pid| parent_of(*pid) == supervisor)
    });
    let other = bench.run(&script(SUCCEED), &[]);
    assert!(matches!(other.outcome, Outcome::Completed { .. }), "{other:?}");
    assert_eq!(processes_with(&seconds).len(), 1);
    until("the pipe is there", || go.exists());
    std::fs::write(&go, b"go\n").unwrap();
    let ended = bench.wait(attempt);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
    assert_eq!(processes_with(&seconds), [0; 0]);
}

/// The script, making the pipe `go` first.
fn with_fifo(script: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(script.to_vec()).unwrap();
    text.replacen('\n', "\nmkfifo go\n", 1).into_bytes()
}

#[test]
fn a_daemon_that_keeps_stderr_open_does_not_delay_the_end() {
    let bench = Bench::new();
    let seconds = unique_seconds();
    let begun = Instant::now();
    let ended = bench.run(&script(&format!("sleep {seconds} & {SUCCEED}")), &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(processes_with(&seconds), [0; 0]);
}

#[test]
fn a_flood_of_stderr_keeps_its_end_and_costs_no_memory() {
    let bench = Bench::new();
    let flood = "head -c 1073741824 /dev/zero >&2; echo the end >&2; exit 1";
    let ended = bench.run(&script(flood), &[]);
    let tail = bench.tail(ended.failure().stderr.as_ref());
    assert_eq!(tail.len(), 64 << 10);
    assert!(tail.ends_with(b"\0the end\n"));
    let supervisor = bench.runner.supervisor_pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 64 << 10, "{peak}");
}

#[test]
fn a_running_attempt_can_be_killed() {
    let bench = Bench::new();
    let seconds = unique_seconds();
    let launch = bench.launch_of(&script(&format!("sleep {seconds} & sleep {seconds}")), &[]);
    let attempt = launch.attempt;
    bench.runner.launch(launch);
    bench.wait_started();
    until("both sleep", || processes_with(&seconds).len() == 2);
    bench.runner.kill(attempt);
    let ended = bench.wait(attempt);
    ended.expect(FailureKind::Exit, "killed on request");
    assert_eq!(processes_with(&seconds), [0; 0]);
    // Once more has no effect, nor has an unknown one.
    bench.runner.kill(attempt);
    bench.runner.kill(AttemptRef { execution: Lsn(99), attempt: AttemptNo(9) });
    let ended = bench.run(&script(SUCCEED), &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
    assert!(bench.is_silent());
}

#[test]
fn a_kill_at_any_moment_gives_one_end() {
    let bench = Bench::with_slots(1);
    let raw = vec![7; 3 << 20];
    let id = ledgerun::domain::ChunkId::of(&raw);
    let object = crate::bench::output(&[(id, raw.len() as u64)]);
    let worker = Worker {
        files: vec![("data/output".into(), object)],
        ..script(&format!("cp Inputs/{id} Outputs/{id}; cp data/output Build.output"))
    };
    let (mut killed, mut completed) = (0, 0);
    for round in 0..60_u64 {
        let launch = bench.launch_of(&worker, &[("a", &raw)]);
        let attempt = launch.attempt;
        bench.runner.launch(launch);
        // From before the folder is made to after everything is gathered.
        let moment = Instant::now() + Duration::from_micros(round * round * 10);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        bench.runner.kill(attempt);
        let ended = bench.wait(attempt);
        match &ended.outcome {
            Outcome::Completed { .. } => completed += 1,
            Outcome::Failed(_) => {
                ended.expect(FailureKind::Exit, "killed on request");
                killed += 1;
            }
        }
    }
    println!("killed {killed}, completed {completed}");
    assert!(killed > 0);
    assert!(bench.is_silent());
    until("folders are tidy", || bench.is_tidy(2));
}

#[test]
fn a_stop_waits_and_then_kills() {
    let bench = Bench::new();
    let seconds = unique_seconds();
    let launch = bench.launch_of(&script(&format!("sleep {seconds}")), &[]);
    let attempt = launch.attempt;
    bench.runner.launch(launch);
    bench.wait_started();
    let begun = Instant::now();
    bench.runner.stop(Duration::from_millis(300));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    bench.wait(attempt).expect(FailureKind::RunnerLost, "the service stopped");
    assert_eq!(processes_with(&seconds), [0; 0]);
    assert_eq!(bench.runner.supervisor_pid(), None);
    assert_eq!(bench.folders(), 0);
}

#[test]
fn a_stop_lets_short_attempts_end() {
    let bench = Bench::with_slots(1);
    let attempts: Vec<_> = (0..3)
        .map(|_| {
            let launch = bench.launch_of(&script(&format!("sleep 0.2; {SUCCEED}")), &[]);
            let attempt = launch.attempt;
            bench.runner.launch(launch);
            attempt
        })
        .collect();
    bench.runner.stop(Duration::from_mins(1));
    let mut completed = 0;
    while completed < attempts.len() {
        if let ledgerun::runner::Report::Finished { outcome, .. } = bench.report() {
            assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
            completed += 1;
        }
    }
}

#[test]
fn a_runner_without_slots_refuses_and_still_stops() {
    let bench = Bench::with_slots(0);
    let ended = bench.run(&script(SUCCEED), &[]);
    ended.expect(FailureKind::RunnerLost, "no slot");
    bench.runner.stop(Duration::ZERO);
}
