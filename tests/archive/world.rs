//! An instance without processes: rules, views, a log and a chunk store.

use std::sync::Arc;

use ledgerun::chunks::{Options, Store};
use ledgerun::decide::{Facts, Policy, decide};
use ledgerun::domain::{
    Answer, AttemptRef, Cause, ChunkId, Command, Failure, FailureKind, Guid, Host, Lsn, Millis,
    NewJob, NewQueue, ObjectRef, Outcome, QueueId, RunnerName, Tail, Target, Timestamp, Usage,
};
use ledgerun::eventlog::{EventLog, LogReader, MemoryLog};
use ledgerun::replay::export;
use ledgerun::replay::selection::{Hints, NoHints, Range};
use ledgerun::views::Published;
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::Object;
use ledgerun::wire::descriptor::Descriptor;
use ledgerun::wire::output::OutputBuilder;
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Submit { action: u8, worker: u8, queue: u8, fresh: bool },
    Assign,
    Finish { attempt: usize, how: u8 },
    Cancel(usize),
    CancelQueue(u8),
    Reschedule(usize),
    Retract(usize),
    Retire(usize),
    Register(u8),
    RetireWorker(u8),
}

pub(crate) fn steps(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let submit = (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>())
        .prop_map(|(action, worker, queue, fresh)| Step::Submit { action, worker, queue, fresh });
    let step = prop_oneof![
        8 => submit,
        8 => Just(Step::Assign),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(attempt, how)| Step::Finish { attempt, how }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<u8>().prop_map(Step::CancelQueue),
        2 => any::<usize>().prop_map(Step::Reschedule),
        1 => any::<usize>().prop_map(Step::Retract),
        1 => any::<usize>().prop_map(Step::Retire),
        1 => any::<u8>().prop_map(Step::Register),
        1 => any::<u8>().prop_map(Step::RetireWorker),
    ];
    proptest::collection::vec(step, len)
}

/// The instance.
pub(crate) struct World {
    pub(crate) published: Published,
    pub(crate) log: MemoryLog,
    pub(crate) store: Store,
    now: Timestamp,
    jobs: Vec<Lsn>,
    queues: Vec<QueueId>,
    under_way: Vec<AttemptRef>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let mut world = Self {
            published: Published::default(),
            log: MemoryLog::new(),
            store,
            now: Timestamp(1_790_000_000_000_000),
            jobs: Vec::new(),
            queues: Vec::new(),
            under_way: Vec::new(),
            _dir: dir,
        };
        for queue in 0..2 {
            let new = NewQueue { name: Some(format!("queue {queue}")), ..NewQueue::default() };
            if let Some(Answer::QueueCreated { queue }) = world.execute(&Command::CreateQueue(new))
            {
                world.queues.push(queue);
            }
        }
        world.step(&Step::Register(0));
        world.step(&Step::Register(1));
        world
    }

    /// A command, unless the rules refuse it.
    pub(crate) fn execute(&mut self, command: &Command) -> Option<Answer> {
        self.now = self.now.after(Millis(7));
        let policy = Policy { retries_max_default: 1, ..Policy::default() };
        let facts = Facts { now: self.now, jitter: 1, policy, runners: 1 };
        let decision = decide(&self.published.views, command, &facts).ok()?;
        let mut records = Vec::new();
        for event in decision.events {
            let record = self.published.views.stamp(self.now, Cause::UNKNOWN, event);
            self.published.apply(&record).unwrap();
            records.push(record);
        }
        self.log.append(&records).unwrap();
        Some(decision.answer)
    }

    /// Keeps an object in its record when it is small, or else as a chunk.
    fn object(&self, object: &Object) -> ObjectRef {
        object.inline().unwrap_or_else(|| ObjectRef::Chunk(self.chunk(object.bytes().as_ref())))
    }

    fn chunk(&self, bytes: &[u8]) -> ChunkId {
        self.store.put_unnamed(bytes).unwrap()
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit { action, worker, queue, fresh } => {
                self.submit(action, worker, queue, fresh);
            }
            Step::Assign => self.assign(),
            Step::Finish { attempt, how } => self.finish(attempt, how),
            Step::Cancel(job) => self.about(job, |job| Command::CancelJob { job }),
            Step::Reschedule(job) => self.about(job, |job| Command::RescheduleJob { job }),
            Step::Retract(job) => self.about(job, |job| Command::RetractJob { job }),
            Step::Retire(job) => self.about(job, |job| Command::RetireJob { job }),
            Step::CancelQueue(queue) => {
                // Rarely both: then nothing more could be submitted to one.
                let queue = self.queues[usize::from(queue) % 2];
                self.execute(&Command::CancelQueue { queue });
            }
            Step::Register(number) => {
                let descriptor = self.descriptor(number % 2);
                let object = self.object(descriptor.object());
                self.execute(&Command::RegisterWorker(descriptor.registration(object)));
            }
            Step::RetireWorker(number) => {
                let worker = self.descriptor(number % 2).id();
                self.execute(&Command::RetireWorker { worker });
            }
        }
    }

    fn about(&mut self, job: usize, command: impl FnOnce(Lsn) -> Command) {
        if !self.jobs.is_empty() {
            let job = self.jobs[job % self.jobs.len()];
            self.execute(&command(job));
        }
    }

    fn submit(&mut self, number: u8, worker: u8, queue: u8, fresh: bool) {
        let action = self.action(number % 12);
        let object = self.object(action.object());
        let queue = self.queues.get(usize::from(queue % 6)).copied();
        let worker = self.descriptor(worker % 2).id();
        let command = Command::SubmitJob(NewJob {
            target: Target::Worker(worker),
            action: action.id(),
            function: action.function().to_owned(),
            object,
            priority: i32::from(number % 3),
            queue,
            fresh: fresh && number.is_multiple_of(4),
            replayed: None,
        });
        if self.execute(&command).is_some() {
            self.jobs.push(self.published.lsn());
        }
    }

    fn assign(&mut self) {
        self.now = self.now.after(Millis(60_000));
        let command = Command::Assign { runner: RunnerName::local(), host: Host::Linux };
        if let Some(Answer::Assigned(attempt)) = self.execute(&command) {
            self.under_way.push(attempt);
            self.execute(&Command::StartAttempt { attempt, sandbox: "none".to_owned() });
        }
    }

    fn finish(&mut self, attempt: usize, how: u8) {
        if self.under_way.is_empty() {
            return;
        }
        let attempt = self.under_way.swap_remove(attempt % self.under_way.len());
        let outcome = self.outcome(attempt, how);
        self.execute(&Command::FinishAttempt { attempt, outcome, usage: Usage::default() });
    }

    fn outcome(&self, attempt: AttemptRef, how: u8) -> Outcome {
        let long = format!("{attempt:?} ").repeat(200);
        let stderr = (how.is_multiple_of(3))
            .then(|| Tail::Chunk { chunk: self.chunk(long.as_bytes()), bytes: long.len() as u64 });
        if how % 8 < 2 {
            let kind =
                if how.is_multiple_of(2) { FailureKind::Exit } else { FailureKind::RunnerLost };
            let reason = "it did not work".to_owned();
            return Outcome::Failed(Failure {
                kind,
                reason,
                exit_code: Some(1),
                signal: None,
                stderr,
            });
        }
        let mut output = OutputBuilder::new();
        let value = vec![how; usize::from(how) * 40];
        output.named_value("value", self.chunk(&value), value.len() as u64);
        // A chunk that nobody has.
        output.named_value("lost", ChunkId::of(&[how, 1]), 1);
        if how % 8 == 7 {
            output.message("Display", &long);
        }
        let output = output.build();
        let object = self.object(&output);
        Outcome::Completed { output: object, cacheable: how % 8 != 3, bytes: 9, stderr }
    }

    fn action(&self, number: u8) -> Action {
        let input = self.chunk(&vec![number; usize::from(number) * 1_000]);
        let object = Object::build(|o| {
            o.field("Function").str("Work");
            o.field("FunctionVersion").guid(Guid([1; 16]));
            o.field("BuildSystemVersion").guid(Guid([2; 16]));
            o.field("Constants").object(|constants| {
                // Some are too large for a record.
                let size = if number.is_multiple_of(3) { 3_000 } else { 10 };
                constants.field("Fill").binary(&vec![number; size]);
            });
            o.field("Inputs").object(|inputs| {
                inputs.field("in").object(|input_field| {
                    input_field.field("RawHash").binary_attachment(input.0);
                    input_field.field("RawSize").u64(u64::from(number) * 1_000);
                });
            });
        });
        Action::parse(object).unwrap()
    }

    fn descriptor(&self, number: u8) -> Descriptor {
        let executable = self.chunk(&[0x7f, number]);
        let object = Object::build(|o| {
            o.field("name").str(&format!("worker {number}"));
            o.field("path").str("worker");
            o.field("host").str("Linux");
            o.field("buildsystem_version").guid(Guid([2; 16]));
            o.field("executables").array(|list| {
                list.item().object(|file| {
                    file.field("name").str("worker");
                    file.field("hash").binary_attachment(executable.0);
                    file.field("size").u64(2);
                });
            });
            o.field("functions").array(|list| {
                // So many that they don't fit into one record.
                for function in 0..=usize::from(number) * 200 {
                    let name =
                        if function == 0 { "Work".to_owned() } else { format!("Work{function}") };
                    list.item().object(|item| {
                        item.field("name").str(&name);
                        item.field("version").guid(Guid([1; 16]));
                    });
                }
            });
        });
        Descriptor::parse(object).unwrap()
    }

    /// Begins a recording.
    pub(crate) fn start(&mut self, name: Option<&str>) -> Lsn {
        let name = name.map(ToOwned::to_owned);
        self.execute(&Command::StartRecording { name }).unwrap();
        self.published.lsn()
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.execute(&Command::StopRecording).unwrap();
    }

    /// Lets everything end that is open.
    pub(crate) fn settle(&mut self) {
        for how in 0.. {
            self.assign();
            if self.under_way.is_empty() {
                return;
            }
            self.finish(0, how);
        }
    }

    /// Where the log tells of a recording that is complete.
    pub(crate) fn range(&self, recording: Lsn) -> Range {
        let row = self.published.views.recording(recording).unwrap();
        Range { start: row.start, stop: row.stop.unwrap(), settled: row.settled.unwrap() }
    }

    pub(crate) fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }

    pub(crate) fn export_with(&self, recording: Lsn, hints: &dyn Hints) -> Vec<u8> {
        let mut bytes = Vec::new();
        let range = self.range(recording);
        export::live(&*self.reader(), &self.store, range, hints, &mut bytes).unwrap();
        bytes
    }

    pub(crate) fn export(&self, recording: Lsn) -> Vec<u8> {
        let bytes = self.export_with(recording, &NoHints);
        let hinted = self.export_with(recording, &self.published.views);
        assert!(bytes == hinted, "hints change what is exported");
        bytes
    }

    /// A recording of something of everything: it begins and ends with jobs under way.
    pub(crate) fn sample() -> (Self, Lsn) {
        let mut world = Self::new();
        let submit = |action| Step::Submit { action, worker: action, queue: action, fresh: false };
        let play = |world: &mut Self, from: u8, to: u8| {
            for number in from..to {
                world.step(&submit(number));
                world.step(&Step::Assign);
                if !number.is_multiple_of(5) {
                    world.step(&Step::Finish { attempt: 0, how: number });
                }
            }
        };
        play(&mut world, 0, 14);
        let recording = world.start(Some("a night"));
        play(&mut world, 3, 27);
        world.step(&Step::Reschedule(20));
        world.step(&Step::Cancel(world.jobs.len() - 2));
        world.step(&Step::Submit { action: 4, worker: 0, queue: 1, fresh: true });
        world.stop();
        play(&mut world, 5, 9);
        world.settle();
        (world, recording)
    }
}
