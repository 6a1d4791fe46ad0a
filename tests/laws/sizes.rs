//! The largest of every event fits into a record, and what is larger is refused or cut.

use std::collections::BTreeSet;

use ledgerun::decide::{Facts, Policy, decide};
use ledgerun::domain::event::{
    GAVE_UP_LEN_MAX, REASON_BYTES_MAX, RETIRED_LEN_MAX, SANDBOX_BYTES_MAX, TAIL_INLINE_BYTES_MAX,
};
use ledgerun::domain::object::INLINE_BYTES_MAX;
use ledgerun::domain::worker::{FUNCTIONS_MAX, NAME_BYTES_MAX};
use ledgerun::domain::{
    ActionId, AttemptNo, AttemptRef, Blob, Cause, Command, Event, Failure, FailureKind, Function,
    Guid, Host, Lsn, Millis, NewJob, NewQueue, NewWorker, ObjectId, ObjectRef, Outcome, QueueId,
    Record, Rejection, Run, RunnerName, Tail, Target, Timestamp, TokenHash, Usage, WorkerId,
};
use ledgerun::eventlog::codec::{Chain, Encoder};
use ledgerun::views::Views;

use crate::kinds::{KINDS, kind};
use crate::plant::Plant;
use crate::remembered;

/// What a value may take; the rest of a record's limit is for fields to come.
pub(crate) const VALUE_BYTES_MAX: usize = 4_000;

pub(crate) const LAST: Lsn = Lsn(u64::MAX);
const LAST_ATTEMPT: AttemptNo = AttemptNo(u32::MAX);

pub(crate) fn facts() -> Facts {
    Facts { now: Timestamp(i64::MAX / 2), jitter: 1, policy: Policy::default(), runners: 1 }
}

pub(crate) fn cause() -> Cause {
    Cause { session: Some(ObjectId([255; 12])), request: Some(u64::MAX) }
}

pub(crate) fn name(length: usize) -> String {
    "\u{e9}".repeat(length / 2)
}

pub(crate) fn object(bytes: usize) -> ObjectRef {
    ObjectRef::Inline(Blob(vec![0xff; bytes].into()))
}

fn tail(bytes: usize) -> Tail {
    Tail::Inline(name(bytes))
}

pub(crate) fn new_worker(functions: usize) -> NewWorker {
    let function = Function { name: name(NAME_BYTES_MAX), version: Guid([255; 16]) };
    NewWorker {
        worker: WorkerId::of(b"w"),
        descriptor: object(INLINE_BYTES_MAX),
        name: name(NAME_BYTES_MAX),
        host: Host::Other(name(NAME_BYTES_MAX)),
        build_system: Guid([255; 16]),
        functions: vec![function; functions],
    }
}

fn new_job() -> NewJob {
    NewJob {
        target: Target::Worker(WorkerId::of(b"w")),
        action: ActionId::of(b"a"),
        function: name(NAME_BYTES_MAX),
        object: object(INLINE_BYTES_MAX),
        priority: i32::MIN,
        queue: QueueId::new(1),
        fresh: false,
        replayed: None,
    }
}

/// The largest queue: every field at its limit.
fn new_queue() -> NewQueue {
    NewQueue {
        token: Some(TokenHash([255; 32])),
        name: Some(name(NAME_BYTES_MAX)),
        metadata: Some(Blob(vec![0xff; INLINE_BYTES_MAX].into())),
        retries_max: Some(u32::MAX),
        expire_after: Some(Millis(u64::MAX)),
        max_running: Some(u32::MAX),
    }
}

/// Accepts a command, and folds what it leads to.
pub(crate) fn accept(views: &mut Views, command: &Command) -> Vec<Event> {
    let decision = decide(views, command, &facts()).unwrap();
    for event in &decision.events {
        let record = views.stamp(facts().now, cause(), event.clone());
        views.apply(&record).unwrap();
    }
    decision.events
}

/// A state in which an attempt of one execution runs.
fn running() -> (Views, AttemptRef, Vec<Event>) {
    let mut views = Views::default();
    let mut events = accept(&mut views, &Command::RegisterWorker(new_worker(FUNCTIONS_MAX)));
    events.extend(accept(&mut views, &Command::CreateQueue(new_queue())));
    events.extend(accept(&mut views, &Command::SubmitJob(new_job())));
    let runner = RunnerName(name(NAME_BYTES_MAX).into());
    let host = Host::Other(name(NAME_BYTES_MAX));
    events.extend(accept(&mut views, &Command::Assign { runner, host }));
    let (attempt, _) = views.attempts_under_way().next().unwrap();
    let sandbox = name(10 * SANDBOX_BYTES_MAX);
    events.extend(accept(&mut views, &Command::StartAttempt { attempt, sandbox }));
    (views, attempt, events)
}

fn finish(attempt: AttemptRef, outcome: Outcome) -> Command {
    let usage = Usage { cpu_ms: u64::MAX, peak_rss_bytes: u64::MAX };
    Command::FinishAttempt { attempt, outcome, usage }
}

fn completed(output: usize, stderr: usize) -> Outcome {
    Outcome::Completed {
        output: object(output),
        cacheable: false,
        bytes: u64::MAX,
        stderr: Some(tail(stderr)),
    }
}

fn failed(reason: usize, stderr: usize) -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::RunnerLost,
        reason: name(reason),
        exit_code: Some(i32::MIN),
        signal: Some(i32::MIN),
        stderr: Some(tail(stderr)),
    })
}

/// The largest of what the rules make, and by hand of what is numbers only.
fn largest() -> Vec<Event> {
    let (views, attempt, mut events) = running();
    for outcome in [
        completed(INLINE_BYTES_MAX, TAIL_INLINE_BYTES_MAX),
        failed(100 * REASON_BYTES_MAX, TAIL_INLINE_BYTES_MAX),
    ] {
        events.extend(accept(&mut views.clone(), &finish(attempt, outcome)));
    }
    events.extend(accept(&mut views.clone(), &Command::RetractJob { job: attempt.execution }));
    let stop = AttemptRef { execution: LAST, attempt: LAST_ATTEMPT };
    events.extend([
        Event::WorkerRetired { worker: WorkerId::of(b"w") },
        Event::JobCancelled { job: LAST, stop: Some(stop) },
        Event::JobReprioritised { job: LAST, priority: i32::MIN },
        Event::JobRescheduled {
            job: LAST,
            retry_count: u32::MAX,
            run: Run::Joins(LAST),
            former: LAST,
        },
        Event::JobRetired { job: LAST },
        Event::JobsGaveUp { execution: LAST, abandoned: true, jobs: vec![LAST; GAVE_UP_LEN_MAX] },
        Event::AttemptLost { execution: LAST, attempt: LAST_ATTEMPT },
        Event::JobsRetired { jobs: vec![LAST; RETIRED_LEN_MAX] },
    ]);
    let queue = QueueId::new(u32::MAX).unwrap();
    // As the rules made them, but with the longest number.
    events.extend(events.clone().into_iter().filter_map(|event| match event {
        Event::QueueCreated {
            token,
            name,
            metadata,
            retries_max,
            expire_after,
            max_running,
            ..
        } => Some(Event::QueueCreated {
            queue,
            token,
            name,
            metadata,
            retries_max,
            expire_after,
            max_running,
        }),
        Event::AttemptAssigned { execution, attempt, runner, .. } => {
            Some(Event::AttemptAssigned { execution, attempt, runner, queue: Some(queue) })
        }
        _ => None,
    }));
    events.extend([
        Event::QueueDrained { queue },
        Event::QueueCancelled { queue },
        Event::QueueExpired { queue },
        Event::QueueRetired { queue },
    ]);
    events.extend(remembered::largest());
    events
}

#[test]
fn the_largest_of_every_event_fits_into_a_record() {
    let events = largest();
    let variants: BTreeSet<usize> = events.iter().map(kind).collect();
    assert_eq!(variants.len(), KINDS);
    for event in events {
        let number = kind(&event);
        let record = Record { lsn: LAST, at: facts().now, prev: LAST, cause: cause(), event };
        let mut encoder = Encoder::default();
        let (value, _) = encoder.encode(&record, Chain([255; 8])).unwrap();
        assert!(value.len() <= VALUE_BYTES_MAX, "variant {number} takes {} bytes", value.len());
    }
}

/// However many functions there are, the views know all of them.
#[test]
fn functions_are_declared_in_parts_and_all_arrive() {
    let (views, _, events) = running();
    let worker = views.worker(WorkerId::of(b"w")).unwrap();
    assert_eq!(worker.functions, new_worker(FUNCTIONS_MAX).functions);
    let parts = events.iter().filter(|e| matches!(e, Event::WorkerFunctionsDeclared { .. }));
    assert!(parts.count() > FUNCTIONS_MAX / 8);
}

#[test]
fn a_reason_and_a_sandbox_are_cut_between_characters() {
    let (mut views, attempt, events) = running();
    let Event::AttemptStarted { sandbox, .. } = events.last().unwrap() else { panic!() };
    assert_eq!(sandbox, &name(SANDBOX_BYTES_MAX));
    let reason = format!("x{}", name(2 * REASON_BYTES_MAX));
    let Outcome::Failed(failure) = failed(0, 0) else { panic!() };
    let outcome = Outcome::Failed(Failure { reason, ..failure });
    let events = accept(&mut views, &finish(attempt, outcome));
    let Event::AttemptFinished { outcome: Outcome::Failed(failure), .. } = &events[0] else {
        panic!("{events:?}");
    };
    assert_eq!(failure.reason, format!("x{}", name(REASON_BYTES_MAX - 2)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (views, attempt, _) = running();
    let worker = |change: fn(&mut NewWorker)| {
        let mut new = new_worker(1);
        change(&mut new);
        Command::RegisterWorker(new)
    };
    let job = |change: fn(&mut NewJob)| {
        let mut new = new_job();
        change(&mut new);
        Command::SubmitJob(new)
    };
    let queue = |change: fn(&mut NewQueue)| {
        let mut new = new_queue();
        change(&mut new);
        Command::CreateQueue(new)
    };
    let commands = [
        queue(|new| new.name = Some(name(NAME_BYTES_MAX + 2))),
        queue(|new| new.metadata = Some(Blob(vec![1; INLINE_BYTES_MAX + 1].into()))),
        worker(|new| new.name.push('x')),
        worker(|new| new.host = Host::Other(name(NAME_BYTES_MAX + 2))),
        worker(|new| new.functions[0].name.push('x')),
        worker(|new| new.functions = vec![new.functions[0].clone(); FUNCTIONS_MAX + 1]),
        worker(|new| new.descriptor = object(INLINE_BYTES_MAX + 1)),
        job(|new| new.function.push('x')),
        job(|new| new.object = object(INLINE_BYTES_MAX + 1)),
        finish(attempt, completed(INLINE_BYTES_MAX + 1, 0)),
        finish(attempt, completed(0, TAIL_INLINE_BYTES_MAX + 2)),
        finish(attempt, failed(0, TAIL_INLINE_BYTES_MAX + 2)),
        Command::Assign { runner: RunnerName(name(NAME_BYTES_MAX + 2).into()), host: Host::Linux },
    ];
    for command in commands {
        let refused = decide(&views, &command, &facts()).unwrap_err();
        assert!(matches!(refused, Rejection::TooLong { .. }), "{refused}");
    }
}

/// Many jobs that give up together take as many records as they need.
#[test]
fn jobs_that_give_up_are_split_over_records() {
    let mut views = Views::default();
    views.keep_offers();
    accept(&mut views, &Command::RegisterWorker(new_worker(1)));
    let new = NewJob { queue: None, ..new_job() };
    for number in 0..2 * GAVE_UP_LEN_MAX + 2 {
        let policy = Policy { retries_max_default: u32::from(number == 7), ..Policy::default() };
        let facts = Facts { policy, ..facts() };
        let decision = decide(&views, &Command::SubmitJob(new.clone()), &facts).unwrap();
        let record = views.stamp(facts.now, cause(), decision.events[0].clone());
        views.apply(&record).unwrap();
    }
    let host = Host::Other(name(NAME_BYTES_MAX));
    accept(&mut views, &Command::Assign { runner: RunnerName::local(), host });
    let (attempt, _) = views.attempts_under_way().next().unwrap();
    let events = accept(&mut views, &finish(attempt, failed(10, 0)));
    let lengths: Vec<usize> = events
        .iter()
        .filter_map(|event| match event {
            Event::JobsGaveUp { jobs, .. } => Some(jobs.len()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [GAVE_UP_LEN_MAX, GAVE_UP_LEN_MAX, 1]);
    assert!(matches!(events.last(), Some(Event::AttemptFinished { retry_at: Some(_), .. })));
    assert_eq!(views.jobs_wanting(attempt.execution).count(), 1);
}

/// Results that are let go together take as many records as they need, each job once.
#[test]
fn jobs_that_are_retired_are_split_over_records() {
    let mut plant = Plant::new();
    let queue = plant.queue(None);
    let count = 2 * RETIRED_LEN_MAX + 1;
    let mut jobs: Vec<Lsn> =
        (0..count).map(|number| plant.submit(Some(queue), number as u32, 2)).collect();
    plant.execute(&Command::CancelQueue { queue });
    jobs.extend(jobs.clone());
    let (events, _) = plant.execute(&Command::RetireJobs { jobs });
    let lengths: Vec<usize> = events
        .iter()
        .map(|event| match event {
            Event::JobsRetired { jobs } => jobs.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [RETIRED_LEN_MAX, RETIRED_LEN_MAX, 1]);
    assert_eq!(plant.published.views.queue(queue).unwrap().held, 0);
}
