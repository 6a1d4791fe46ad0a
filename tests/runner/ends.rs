//! How attempts end.

use ledgerun::domain::{FailureKind, ObjectRef, Outcome};
use ledgerun::runner::{Report, Runner};

use crate::bench::{Bench, PATIENCE, SUCCEED, Worker, is_empty, script, until};

#[test]
fn a_process_that_writes_its_output_completes() {
    let bench = Bench::new();
    let ended = bench.run(&script(&format!("echo fine >&2; {SUCCEED}")), &[]);
    let Outcome::Completed { output, cacheable, bytes, stderr } = &ended.outcome else {
        panic!("{ended:?}")
    };
    let ObjectRef::Inline(object) = output else { panic!("{output:?}") };
    assert_eq!(*bytes, object.0.len() as u64);
    assert!(cacheable);
    assert_eq!(bench.tail(stderr.as_ref()), b"fine\n");
    assert_eq!((ended.started, ended.slot_free), (1, 1));
}

#[test]
fn the_environment_is_what_the_descriptor_lists() {
    let bench = Bench::new();
    let worker = Worker {
        environment: vec!["A=1".into(), "B=x=y z".into()],
        ..script(&format!("env | sort | grep -v ^LEDGERUN_ATTEMPT= >&2; {SUCCEED}"))
    };
    let ended = bench.run(&worker, &[]);
    let Outcome::Completed { stderr, .. } = &ended.outcome else { panic!("{ended:?}") };
    let text = String::from_utf8(bench.tail(stderr.as_ref())).unwrap();
    // The shell adds its own two.
    let lines: Vec<_> =
        text.lines().filter(|l| !l.starts_with("PWD=") && !l.starts_with("_=")).collect();
    assert_eq!(lines, ["A=1", "B=x=y z", "PATH=/usr/local/bin:/usr/bin:/bin"]);
}

#[test]
fn an_exit_code_is_told() {
    let bench = Bench::new();
    let ended = bench.run(&script("echo no >&2; exit 3"), &[]);
    ended.expect(FailureKind::Exit, "exited with code 3");
    assert_eq!(ended.failure().exit_code, Some(3));
    assert_eq!(bench.tail(ended.failure().stderr.as_ref()), b"no\n");
}

#[test]
fn a_signal_is_told() {
    let bench = Bench::new();
    let ended = bench.run(&script("kill -SEGV $$"), &[]);
    ended.expect(FailureKind::Exit, "killed by signal 11 (SIGSEGV)");
    assert_eq!(ended.failure().signal, Some(11));
}

#[test]
fn what_can_not_be_executed_is_a_launch_failure() {
    let bench = Bench::new();
    let worker = |bytes: &[u8]| Worker { script: bytes.to_vec(), ..script("") };
    let ended = bench.run(&worker(b"#!/no/such/interpreter\n"), &[]);
    ended.expect(FailureKind::Launch, "No such file or directory");
    ended.expect(FailureKind::Launch, "interpreter");
    assert_eq!(ended.started, 0);
    let ended = bench.run(&worker(b"neither a script nor a program"), &[]);
    ended.expect(FailureKind::Launch, "Exec format error");
    // The slots are free again.
    for _ in 0..3 {
        let ended = bench.run(&script(SUCCEED), &[]);
        assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
    }
}

#[test]
fn a_lost_input_is_named() {
    let bench = Bench::new();
    let descriptor = bench.register(&script(SUCCEED));
    let lost = ledgerun::domain::ChunkId::of(b"never stored");
    let launch = bench.launch_with(descriptor, crate::bench::action(&[("Source", lost, 12)]));
    let ended = bench.run_launch(launch);
    ended.expect(FailureKind::InputLost, "input Source");
    ended.expect(FailureKind::InputLost, &lost.to_string());
}

#[test]
fn a_lost_worker_file_is_named_and_can_be_uploaded_again() {
    let bench = Bench::new();
    let worker = Worker { withheld: true, ..script(SUCCEED) };
    bench.run(&worker, &[]).expect(FailureKind::InputLost, "Engine/Binaries/Linux/script");
    let ended = bench.run(&Worker { withheld: false, ..worker }, &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
}

#[test]
fn unpacked_files_that_vanish_are_unpacked_again() {
    let bench = Bench::new();
    // A folder that is not as it was isn't used again.
    let worker = script(&format!("rmdir Inputs; {SUCCEED}"));
    bench.run(&worker, &[]);
    let id = bench.launch_of(&worker, &[]).worker;
    std::fs::remove_dir_all(bench.dir.path().join(format!("workers/{id}"))).unwrap();
    bench.run(&worker, &[]).expect(FailureKind::Launch, "place the worker's file");
    let ended = bench.run(&worker, &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
}

#[test]
fn unpacked_files_are_used_by_the_next_life_only_when_complete() {
    let bench = Bench::new();
    let worker = script(SUCCEED);
    bench.run(&worker, &[]);
    let id = bench.launch_of(&worker, &[]).worker;
    let unpacked = format!("workers/{id}/Engine/Binaries/Linux/script");
    let dir = bench.into_dir();
    std::fs::write(dir.path().join(&unpacked), b"cut").unwrap();
    std::fs::create_dir_all(dir.path().join("workers/half.unfinished/a")).unwrap();
    std::fs::create_dir_all(dir.path().join("run/7-1/Outputs")).unwrap();
    let bench = Bench::at(dir, 1);
    assert_eq!(bench.folders(), 0);
    let ended = bench.run(&worker, &[]);
    assert!(matches!(ended.outcome, Outcome::Completed { .. }), "{ended:?}");
    assert!(!bench.dir.path().join("workers/half.unfinished").exists());
    until("trash is gone", || is_empty(&bench.dir.path().join("trash")));
}

#[test]
fn cpu_time_and_memory_are_measured() {
    let bench = Bench::new();
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let ended = bench.run(&script(&format!("{busy}; {SUCCEED}")), &[]);
    assert!((20..60_000).contains(&ended.usage.cpu_ms), "{ended:?}");
    let big = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null";
    let ended = bench.run(&script(&format!("{big}; {SUCCEED}")), &[]);
    assert!((200 << 20..400 << 20).contains(&ended.usage.peak_rss_bytes), "{ended:?}");
    let ended = bench.run(&script(SUCCEED), &[]);
    assert!((100 << 10..50 << 20).contains(&ended.usage.peak_rss_bytes), "{ended:?}");
}

#[test]
fn every_launch_is_finished_once_and_nothing_is_left() {
    let bench = Bench::with_slots(4);
    let workers = [script(SUCCEED), script("exit 1"), script("mkdir -p a/b; ln -s / a/b/root")];
    let mut open = std::collections::BTreeMap::new();
    for number in 0..200 {
        let launch = bench.launch_of(&workers[number % 3], &[("a", b"input")]);
        open.insert(launch.attempt, 0);
        bench.runner.launch(launch);
    }
    let mut left = open.len();
    while left > 0 {
        if let Report::Finished { attempt, .. } = bench.report() {
            *open.get_mut(&attempt).unwrap() += 1;
            left -= 1;
        }
    }
    assert!(open.values().all(|times| *times == 1));
    until("folders are tidy", || bench.is_tidy(4));
    assert!(bench.is_silent());
    let supervisor = bench.runner.supervisor_pid().unwrap();
    let children: String = std::fs::read_dir(format!("/proc/{supervisor}/task"))
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap())
        .collect();
    assert_eq!(children.trim(), "");
    bench.runner.stop(PATIENCE);
    assert_eq!(bench.folders(), 0);
}
