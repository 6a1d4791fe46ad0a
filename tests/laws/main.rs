//! The laws of the core, on random histories of commands.
//!
//! Every command of a history is decided, encoded, decoded and applied as the service would, and a
//! naive model that knows nothing of events or indexes says what must be true afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

mod acts;
mod bench;
mod check;
mod history;
#[path = "../support/kinds.rs"]
mod kinds;
mod model;
mod sizes;
mod stories;

use ledgerun::decide::{Policy, decide};
use ledgerun::domain::{Answer, Command, Lsn};
use ledgerun::effects::reconcile;
use ledgerun::views::{ApplyError, Published};
use proptest::prelude::*;

use bench::Bench;
use history::{Step, history};

/// Runs a history. The bench compares with the model and checks the laws on the way.
fn run(steps: &[Step]) -> Bench {
    let mut bench = Bench::new();
    for step in steps {
        bench.step(step);
    }
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Decided events apply, encoding loses nothing, the model agrees at every step (all in the
    /// bench); folding the log again gives the same state, and so does every prefix of it.
    #[test]
    fn replay_equals_live(steps in history(0..60), cut in any::<prop::sample::Index>()) {
        let bench = run(&steps);
        let cut = cut.index(bench.log().len());
        let mut replayed = Published::default();
        for (index, record) in bench.log().iter().enumerate() {
            replayed.apply(record).unwrap();
            prop_assert_eq!(replayed.views.digest(), bench.digest_at(record.lsn));
            if index == cut {
                check::conservation(&replayed);
            }
        }
        prop_assert_eq!(replayed.digest(), bench.published().digest());
        prop_assert_eq!(replayed.views.digest(), bench.staging().digest());
        check::conservation(&replayed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A restart loses the attempts under way and nothing else: their jobs are pending again with
    /// the retries they had, and there is nothing left to mend.
    #[test]
    fn restart_counts_nothing(steps in history(0..60)) {
        let mut bench = run(&steps);
        let before = bench.retry_counts();
        bench.restart();
        prop_assert_eq!(before, bench.retry_counts());
        prop_assert!(reconcile(bench.staging()).is_empty());
        prop_assert_eq!(bench.staging().attempts_under_way().count(), 0);
    }

    /// A record that is missing, repeated or moved is noticed, and named.
    #[test]
    fn a_gap_is_named(steps in history(5..60), at in any::<prop::sample::Index>()) {
        let bench = run(&steps);
        prop_assume!(bench.log().len() > 1);
        let at = at.index(bench.log().len() - 1);
        let mut replayed = Published::default();
        for record in &bench.log()[..at] {
            replayed.apply(record).unwrap();
        }
        let wrong = &bench.log()[at + 1];
        let expected = ApplyError::Gap { expected: Lsn(at as u64 + 1), found: wrong.lsn };
        prop_assert_eq!(replayed.apply(wrong), Err(expected));
    }

    /// When nothing comes in any more, everything ends: no job is forgotten in some order.
    #[test]
    fn everything_ends(steps in history(0..60)) {
        let mut bench = run(&steps);
        bench.drain();
        prop_assert_eq!(bench.open_jobs(), 0);
        prop_assert_eq!(bench.staging().ready_count() + bench.staging().waiting_count(), 0);
    }
}

/// The order of the log is the only thing that decides; a wrong link back is damage.
#[test]
fn a_wrong_link_back_is_refused() {
    let bench = run(&[Step::Register(0), Step::submit(0, 0, 2), Step::Cancel(0)]);
    let mut replayed = Published::default();
    for record in &bench.log()[..2] {
        replayed.apply(record).unwrap();
    }
    let mut record = bench.log()[2].clone();
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
        bench.step(&Step::Submit {
            target: history::Target::Worker(0),
            action: 0,
            priority: 2,
            fresh: false,
            retries_max: 12,
        });
        let mut waits = Vec::new();
        for _ in 0..12 {
            let attempt = bench.assign(0, 0).unwrap();
            let at = bench.now();
            bench.fail(attempt);
            let due = bench.staging().next_due().unwrap();
            waits.push(due.since(at).0);
            bench.advance_to(due);
        }
        for (retry, wait) in (0..).zip(&waits) {
            let nominal = (200_u64 << retry).min(60_000);
            assert!((nominal / 2..=nominal).contains(wait), "retry {retry} waits {wait} ms");
        }
        assert_eq!(bench.staging().job(Lsn(2)).unwrap().retry_count, 12);
    }
}

/// Nothing is handed out a microsecond too early, and nothing wakes for what is not there.
#[test]
fn what_backs_off_waits_until_it_is_due() {
    let mut bench = Bench::new();
    bench.step(&Step::Register(0));
    bench.step(&Step::submit(0, 0, 2));
    let attempt = bench.assign(0, 0).unwrap();
    bench.fail(attempt);
    let due = bench.staging().next_due().unwrap();
    bench.advance_to(ledgerun::domain::Timestamp(due.0 - 1));
    assert_eq!(bench.assign(0, 0), None);
    bench.advance_to(due);
    assert!(bench.assign(0, 0).is_some());
    assert_eq!(bench.staging().next_due(), None);
}

/// The answer to a command that was true already has no events.
#[test]
fn a_known_worker_is_registered_without_an_event() {
    let mut bench = Bench::new();
    bench.step(&Step::Register(0));
    let command = Command::RegisterWorker(history::worker(0));
    let decision = decide(bench.staging(), &command, &bench.facts()).unwrap();
    assert_eq!((decision.events.len(), decision.answer), (0, Answer::Done));
}
