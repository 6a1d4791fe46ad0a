//! Events as the rules make them, for logs that are written without a service.

use ledgerun::domain::event::Event;
use ledgerun::domain::{
    ActionId, AttemptNo, Blob, Function, Guid, Host, Lsn, ObjectRef, Outcome, QueueId, Run,
    RunnerName, Usage, WorkerId,
};
use ledgerun::wire::cb::Object;

use crate::actions;

fn worker() -> WorkerId {
    WorkerId::of(b"bench")
}

/// The worker of all jobs.
pub(crate) fn worker_registered() -> Event {
    Event::WorkerRegistered {
        worker: worker(),
        descriptor: ObjectRef::Inline(Blob(Object::build(|_| ()).bytes().to_vec().into())),
        name: "bench".into(),
        host: Host::Linux,
        build_system: Guid([1; 16]),
        functions: vec![Function { name: "BenchNoop".into(), version: Guid([2; 16]) }],
    }
}

/// A queue without limits. Ids count from 1.
pub(crate) fn queue_created(queue: QueueId) -> Event {
    Event::QueueCreated {
        queue,
        token: None,
        name: None,
        metadata: None,
        retries_max: None,
        expire_after: None,
        max_running: None,
    }
}

/// A job of an action of its own.
pub(crate) fn submitted(number: usize, queue: QueueId) -> Event {
    let object = actions::action(number);
    Event::JobSubmitted {
        worker: worker(),
        action: ActionId::of(&object),
        function: "BenchNoop".into(),
        object: ObjectRef::Inline(Blob(object.into())),
        priority: 0,
        queue: Some(queue),
        retries_max: 2,
        run: Run::Opens,
        recorded: None,
    }
}

/// The first attempt of a job of `queue` was handed out.
pub(crate) fn assigned(job: Lsn, queue: QueueId) -> Event {
    let runner = RunnerName::local();
    Event::AttemptAssigned { execution: job, attempt: AttemptNo(1), runner, queue: Some(queue) }
}

/// It runs.
pub(crate) fn started(job: Lsn) -> Event {
    Event::AttemptStarted { execution: job, attempt: AttemptNo(1), sandbox: "namespaces".into() }
}

/// It gave a small result.
pub(crate) fn completed(job: Lsn) -> Event {
    let output = Object::build(|object| {
        object.field("Meta").object(|meta| meta.field("Cacheable").bool(true));
    });
    let output: Vec<u8> = output.bytes().to_vec();
    let bytes = output.len() as u64;
    let output = ObjectRef::Inline(Blob(output.into()));
    Event::AttemptFinished {
        execution: job,
        attempt: AttemptNo(1),
        outcome: Outcome::Completed { output, cacheable: true, bytes, stderr: None },
        usage: Usage { cpu_ms: 1, peak_rss_bytes: 1 << 20 },
        retry_at: None,
    }
}
