//! Stories, told as the events they lead to and the state they end in.

use std::fmt::Write as _;

use ledgerun::domain::FailureKind;

use super::bench::Bench;
use super::history::{Ending, Settings, Step, Submission, Target};

pub(crate) const FAIL: Step = Step::Finish(0, Ending::Failed(FailureKind::Exit));
pub(crate) const COMPLETE: Step = Step::Finish(0, Ending::Completed { cacheable: true });
pub(crate) const ASSIGN: Step = Step::Assign(0, 0);

/// A submission of the first action to the first worker with this many retries.
const fn shared(retries_max: u32, priority: i32) -> Step {
    Step::Submit(Submission { retries_max, ..Submission::plain(0, 0, priority) })
}

/// Each step with its events, then the whole state.
pub(crate) fn tell(steps: &[Step]) -> String {
    let mut bench = Bench::new();
    let mut text = String::new();
    for step in steps {
        let before = bench.log.len();
        bench.step(step);
        writeln!(text, "{step:?}").unwrap();
        // Less than before when the service died and forgot.
        for record in bench.log.get(before..).unwrap_or_default() {
            let event = serde_json::to_string(&record.event).unwrap();
            writeln!(text, "  {} after {}: {event}", record.lsn, record.prev).unwrap();
        }
    }
    write!(text, "\n{}", bench.staging).unwrap();
    text
}

/// The first job has no retry left and ends alone, the others share the next try.
#[test]
fn each_sharer_applies_its_own_limit() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(0, 2),
        shared(1, 2),
        shared(2, 2),
        ASSIGN,
        Step::Start(0),
        FAIL,
        Step::Advance(60_000),
        ASSIGN,
        FAIL,
        // Its limit is reached, so nothing.
        Step::Reschedule(0),
    ]));
}

/// The process ends only with the last job that wants it.
#[test]
fn one_of_several_sharers_is_cancelled() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(3, 5),
        shared(3, 1),
        ASSIGN,
        Step::Start(0),
        Step::Cancel(0),
        Step::Cancel(0),
        Step::Cancel(1),
        Step::Late,
    ]));
}

/// The result serves until the last job that refers to it is retired.
#[test]
fn a_result_is_reused_while_a_job_holds_it() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(3, 2),
        ASSIGN,
        COMPLETE,
        shared(3, 2),
        Step::Retire(0),
        shared(3, 2),
        Step::Retire(1),
        Step::Retire(2),
        shared(3, 2),
    ]));
}

#[test]
fn retracting_keeps_the_retry_count_and_looks_for_another_runner() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::Runners(2),
        shared(3, 2),
        ASSIGN,
        FAIL,
        Step::Advance(60_000),
        ASSIGN,
        Step::Retract(0),
        Step::Retract(0),
        // Not for the one it was pulled back from, while there is another.
        ASSIGN,
        Step::Assign(1, 0),
        Step::Retract(0),
        Step::Runners(1),
        Step::Assign(1, 0),
    ]));
}

#[test]
fn a_restart_loses_attempts_and_nothing_else() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(1, 2),
        Step::submit(0, 1, 2),
        ASSIGN,
        Step::Start(0),
        ASSIGN,
        Step::Crash(0),
        Step::Late,
        ASSIGN,
    ]));
}

#[test]
fn the_most_urgent_then_the_oldest_runs_first() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::submit(0, 0, 2),
        Step::submit(0, 1, 2),
        Step::submit(0, 2, 3),
        // Raises what it shares above all.
        shared(3, 4),
        Step::Priority(1, 3),
        ASSIGN,
        ASSIGN,
        ASSIGN,
    ]));
}

#[test]
fn the_newest_registered_worker_gets_the_function() {
    let submit = |action| {
        let target = Target::Function(0);
        Step::Submit(Submission { target, ..Submission::plain(0, action, 2) })
    };
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::Register(1),
        submit(0),
        Step::RetireWorker(0),
        Step::Register(0),
        submit(1),
        Step::RetireWorker(0),
    ]));
}

#[test]
fn a_lost_input_ends_at_once_and_may_be_rescheduled() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(2, 2),
        ASSIGN,
        Step::Finish(0, Ending::Failed(FailureKind::InputLost)),
        Step::Reschedule(0),
        ASSIGN,
        Step::Finish(0, Ending::Failed(FailureKind::RunnerLost)),
        Step::Advance(60_000),
        ASSIGN,
        Step::Finish(0, Ending::Failed(FailureKind::RunnerLost)),
    ]));
}

#[test]
fn a_fresh_run_is_what_others_join() {
    let plain = Submission::plain(0, 0, 2);
    let fresh = Step::Submit(Submission { fresh: true, retries_max: 0, ..plain });
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        shared(3, 2),
        ASSIGN,
        COMPLETE,
        fresh,
        shared(3, 2),
        ASSIGN,
        Step::Finish(0, Ending::Completed { cacheable: false }),
        shared(3, 2),
    ]));
}

const QUEUE: Settings = Settings {
    retries_max: None,
    expire_after: None,
    max_running: None,
    default_expire_after: None,
};

/// It is drained, its job goes on to its end and through a retry, and then it is complete; when its
/// result is let go, it is forgotten.
#[test]
fn a_queue_is_drained_and_forgotten() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::CreateQueue(Settings { retries_max: Some(1), ..QUEUE }),
        Step::submit_to(0, 0, 2),
        ASSIGN,
        Step::DrainQueue(0),
        Step::submit_to(0, 1, 2),
        FAIL,
        Step::Advance(60_000),
        ASSIGN,
        COMPLETE,
        Step::RetireQueue(0),
        Step::RetireMany(vec![0]),
        Step::RetireQueue(0),
        Step::submit_to(0, 1, 2),
    ]));
}

/// What the other queue wants goes on, on the account of the one that is gone.
#[test]
fn a_queue_is_cancelled_under_another() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::CreateQueue(QUEUE),
        Step::CreateQueue(QUEUE),
        Step::submit_to(0, 0, 2),
        Step::submit_to(0, 1, 2),
        Step::submit_to(0, 2, 2),
        Step::submit_to(1, 0, 1),
        ASSIGN,
        ASSIGN,
        Step::CancelQueue(0),
        Step::Late,
        COMPLETE,
    ]));
}

/// A job and a request each begin its time anew.
#[test]
fn an_idle_queue_expires() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::CreateQueue(Settings { expire_after: Some(1_000), ..QUEUE }),
        Step::Advance(999),
        Step::ExpireQueue(0, 5_000),
        Step::submit_to(0, 0, 2),
        Step::Advance(1_000),
        Step::ExpireQueue(0, 5_000),
        Step::Cancel(0),
        Step::Advance(1_000),
        Step::ExpireQueue(0, 500),
        Step::ExpireQueue(0, 1_000),
        Step::submit_to(0, 0, 2),
        Step::DrainQueue(0),
    ]));
}

/// Two queues and the jobs outside take turns; the limit of one lets the others go first.
#[test]
fn queues_take_turns() {
    insta::assert_snapshot!(tell(&[
        Step::Register(0),
        Step::CreateQueue(Settings { max_running: Some(1), ..QUEUE }),
        Step::CreateQueue(QUEUE),
        Step::submit_to(0, 0, 2),
        Step::submit_to(0, 1, 2),
        Step::submit_to(0, 2, 3),
        Step::submit_to(1, 3, 2),
        Step::submit_to(1, 4, 2),
        Step::submit(0, 5, 2),
        ASSIGN,
        ASSIGN,
        ASSIGN,
        COMPLETE,
        ASSIGN,
        ASSIGN,
        ASSIGN,
    ]));
}
