//! What a finished job costs in memory, in the two folds that a service holds, and in the newest past states.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::VecDeque;
use std::sync::Arc;

use ledgerun::domain::{
    ActionId, AttemptNo, Blob, Cause, Event, Guid, Host, Lsn, ObjectRef, Outcome, QueueId, Run,
    RunnerName, Timestamp, Usage, WorkerId,
};
use ledgerun::engine::{Past, PastOptions};
use ledgerun::eventlog::{EventLog as _, MemoryLog};
use ledgerun::views::{Published, Views};

/// Most bytes of one, above which docs/architecture.md would be wrong. The log's index of its own
/// pages, which is not measured here, has room beside it in the 400 that are promised.
const BYTES_MAX: u64 = 350;
const FEW: usize = 10_000;
const MANY: usize = 110_000;
/// Attempts at once, so that jobs end in another order than they came.
const SLOTS: usize = 8;

/// The writer's fold and the published one, which takes over the writer's tables as in the engine,
/// and the newest past states.
struct Service {
    staging: Views,
    published: Published,
    shared_at: Lsn,
    past: Past,
}

impl Service {
    fn new() -> Self {
        let past = Past::open(PastOptions::default(), MemoryLog::new().reader());
        let (mut staging, published) = <(Views, Published)>::default();
        staging.keep_offers();
        Self { staging, published, shared_at: Lsn::ZERO, past }
    }

    fn push(&mut self, event: Event) -> Lsn {
        let at = Timestamp(i64::try_from(self.staging.lsn().0).unwrap());
        let record = self.staging.stamp(at, Cause::UNKNOWN, event);
        self.staging.apply(&record).unwrap();
        self.published.apply(&record).unwrap();
        let due = self.shared_at.0 + (self.staging.tables_cost() as u64).max(4_096);
        if record.lsn.0 >= due {
            self.published.views.adopt(self.staging.tables());
            self.shared_at = record.lsn;
        }
        if self.past.is_due(record.lsn) {
            self.past.follow(&Arc::new(self.published.clone()));
        }
        record.lsn
    }

    /// A job of an action of its own, handed out.
    fn start(&mut self, number: usize, queue: QueueId) -> Lsn {
        let job = self.push(Event::JobSubmitted {
            worker: WorkerId::of(b"w"),
            action: ActionId::of(&number.to_le_bytes()),
            function: "Test".into(),
            object: ObjectRef::Inline(Blob::default()),
            priority: 0,
            queue: Some(queue),
            retries_max: 2,
            run: Run::Opens,
            recorded: None,
        });
        let (attempt, queue) = (AttemptNo(1), Some(queue));
        let runner = RunnerName::local();
        self.push(Event::AttemptAssigned { execution: job, attempt, runner, queue });
        self.push(Event::AttemptStarted { execution: job, attempt, sandbox: "off".into() });
        job
    }

    fn finish(&mut self, job: Lsn) {
        let output = ObjectRef::Inline(Blob::default());
        self.push(Event::AttemptFinished {
            execution: job,
            attempt: AttemptNo(1),
            outcome: Outcome::Completed { output, cacheable: true, bytes: 100, stderr: None },
            usage: Usage::default(),
            retry_at: None,
        });
    }
}

/// Resident memory of this process, in bytes. There is one test in it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[test]
fn a_finished_job_takes_what_is_promised() {
    let mut service = Service::new();
    service.push(Event::WorkerRegistered {
        worker: WorkerId::of(b"w"),
        descriptor: ObjectRef::Inline(Blob::default()),
        name: "tester".into(),
        host: Host::Linux,
        build_system: Guid([1; 16]),
        functions: Vec::new(),
    });
    let queues: Vec<QueueId> = (1..=16).filter_map(QueueId::new).collect();
    for queue in &queues {
        service.push(Event::QueueCreated {
            queue: *queue,
            token: None,
            name: None,
            metadata: None,
            retries_max: None,
            expire_after: None,
            max_running: None,
        });
    }
    let mut running = VecDeque::new();
    let mut before = 0;
    for number in 0..MANY {
        if number == FEW {
            before = resident();
        }
        if running.len() == SLOTS {
            let job = running.remove(number % 3).unwrap();
            service.finish(job);
        }
        running.push_back(service.start(number, queues[number % queues.len()]));
    }
    let each = (resident() - before) / (MANY - FEW) as u64;
    assert!(each <= BYTES_MAX, "{each} bytes per finished job");
    // It was measured while it was there.
    assert_eq!(service.published.views.job_count(), MANY);
}
