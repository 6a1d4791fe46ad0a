//! The laws of the core, on random histories of commands.
//!
//! Every command of a history is decided, encoded, decoded and applied as the service would, and a
//! naive model that knows nothing of events or indexes says what must be true afterwards: the state
//! of every job and queue, the counters and the feed of every queue, and what is handed out next.
//!
//! Each test prints the seed of its run. A history that fails is made as short as can be and shown;
//! its own seed goes to `tests/laws/histories.seeds`, which every later run begins with. To repeat a
//! whole run: `PROPTEST_RNG_SEED=<seed> cargo test --test laws <name of the test>`. To look
//! further than usual: `PROPTEST_CASES=<histories for each test>`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

mod acts;
mod bench;
mod check;
mod compaction;
mod compare;
mod fairness;
mod history;
#[path = "../support/kinds.rs"]
mod kinds;
mod life;
mod memories;
mod model;
mod opening;
mod past;
mod plant;
mod queues;
mod recordings;
mod remembered;
mod replays;
mod runs;
mod sizes;
mod stories;
mod turns;

use std::collections::VecDeque;

use ledgerun::clock::{Entropy as _, System};
use ledgerun::decide::{Policy, decide};
use ledgerun::domain::{Answer, Command, Lsn, QueueState};
use ledgerun::effects::reconcile;
use ledgerun::views::{ApplyError, Published, RecordingRow, RecordingState, Views};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestRunner};

use bench::Bench;
use history::{FAILED, Step, Submission, history};

/// Runs a history. The bench compares with the model and checks the laws on the way.
fn run(steps: &[Step]) -> Bench {
    let mut bench = Bench::new();
    for step in steps {
        bench.step(step);
    }
    bench
}

/// Puts `law` to at least so many histories.
fn histories(cases: u32, law: impl Fn(&[Step], Index)) {
    these_histories(cases.max(ProptestConfig::default().cases), law);
}

/// The same for a law whose cases take long: only so many, unless the environment asks for more.
fn few_histories(cases: u32, law: impl Fn(&[Step], Index)) {
    let asked = ledgerun::config::variable("PROPTEST_CASES").and_then(|asked| asked.parse().ok());
    these_histories(cases.max(asked.unwrap_or(0)), law);
}

#[expect(clippy::print_stdout, reason = "whoever sees it fail can repeat the run")]
fn these_histories(cases: u32, law: impl Fn(&[Step], Index)) {
    let given = ProptestConfig::default();
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => System.number(),
    };
    println!("PROPTEST_RNG_SEED={seed}");
    let seeds = FileFailurePersistence::Direct("tests/laws/histories.seeds");
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(seeds)),
        source_file: Some(file!()),
        ..given
    });
    let result = runner.run(&(history(0..50), any::<Index>()), |(steps, index)| {
        law(&steps, index);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\n{runner}");
    }
}

/// Decided events apply, encoding loses nothing, the model agrees at every step (all in the bench);
/// folding the log again gives the same state, and so does every prefix of it.
fn replay_equals_live(steps: &[Step], cut: Index) {
    let bench = run(steps);
    bench.compare_order();
    bench.compare_newest();
    let cut = cut.index(bench.log.len().max(1));
    let mut replayed = Published::default();
    for (index, record) in bench.log.iter().enumerate() {
        replayed.apply(record).unwrap();
        assert_eq!(replayed.views.digest(), bench.digest_at(record.lsn));
        if index == cut {
            check::conservation(&replayed);
        }
    }
    assert_eq!(replayed.digest(), bench.published.digest());
    assert_eq!(replayed.views.digest(), bench.staging.digest());
    check::conservation(&replayed);
}

/// So many histories in each of four tests, that they share the processors.
const EACH: u32 = 2_400;

#[test]
fn replay_equals_live_1() {
    histories(EACH, replay_equals_live);
}

#[test]
fn replay_equals_live_2() {
    histories(EACH, replay_equals_live);
}

#[test]
fn replay_equals_live_3() {
    histories(EACH, replay_equals_live);
}

#[test]
fn replay_equals_live_4() {
    histories(EACH, replay_equals_live);
}

/// A fold that takes over another's tables now and then, while that is ahead, goes on as if it had
/// not.
#[test]
fn sharing_changes_nothing() {
    histories(400, |steps, index| {
        let log = run(steps).log;
        let (every, lead) = (1 + index.index(8), index.index(5));
        let (mut ahead, mut behind, mut plain) = <(Views, Published, Published)>::default();
        let mut sent = VecDeque::new();
        for at in 0..log.len() + lead {
            if let Some(record) = log.get(at) {
                ahead.apply(record).unwrap();
                sent.push_back((at % every == 0).then(|| ahead.tables()));
            }
            if let Some(at) = at.checked_sub(lead) {
                behind.apply(&log[at]).unwrap();
                plain.apply(&log[at]).unwrap();
                if let Some(tables) = sent.pop_front().unwrap() {
                    behind.views.adopt(tables);
                }
                assert_eq!(behind.digest(), plain.digest());
            }
        }
        // What belongs to another position is not taken.
        behind.views.adopt(Views::default().tables());
        assert_eq!(behind.digest(), plain.digest());
        assert_eq!(ahead.digest(), plain.views.digest());
        check::conservation(&behind);
    });
}

/// A restart loses the attempts under way and nothing else: their jobs are pending again with the
/// retries they had, and there is nothing left to mend.
#[test]
fn restart_counts_nothing() {
    histories(400, |steps, _| {
        let mut bench = run(steps);
        let before = bench.retry_counts();
        bench.step(&Step::Crash(0));
        assert_eq!(before, bench.retry_counts());
        assert!(reconcile(&bench.staging).is_empty());
    });
}

/// A record that is missing, repeated or moved is noticed, and named.
#[test]
fn a_gap_is_named() {
    histories(200, |steps, at| {
        let bench = run(steps);
        if bench.log.len() < 2 {
            return;
        }
        let at = at.index(bench.log.len() - 1);
        let mut replayed = Published::default();
        for record in &bench.log[..at] {
            replayed.apply(record).unwrap();
        }
        let wrong = &bench.log[at + 1];
        let expected = ApplyError::Gap { expected: Lsn(at as u64 + 1), found: wrong.lsn };
        assert_eq!(replayed.apply(wrong), Err(expected));
    });
}

/// When nothing comes in any more, everything ends: no job is forgotten in some order, and nothing
/// keeps a queue from being forgotten when its results are.
#[test]
fn everything_ends() {
    histories(600, |steps, _| {
        let mut bench = run(steps);
        bench.run_dry();
        assert!(bench.model.jobs.values().all(|job| job.end.is_some()));
        let complete = |row: RecordingRow| row.state != RecordingState::Settling;
        assert!(bench.staging.recordings().all(complete));
        assert_eq!(bench.staging.ready_count() + bench.staging.waiting_count(), 0);
        let queues: Vec<_> = bench.staging.queues(None).map(|row| row.queue).collect();
        for queue in queues {
            if bench.staging.queue_state(queue) == Some(QueueState::Active) {
                bench.drain_queue(queue);
            }
            for job in bench.model.jobs.keys().copied().collect::<Vec<_>>() {
                if bench.model.jobs[&job].queue == Some(queue) {
                    bench.retire(job);
                }
            }
            bench.retire_queue(queue);
            assert_eq!(bench.staging.queue(queue), None);
        }
        bench.compare();
        check::conservation(&bench.published);
    });
}

/// The order of the log is the only thing that decides; a wrong link back is damage.
#[test]
fn a_wrong_link_back_is_refused() {
    let bench = run(&[Step::Register(0), Step::submit(0, 0, 2), Step::Cancel(0)]);
    let mut replayed = Published::default();
    for record in &bench.log[..2] {
        replayed.apply(record).unwrap();
    }
    let mut record = bench.log[2].clone();
    assert_eq!(record.prev, Lsn(2));
    record.prev = Lsn(1);
    let error = replayed.apply(&record).unwrap_err();
    assert_eq!(error, ApplyError::Link { lsn: Lsn(3), expected: Lsn(2), found: Lsn(1) });
}

/// Retries wait longer each time, within the bounds of the policy, whatever is drawn.
#[test]
fn backoff_doubles_within_its_bounds() {
    for jitter in [0, 1, 99, 100, 101, u64::MAX] {
        let mut bench = Bench::new();
        bench.policy = Policy { retries_max_default: 12, ..Policy::default() };
        bench.jitter = jitter;
        bench.step(&Step::Register(0));
        let plain = Submission::plain(0, 0, 2);
        bench.step(&Step::Submit(Submission { retries_max: 12, ..plain }));
        let mut waits = Vec::new();
        for _ in 0..12 {
            let attempt = bench.assign(0, 0).unwrap();
            let at = bench.now();
            bench.finish(attempt, FAILED);
            let due = bench.staging.next_due().unwrap();
            waits.push(due.since(at).0);
            bench.advance_to(due);
        }
        for (retry, wait) in (0..).zip(&waits) {
            let nominal = (200_u64 << retry).min(60_000);
            assert!((nominal / 2..=nominal).contains(wait), "retry {retry} waits {wait} ms");
        }
        assert_eq!(bench.staging.job(Lsn(2)).unwrap().retry_count, 12);
    }
}

/// Nothing is handed out a microsecond too early, and nothing wakes for what is not there.
#[test]
fn what_backs_off_waits_until_it_is_due() {
    let mut bench = Bench::new();
    bench.step(&Step::Register(0));
    bench.step(&Step::submit(0, 0, 2));
    let attempt = bench.assign(0, 0).unwrap();
    bench.finish(attempt, FAILED);
    let due = bench.staging.next_due().unwrap();
    bench.advance_to(ledgerun::domain::Timestamp(due.0 - 1));
    assert_eq!(bench.assign(0, 0), None);
    bench.advance_to(due);
    assert!(bench.assign(0, 0).is_some());
    assert_eq!(bench.staging.next_due(), None);
}

/// The answer to a command that was true already has no events.
#[test]
fn a_known_worker_is_registered_without_an_event() {
    let mut bench = Bench::new();
    bench.step(&Step::Register(0));
    let command = Command::RegisterWorker(history::worker(0));
    let decision = decide(&bench.staging, &command, &bench.facts()).unwrap();
    assert_eq!((decision.events.len(), decision.answer), (0, Answer::Done));
}
