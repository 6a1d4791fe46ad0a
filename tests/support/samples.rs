//! One record of each kind, and of each optional part present and absent: the logs of
//! `migrations/*/fixture.msgpack`. What is here stays; new kinds go to the end.

use ledgerun::domain::object::Blob;
use ledgerun::domain::{
    ActionId, AttemptNo, AttemptRef, Cause, ChunkId, ContentHash, Event, Failure, FailureKind,
    Function, Guid, Host, Imported, Lsn, Millis, Mismatch, ObjectId, ObjectRef, Outcome, QueueId,
    Record, Recorded, ReplayFailure, Run, RunnerName, Tail, Timestamp, TokenHash, Usage, Verdicts,
    WorkerId,
};

/// The records, from LSN 1.
pub(crate) fn records() -> Vec<Record> {
    let events = [workers(), jobs(), attempts(), endings(), queues(), recordings()].concat();
    let causes = [
        Cause::UNKNOWN,
        Cause { session: Some(ObjectId([7; 12])), request: Some(42) },
        Cause { session: Some(ObjectId(*b"abcdefghijkl")), request: None },
        Cause { session: None, request: Some(u64::MAX) },
    ];
    (1..)
        .zip(events)
        .zip(causes.into_iter().cycle())
        .map(|((lsn, event), cause)| {
            let at = Timestamp(1_790_000_000_123_456 + i64::try_from(lsn).unwrap());
            Record { lsn: Lsn(lsn), at, prev: Lsn(lsn / 3), cause, event }
        })
        .collect()
}

fn worker() -> WorkerId {
    WorkerId::of(b"worker")
}

fn chunk() -> ObjectRef {
    ObjectRef::Chunk(ChunkId::of(b"chunk"))
}

fn inline(bytes: &'static [u8]) -> ObjectRef {
    ObjectRef::Inline(Blob(bytes.into()))
}

fn function(name: &str) -> Function {
    Function { name: name.to_owned(), version: Guid([0x17; 16]) }
}

fn workers() -> Vec<Event> {
    let registered = |host, functions| Event::WorkerRegistered {
        worker: worker(),
        descriptor: inline(b"\x03\0"),
        name: "tools/compile".to_owned(),
        host,
        build_system: Guid([0xb5; 16]),
        functions,
    };
    vec![
        registered(Host::Linux, vec![function("Compile"), function("Übersetzen")]),
        registered(Host::Win64, Vec::new()),
        registered(Host::Mac, Vec::new()),
        registered(Host::Other("Haiku".to_owned()), Vec::new()),
        Event::WorkerFunctionsDeclared { worker: worker(), functions: vec![function("Link")] },
        Event::WorkerRetired { worker: worker() },
    ]
}

fn jobs() -> Vec<Event> {
    let submitted = |object, queue, run| Event::JobSubmitted {
        worker: worker(),
        action: ActionId::of(b"action"),
        function: "Compile".to_owned(),
        object,
        priority: -3,
        queue,
        retries_max: 3,
        run,
        recorded: None,
    };
    let stop = AttemptRef { execution: Lsn(7), attempt: AttemptNo(2) };
    vec![
        submitted(inline(b"action"), None, Run::Opens),
        submitted(chunk(), QueueId::new(5), Run::Joins(Lsn(7))),
        submitted(inline(b""), QueueId::new(u32::MAX), Run::Cached(Lsn(7))),
        Event::JobCancelled { job: Lsn(7), stop: None },
        Event::JobCancelled { job: Lsn(7), stop: Some(stop) },
        Event::JobReprioritised { job: Lsn(8), priority: i32::MIN },
        Event::JobRescheduled { job: Lsn(8), retry_count: 1, run: Run::Opens, former: Lsn(7) },
        Event::JobRetired { job: Lsn(u64::MAX) },
    ]
}

fn attempts() -> Vec<Event> {
    let (execution, attempt) = (Lsn(13), AttemptNo(1));
    let retracted = |stop, avoid| Event::ExecutionRetracted { execution, stop, avoid };
    vec![
        Event::AttemptAssigned { execution, attempt, runner: RunnerName::local(), queue: None },
        Event::AttemptStarted { execution, attempt, sandbox: "landlock, seccomp".to_owned() },
        Event::AttemptLost { execution, attempt },
        retracted(None, None),
        retracted(Some(attempt), Some(RunnerName("runner-2".into()))),
        Event::JobsGaveUp { execution, abandoned: true, jobs: vec![Lsn(7), Lsn(300)] },
        Event::JobsGaveUp { execution, abandoned: false, jobs: Vec::new() },
    ]
}

fn endings() -> Vec<Event> {
    let finished = |outcome, retry_at| Event::AttemptFinished {
        execution: Lsn(13),
        attempt: AttemptNo(4),
        outcome,
        usage: Usage { cpu_ms: 1_500, peak_rss_bytes: 1 << 33 },
        retry_at,
    };
    let completed = |output, cacheable, stderr| {
        let bytes = 0;
        Outcome::Completed { output, cacheable, bytes, stderr }
    };
    let failed = |kind, exit_code, signal, stderr| {
        Outcome::Failed(Failure { kind, reason: "why".to_owned(), exit_code, signal, stderr })
    };
    let later = Some(Timestamp(1_790_000_009_000_000));
    let tail = || Some(Tail::Inline("warning: unused\n".to_owned()));
    let long = Some(Tail::Chunk { chunk: ChunkId::of(b"tail"), bytes: 9_000 });
    vec![
        finished(completed(inline(b"output"), true, None), None),
        finished(completed(chunk(), false, tail()), None),
        finished(failed(FailureKind::Launch, None, None, None), later),
        finished(failed(FailureKind::Exit, Some(1), None, tail()), later),
        finished(failed(FailureKind::Exit, None, Some(9), long), None),
        finished(failed(FailureKind::TimedOut, None, Some(-1), None), None),
        finished(failed(FailureKind::BadOutput, Some(0), None, None), None),
        finished(failed(FailureKind::InputLost, None, None, None), None),
        finished(failed(FailureKind::RunnerLost, None, None, None), None),
    ]
}

/// What the second schema added.
fn queues() -> Vec<Event> {
    let id = QueueId::new(5);
    let queue = id.unwrap();
    let created = |token, name: Option<&str>, metadata, number, expire_after| Event::QueueCreated {
        queue,
        token,
        name: name.map(ToOwned::to_owned),
        metadata,
        retries_max: number,
        expire_after,
        max_running: number,
    };
    let metadata = Some(Blob(bytes::Bytes::from_static(b"metadata")));
    let idle = Some(Millis(900_000));
    let (execution, attempt, runner) = (Lsn(13), AttemptNo(1), RunnerName::local());
    vec![
        created(None, None, None, None, None),
        created(Some(TokenHash([7; 32])), Some("cook"), metadata, Some(0), idle),
        Event::AttemptAssigned { execution, attempt, runner, queue: id },
        Event::AttemptFinished {
            execution,
            attempt,
            outcome: Outcome::Completed {
                output: inline(b"output"),
                cacheable: true,
                bytes: 1 << 33,
                stderr: None,
            },
            usage: Usage::default(),
            retry_at: None,
        },
        Event::JobsRetired { jobs: vec![Lsn(7), Lsn(300)] },
        Event::QueueDrained { queue },
        Event::QueueCancelled { queue },
        Event::QueueExpired { queue },
        Event::QueueRetired { queue },
    ]
}

/// What the third schema added.
fn recordings() -> Vec<Event> {
    let recording = Lsn(40);
    let replay = Lsn(300);
    let imported = |name: Option<&str>| Event::RecordingImported {
        name: name.map(ToOwned::to_owned),
        archive: Imported {
            skeleton: ChunkId::of(b"skeleton"),
            start: Lsn(7),
            stop: Lsn(70_000),
            jobs: 20_000,
            chunks: 1,
            bytes: 1 << 33,
        },
    };
    let mismatch = |value: Option<&str>, recorded, replayed| Mismatch {
        job: Lsn(9),
        value: value.map(ToOwned::to_owned),
        recorded,
        replayed,
    };
    let (was, is) = (Some(ContentHash::of(b"was")), Some(ContentHash::of(b"is")));
    let verdicts = Verdicts {
        matched: 17,
        mismatched: vec![
            mismatch(Some("stdout"), was, is),
            mismatch(Some("file/out"), None, is),
            mismatch(Some("Shader"), was, None),
            mismatch(None, was, is),
        ],
        failed: vec![ReplayFailure { job: Lsn(10), error: "why".to_owned() }],
        newly_passing: vec![Lsn(11), Lsn(300)],
    };
    let judged = |verdicts| Event::ReplayJudged { replay, judged_to: Lsn(310), next: 20, verdicts };
    vec![
        Event::RecordingStarted { name: None },
        Event::RecordingStarted { name: Some("nightly".to_owned()) },
        Event::JobSubmitted {
            worker: worker(),
            action: ActionId::of(b"action"),
            function: "Compile".to_owned(),
            object: inline(b"action"),
            priority: 2,
            queue: QueueId::new(5),
            retries_max: 0,
            run: Run::Opens,
            recorded: Some(Recorded { job: Lsn(9), position: 19 }),
        },
        Event::RecordingStopped { recording },
        imported(None),
        imported(Some("cook")),
        Event::RecordingDeleted { recording },
        Event::ReplayStarted {
            recording,
            queue: QueueId::new(6).unwrap(),
            plan: inline(b"{}"),
            total: 20,
        },
        judged(Verdicts::default()),
        judged(verdicts),
        Event::ReplayEnded { replay, reason: None },
        Event::ReplayEnded { replay, reason: Some("cancelled".to_owned()) },
    ]
}
