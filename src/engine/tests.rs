//! The engine against a log that can stop, fail or forget at any sync.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Boot, Error, Options, Parts, PastOptions, Running, Status};
use crate::chunks;
use crate::clock::{Clock, System};
use crate::domain::{
    ActionId, AttemptRef, Blob, Cause, Command, Event, Guid, Host, JobState, Lsn, NewJob,
    NewWorker, ObjectRef, Outcome, Record, RunnerName, Target, Usage, WorkerId,
};
use crate::eventlog::{self, EventLog, LogReader, MemoryLog};
use crate::runner::{Launch, Report, Reports, Runner};
use crate::views::Published;

mod ahead;
mod clocks;
mod queues;
mod recordings;

/// Completes every attempt at once, or, when told to, never reports.
struct InstantRunner {
    reports: Box<dyn Reports>,
    reports_ends: bool,
    launched: Mutex<Vec<AttemptRef>>,
    killed: Mutex<Vec<AttemptRef>>,
}

impl Runner for InstantRunner {
    fn name(&self) -> RunnerName {
        RunnerName::local()
    }

    fn host(&self) -> Host {
        Host::Linux
    }

    fn slots(&self) -> usize {
        2
    }

    fn launch(&self, launch: Launch) {
        let attempt = launch.attempt;
        self.launched.lock().unwrap().push(attempt);
        self.reports.report(Report::Started { attempt, sandbox: "off".into() });
        if self.reports_ends {
            let output = ObjectRef::Inline(Blob(launch.action));
            let outcome = Outcome::Completed { output, cacheable: true, bytes: 6, stderr: None };
            self.reports.report(Report::Finished { attempt, outcome, usage: Usage::default() });
        }
    }

    fn kill(&self, attempt: AttemptRef) {
        self.killed.lock().unwrap().push(attempt);
    }

    fn stop(&self, _grace: Duration) {}
}

/// An engine with everything that has to outlive it.
struct Bench {
    running: Running,
    runner: Arc<InstantRunner>,
    _chunks: tempfile::TempDir,
}

/// The state after these records, the first ones of a log.
fn folded<'a>(records: impl IntoIterator<Item = &'a Record>) -> Published {
    let mut state = Published::default();
    for record in records {
        state.apply(record).unwrap();
    }
    state
}

fn open(log: impl EventLog + 'static, records: &[Record], reports_ends: bool) -> Bench {
    open_at(log, records, reports_ends, Arc::new(System), Options::default())
}

/// The same with another clock, and told what to keep.
fn open_at(
    log: impl EventLog + 'static,
    records: &[Record],
    reports_ends: bool,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let chunks = chunks::Store::open(dir.path(), chunks::Options::default()).unwrap();
    let boot = Boot::new();
    let published = folded(records);
    let reports = Box::new(boot.handle());
    let runner = Arc::new(InstantRunner {
        reports,
        reports_ends,
        launched: Mutex::default(),
        killed: Mutex::default(),
    });
    let parts = Parts {
        options,
        log: Box::new(log),
        published,
        past: PastOptions::default(),
        chunks,
        runner: Some(Arc::<InstantRunner>::clone(&runner)),
        clock,
        entropy: Arc::new(System),
    };
    Bench { running: boot.open(parts).unwrap(), runner, _chunks: dir }
}

const WORKER: &[u8] = b"the descriptor";

fn register() -> Command {
    Command::RegisterWorker(NewWorker {
        worker: WorkerId::of(WORKER),
        descriptor: ObjectRef::Inline(Blob(WORKER.into())),
        name: "tester".into(),
        host: Host::Linux,
        build_system: Guid([1; 16]),
        functions: Vec::new(),
    })
}

fn job(number: u64) -> NewJob {
    let object = number.to_string().into_bytes();
    NewJob {
        target: Target::Worker(WorkerId::of(WORKER)),
        action: ActionId::of(&object),
        function: "Test".into(),
        object: ObjectRef::Inline(Blob(object.into())),
        priority: 2,
        queue: None,
        fresh: false,
        replayed: None,
    }
}

/// What a client was told, with the number of syncs there had been when it was.
type Acknowledged = Vec<(u64, Lsn, JobState)>;

/// Submits, shares, cancels and retires until it is done or the log fails.
async fn workload(bench: &Bench, log: &MemoryLog) -> Acknowledged {
    let handle = bench.running.handle();
    let mut acknowledged = Vec::new();
    if handle.execute(register(), Cause::UNKNOWN).await.is_err() {
        return acknowledged;
    }
    let mut ended = handle.watch_ended();
    for number in [1, 2, 1, 3, 4] {
        let submit = Command::SubmitJob(job(number));
        let Ok(accepted) = handle.execute(submit, Cause::UNKNOWN).await else { break };
        acknowledged.push((log.syncs(), accepted.first, JobState::Pending));
        if number == 4 {
            let cancel = Command::CancelJob { job: accepted.first };
            if handle.execute(cancel, Cause::UNKNOWN).await.is_ok() {
                acknowledged.push((log.syncs(), accepted.first, JobState::Cancelled));
            }
            continue;
        }
        let finished = async {
            while handle.read(|p| p.views.job_state(accepted.first)) != Some(JobState::Completed) {
                ended.changed().await.unwrap();
            }
        };
        // Ends without the completion when the log has failed meanwhile.
        tokio::select! {
            () = finished => acknowledged.push((log.syncs(), accepted.first, JobState::Completed)),
            () = failed(&handle) => break,
        }
    }
    acknowledged
}

/// Returns when the engine is poisoned.
async fn failed(handle: &super::Handle) {
    while !matches!(handle.status(), Status::Poisoned(_)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_at_every_sync() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], true);
    workload(&bench, &log).await;
    let syncs = log.syncs();
    drop(bench);
    // The worker, five submissions, three runs and a cancellation, each waited for.
    assert!(syncs >= 10, "the workload must sync often, not {syncs} times");
    for cut in 1..=syncs {
        let log = MemoryLog::new().freeze_at(cut);
        let bench = open(log.clone(), &[], true);
        let acknowledged = workload(&bench, &log).await;
        let survivors = log.surviving().live();
        let views = folded(&survivors);
        for (at, job, state) in acknowledged.into_iter().filter(|(at, ..)| *at < cut) {
            let found = views.views.job_state(job);
            assert!(found.is_some(), "cut {cut}: job {job}, told after sync {at}, is lost");
            if state.is_final() {
                assert_eq!(found, Some(state), "cut {cut}: the end of job {job} is lost");
            }
        }
    }
}

#[tokio::test]
async fn a_failing_log_stops_everything_and_shows_nothing_of_the_round() {
    for at in 1..6 {
        let log = MemoryLog::new().failing_at(at);
        let mut bench = open(log.clone(), &[], true);
        workload(&bench, &log).await;
        let handle = bench.running.handle();
        failed(&handle).await;
        let seen = handle.read(Published::lsn);
        assert!(seen.0 < log.live().len() as u64, "a record of the failed round was published");
        assert_eq!(handle.durable(), seen);
        let refused = handle.execute(Command::SubmitJob(job(9)), Cause::UNKNOWN).await;
        assert_eq!(refused, Err(Error::Poisoned));
        assert!(matches!(bench.running.ended().await, super::Stopped::Failed(_)));
    }
}

/// A log whose appends wait until they are let through.
struct GatedLog {
    log: MemoryLog,
    entered: Sender<u64>,
    gate: Receiver<()>,
}

impl EventLog for GatedLog {
    fn append(&mut self, records: &[Record]) -> Result<(), eventlog::Error> {
        self.log.append(records)?;
        self.entered.send(records.len() as u64).unwrap();
        // A closed gate stays open.
        let _ = self.gate.recv();
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }

    fn sync_mark(&mut self) -> Result<(), eventlog::Error> {
        self.log.sync_mark()
    }
}

#[tokio::test]
async fn nobody_sees_or_hears_of_a_record_before_its_append_returns() {
    let (entered, entries) = channel();
    let (open_gate, gate) = channel();
    let bench = open(GatedLog { log: MemoryLog::new(), entered, gate }, &[], false);
    let handle = bench.running.handle();
    let client = handle.clone();
    let asked = tokio::spawn(async move { client.execute(register(), Cause::UNKNOWN).await });
    let records = tokio::task::spawn_blocking(move || entries.recv().unwrap()).await.unwrap();
    assert_eq!(records, 1);
    assert_eq!(handle.read(Published::lsn), Lsn::ZERO);
    assert_eq!(handle.durable(), Lsn::ZERO);
    assert!(!asked.is_finished());
    open_gate.send(()).unwrap();
    let accepted = asked.await.unwrap().unwrap();
    assert_eq!(accepted.last, Lsn(1));
    assert_eq!(handle.read(Published::lsn), Lsn(1));
    drop(open_gate);
}

#[tokio::test]
async fn a_batch_gets_consecutive_lsns_and_bounded_appends() {
    let log = MemoryLog::new();
    let (entered, entries) = channel();
    let (open_gate, gate) = channel::<()>();
    drop(open_gate);
    let bench = open(GatedLog { log, entered, gate }, &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let count = super::BATCH_EVENTS_MAX as u64 + 1_000;
    let mut jobs: Vec<NewJob> = (0..count).map(job).collect();
    jobs[7].target = Target::Worker(WorkerId::of(b"nobody"));
    let results = handle.submit_batch(jobs, Cause::UNKNOWN).await.unwrap();
    assert!(results[7].is_err());
    let lsns: Vec<u64> = results.iter().flatten().map(|accepted| accepted.first.0).collect();
    assert_eq!(lsns.len() as u64, count - 1);
    assert!(lsns.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(entries.try_iter().all(|records| records <= super::BATCH_EVENTS_MAX as u64));
    let held: u64 = handle.read(|p| JobState::ALL.iter().map(|s| p.listing.count(*s)).sum());
    assert_eq!(held, count - 1);
}

/// The published views and the writer's hold what has not changed once, and nobody can tell.
#[tokio::test]
async fn the_two_copies_of_the_views_share_what_is_old() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let count = super::BATCH_EVENTS_MAX as u64 + 100;
    handle.submit_batch((0..count).map(job).collect(), Cause::UNKNOWN).await.unwrap();
    // Its answer comes after what the rounds of the batch shared was taken over.
    let cancel = Command::CancelJob { job: Lsn(2_000) };
    handle.execute(cancel, Cause::UNKNOWN).await.unwrap();
    let (lsn, digest) = handle.read(|p| (p.lsn(), p.digest()));
    let (shared, segments) = handle.read(|p| (p.views.segments_shared(), p.views.tables_cost()));
    assert!(shared > segments * 3 / 4, "{shared} of {segments} segments");
    let replayed = folded(log.live().iter().filter(|record| record.lsn <= lsn));
    assert_eq!(replayed.digest(), digest);
}

#[tokio::test]
async fn attempts_under_way_at_a_crash_are_lost_and_run_again_at_no_cost() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let accepted = handle.execute(Command::SubmitJob(job(1)), Cause::UNKNOWN).await.unwrap();
    let mut durable = handle.watch_durable();
    while handle.read(|p| p.views.job_state(accepted.first)) != Some(JobState::Running) {
        durable.changed().await.unwrap();
    }
    let survivors = log.surviving();
    drop(bench);

    let records = survivors.live();
    let bench = open(survivors.clone(), &records, true);
    let handle = bench.running.handle();
    let mut ended = handle.watch_ended();
    while handle.read(|p| p.views.job_state(accepted.first)) != Some(JobState::Completed) {
        ended.changed().await.unwrap();
    }
    let row = handle.read(|p| p.views.job(accepted.first)).unwrap();
    assert_eq!(row.retry_count, 0);
    let launched = bench.runner.launched.lock().unwrap().clone();
    assert_eq!(launched.len(), 1);
    assert_eq!(launched[0].attempt.0, 2, "the second try is fenced from the first");
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for record in survivors.live() {
        let name = match record.event {
            Event::AttemptLost { .. } => "lost",
            Event::AttemptFinished { .. } => "finished",
            _ => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([("finished", 1), ("lost", 1)]));
}

#[tokio::test]
async fn a_clean_stop_answers_what_came_before_it() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], true);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let accepted = handle.execute(Command::SubmitJob(job(1)), Cause::UNKNOWN).await.unwrap();
    let Bench { running, runner, .. } = bench;
    tokio::task::spawn_blocking(move || running.stop(Duration::from_secs(1)))
        .await
        .unwrap()
        .unwrap();
    drop(runner);
    assert!(handle.read(|p| p.views.job_state(accepted.first)).is_some());
    let refused = handle.execute(Command::SubmitJob(job(2)), Cause::UNKNOWN).await;
    assert_eq!(refused, Err(Error::Stopping));
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_waits_for_all_that_was_queued_before() {
    let bench = open(MemoryLog::new(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    for round in 1..=20 {
        // Whoever submits has gone before the answer, and so has its hold on chunks.
        for number in 0..10 {
            let submit = Command::SubmitJob(job(round * 10 + number));
            let mut waiting = Box::pin(handle.execute(submit, Cause::UNKNOWN));
            let poll = std::future::poll_fn(|context| {
                std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())
            });
            let _answered_at_once = poll.await;
        }
        let waiting = handle.clone();
        tokio::task::spawn_blocking(move || waiting.settle_blocking()).await.unwrap().unwrap();
        let worker = WorkerId::of(WORKER);
        let submitted = handle.read(|published| published.views.open_jobs(worker));
        assert_eq!(submitted, round * 10);
    }
}
