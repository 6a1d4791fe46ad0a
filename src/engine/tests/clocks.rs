//! A wall clock that is set forward and back: the order of the log is that of its LSNs, nobody waits
//! for a time that doesn't come, and nothing goes because of a time that wasn't.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::*;
use crate::domain::{Answer, Failure, Millis, NewQueue, QueueId, QueueState, Timestamp};
use crate::engine::Keeping;

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const YEAR: i64 = 365 * 24 * 3_600_000;

/// Both clocks, set by hand, in milliseconds.
struct Hands {
    wall: AtomicI64,
    steady: AtomicU64,
    looks: AtomicU64,
}

impl Hands {
    fn new() -> Arc<Self> {
        let (wall, steady) = (AtomicI64::new(56 * YEAR), AtomicU64::new(0));
        Arc::new(Self { wall, steady, looks: AtomicU64::new(0) })
    }

    fn pass(&self, millis: u64) {
        self.steady.fetch_add(millis, Ordering::SeqCst);
        self.set(i64::try_from(millis).unwrap());
    }

    fn set(&self, by: i64) {
        self.wall.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Timestamp(self.wall.load(Ordering::SeqCst) * 1_000)
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(Ordering::SeqCst))
    }
}

async fn submit(bench: &Bench, number: u64) -> Lsn {
    let submit = Command::SubmitJob(job(number));
    bench.running.handle().execute(submit, Cause::UNKNOWN).await.unwrap().first
}

/// Waits, for half a minute at most.
async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..15_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never is so");
}

/// Gapless, and folded again the same state.
fn is_sound(log: &MemoryLog, bench: &Bench) {
    let records = log.live();
    assert!(records.iter().zip(1..).all(|(record, lsn)| record.lsn == Lsn(lsn)));
    let (lsn, digest) = bench.running.handle().read(|p| (p.lsn(), p.digest()));
    let again = folded(records.iter().filter(|record| record.lsn <= lsn));
    assert_eq!(again.digest(), digest);
}

#[tokio::test]
async fn a_clock_set_back_keeps_no_retry_waiting() {
    let (log, clock) = (MemoryLog::new(), Hands::new());
    let bench = open_at(log.clone(), &[], false, Arc::<Hands>::clone(&clock), Options::default());
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let first = submit(&bench, 1).await;
    let launched = || bench.runner.launched.lock().unwrap().clone();
    until(|| launched().len() == 1).await;
    let failure = Failure {
        kind: crate::domain::FailureKind::Exit,
        reason: "not yet".into(),
        exit_code: Some(1),
        signal: None,
        stderr: None,
    };
    let outcome = Outcome::Failed(failure);
    handle.report(Report::Finished { attempt: launched()[0], outcome, usage: Usage::default() });
    until(|| handle.read(|p| p.views.waiting_count()) == 1).await;
    assert_eq!(launched().len(), 1, "the clock stands still, so the retry is not due");
    clock.set(-YEAR);
    // Whatever comes next, at the latest the end of the wait as it was when it began.
    until(|| launched().len() == 2).await;
    assert_eq!(launched()[1].execution, launched()[0].execution);
    assert_eq!(handle.read(|p| p.views.job(first)).unwrap().retry_count, 1);
    // The times in the log go back, its order doesn't.
    let ats: Vec<Timestamp> = log.live().iter().map(|record| record.at).collect();
    assert!(!ats.is_sorted(), "{ats:?}");
    is_sound(&log, &bench);
}

async fn queue(bench: &Bench, idle: Millis) -> QueueId {
    let new = NewQueue { expire_after: Some(idle), ..NewQueue::default() };
    let create = Command::CreateQueue(new);
    let accepted = bench.running.handle().execute(create, Cause::UNKNOWN).await.unwrap();
    let Answer::QueueCreated { queue } = accepted.answer else { panic!("{accepted:?}") };
    queue
}

#[tokio::test]
async fn a_clock_set_forward_expires_no_queue_before_its_time() {
    let (log, clock) = (MemoryLog::new(), Hands::new());
    let bench = open_at(log.clone(), &[], false, Arc::<Hands>::clone(&clock), Options::default());
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let idle = queue(&bench, Millis(15 * MINUTE)).await;
    let state = || handle.read(|p| p.views.queue_state(idle));
    clock.pass(10 * MINUTE);
    clock.set(YEAR);
    for number in 1..4 {
        // Every command has the writer look for queues that are due.
        submit(&bench, number).await;
        assert_eq!(state(), Some(QueueState::Active));
        clock.pass(4 * MINUTE);
    }
    clock.pass(10 * MINUTE);
    submit(&bench, 9).await;
    until(|| state() == Some(QueueState::Expired)).await;
    is_sound(&log, &bench);
}

#[tokio::test]
async fn a_clock_set_forward_retires_no_result_before_its_time() {
    let (log, clock) = (MemoryLog::new(), Hands::new());
    let week = Duration::from_millis(7 * DAY);
    let keeping = Keeping { result_age_max: Some(week), ..Keeping::default() };
    let options = Options { keeping, ..Options::default() };
    let bench = open_at(log.clone(), &[], true, Arc::<Hands>::clone(&clock), options);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let before = submit(&bench, 1).await;
    let state = |job| handle.read(|p| p.views.job_state(job));
    until(|| state(before) == Some(JobState::Completed)).await;
    // Nobody else looks at the clock meanwhile, so two looks more are the keeper's.
    let looked = async || {
        let seen = clock.looks.load(Ordering::SeqCst);
        until(|| clock.looks.load(Ordering::SeqCst) >= seen + 2).await;
    };
    looked().await;
    clock.pass(DAY);
    clock.set(YEAR);
    looked().await;
    assert_eq!(state(before), Some(JobState::Completed));
    let after = submit(&bench, 2).await;
    until(|| state(after) == Some(JobState::Completed)).await;
    clock.pass(6 * DAY + MINUTE);
    until(|| state(before).is_none()).await;
    assert_eq!(state(after), Some(JobState::Completed), "its week is not over");
    clock.pass(DAY);
    until(|| state(after).is_none()).await;
    is_sound(&log, &bench);
}
