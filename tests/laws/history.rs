//! Random histories: few workers and actions, so that they meet.

use ledgerun::domain::object::Blob;
use ledgerun::domain::{
    ActionId, FailureKind, Function, FunctionKey, Guid, Host, NewWorker, ObjectRef, RunnerName,
    WorkerId,
};
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what there is when it happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Register(u8),
    RetireWorker(u8),
    Submit(Submission),
    Cancel(usize),
    Priority(usize, i32),
    Reschedule(usize),
    Retract(usize),
    Retire(usize),
    RetireMany(Vec<usize>),
    /// Runner and platform.
    Assign(u8, u8),
    Start(usize),
    Finish(usize, Ending),
    Lose(usize),
    CreateQueue(Settings),
    DrainQueue(usize),
    CancelQueue(usize),
    /// Somebody may have asked about it as many milliseconds ago.
    ExpireQueue(usize, u32),
    RetireQueue(usize),
    /// With a name or without.
    StartRecording(bool),
    StopRecording,
    ImportRecording(Import),
    DeleteRecording(usize),
    /// Of a recording, with so many jobs.
    StartReplay(usize, u64),
    SubmitAgain(Again),
    Judge(Judgement),
    /// With a reason or without.
    EndReplay(usize, bool),
    /// Reports about every attempt that is no longer current.
    Late,
    /// Milliseconds, sometimes backwards.
    Advance(i64),
    Runners(usize),
    /// All that would be handed out if nothing else came.
    Order,
    /// The service dies and forgets as many of the last steps.
    Crash(usize),
}

/// A number that names what there never was.
pub(crate) const NOBODY: usize = 63;

#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) target: Target,
    pub(crate) action: u8,
    pub(crate) priority: i32,
    pub(crate) fresh: bool,
    pub(crate) retries_max: u32,
    pub(crate) queue: Option<usize>,
}

/// Of a queue; times in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) retries_max: Option<u32>,
    pub(crate) expire_after: Option<u64>,
    pub(crate) max_running: Option<u32>,
    /// The service's setting at that time.
    pub(crate) default_expire_after: Option<u64>,
}

/// An archive, as far as it matters here.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) jobs: u64,
    /// Some of them may come twice, or be known already.
    pub(crate) workers: Vec<u8>,
}

/// A recorded job to run again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    pub(crate) replay: usize,
    /// Positions after the one before the next: 0 was had already.
    pub(crate) ahead: u64,
    pub(crate) cancelled: bool,
    /// A queue that may be another's.
    pub(crate) elsewhere: Option<usize>,
    pub(crate) job: Submission,
}

/// What came of some jobs of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) replay: usize,
    /// As in [`Again`].
    pub(crate) ahead: u64,
    /// Records that are looked at no further than the newest, which is 0.
    pub(crate) behind: u64,
    /// Matched, values that differ, failed, passing now.
    pub(crate) numbers: [u16; 4],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Worker(u8),
    Function(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Completed { cacheable: bool },
    Failed(FailureKind),
}

pub(crate) const FAILED: Ending = Ending::Failed(FailureKind::Exit);
pub(crate) const COMPLETED: Ending = Ending::Completed { cacheable: true };

impl Submission {
    /// A plain one, outside of queues.
    pub(crate) const fn plain(worker: u8, action: u8, priority: i32) -> Self {
        let target = Target::Worker(worker);
        Self { target, action, priority, fresh: false, retries_max: 3, queue: None }
    }
}

impl Step {
    /// A plain submission, outside of queues.
    pub(crate) const fn submit(worker: u8, action: u8, priority: i32) -> Self {
        Self::Submit(Submission::plain(worker, action, priority))
    }

    /// A plain submission to the first worker, into a queue.
    pub(crate) const fn submit_to(queue: usize, action: u8, priority: i32) -> Self {
        let plain = Submission::plain(0, action, priority);
        Self::Submit(Submission { queue: Some(queue), ..plain })
    }
}

pub(crate) const WORKERS: u8 = 3;
pub(crate) const ACTIONS: u8 = 12;

/// Worker 0 and 1 offer function 0, worker 1 and 2 function 1; worker 2 is for another platform.
pub(crate) fn worker(ix: u8) -> NewWorker {
    let function =
        |number: u8| Function { name: format!("function {number}"), version: Guid([7; 16]) };
    NewWorker {
        worker: worker_id(ix),
        descriptor: ObjectRef::Inline(Blob(vec![ix; 40].into())),
        name: format!("worker {ix}"),
        host: host(u8::from(ix == 2)),
        build_system: Guid([9; 16]),
        functions: match ix {
            0 => vec![function(0)],
            1 => vec![function(0), function(1)],
            _ => vec![function(1)],
        },
    }
}

pub(crate) fn worker_id(ix: u8) -> WorkerId {
    WorkerId::of(&[ix])
}

pub(crate) fn action_id(ix: u8) -> ActionId {
    ActionId::of(&[ix])
}

pub(crate) fn host(ix: u8) -> Host {
    if ix == 0 { Host::Linux } else { Host::Win64 }
}

pub(crate) fn runner(ix: u8) -> RunnerName {
    RunnerName(format!("runner {ix}").into())
}

pub(crate) fn function_key(ix: u8) -> FunctionKey {
    let function = Function { name: format!("function {ix}"), version: Guid([7; 16]) };
    FunctionKey { function, build_system: Guid([9; 16]) }
}

fn failure() -> impl Strategy<Value = FailureKind> {
    use FailureKind::{BadOutput, Exit, InputLost, Launch, RunnerLost, TimedOut};
    prop_oneof![
        6 => Just(Exit),
        3 => Just(RunnerLost),
        4 => Just(InputLost),
        1 => Just(Launch),
        1 => Just(TimedOut),
        1 => Just(BadOutput),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        2 => prop::bool::weighted(0.8).prop_map(|cacheable| Ending::Completed { cacheable }),
        3 => failure().prop_map(Ending::Failed),
    ]
}

fn priority() -> impl Strategy<Value = i32> {
    prop_oneof![6 => 1..3_i32, 2 => -1..4_i32, 1 => prop_oneof![Just(i32::MIN), Just(i32::MAX)]]
}

fn submission() -> impl Strategy<Value = Submission> {
    let target = prop_oneof![
        4 => Just(Target::Worker(0)),
        3 => (0..WORKERS).prop_map(Target::Worker),
        1 => (0..2_u8).prop_map(Target::Function),
    ];
    // Some that are shared often, and many that are not.
    let action = prop_oneof![1 => 0..3_u8, 2 => 0..ACTIONS];
    let queue = prop::option::weighted(0.8, 0..NOBODY + 1);
    let fresh = prop::bool::weighted(0.15);
    (target, action, priority(), fresh, 0..3_u32, queue).prop_map(
        |(target, action, priority, fresh, retries_max, queue)| Submission {
            target,
            action,
            priority,
            fresh,
            retries_max,
            queue,
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let time = || prop::option::of(prop_oneof![1 => Just(0_u64), 6 => 1..4_000_u64]);
    let running = prop::option::of(0..3_u32);
    (prop::option::of(0..3_u32), time(), running, time()).prop_map(
        |(retries_max, expire_after, max_running, default_expire_after)| Settings {
            retries_max,
            expire_after,
            max_running,
            default_expire_after,
        },
    )
}

/// What happens to jobs and attempts.
fn work() -> impl Strategy<Value = Step> {
    let any = 0..NOBODY + 1;
    prop_oneof![
        16 => submission().prop_map(Step::Submit),
        2 => any.clone().prop_map(Step::Cancel),
        2 => (any.clone(), priority()).prop_map(|(job, priority)| Step::Priority(job, priority)),
        2 => any.clone().prop_map(Step::Reschedule),
        2 => any.clone().prop_map(Step::Retract),
        1 => any.clone().prop_map(Step::Retire),
        1 => prop::collection::vec(any.clone(), 0..20).prop_map(Step::RetireMany),
        8 => (0..2_u8, prop::bool::weighted(0.15)).prop_map(|(runner, other)| {
            Step::Assign(runner, u8::from(other))
        }),
        3 => any.clone().prop_map(Step::Start),
        6 => (any.clone(), ending()).prop_map(|(attempt, end)| Step::Finish(attempt, end)),
        1 => any.prop_map(Step::Lose),
        1 => Just(Step::Late),
    ]
}

/// What happens to queues, and around.
fn surroundings() -> impl Strategy<Value = Step> {
    let any = 0..NOBODY + 1;
    prop_oneof![
        2 => (0..WORKERS).prop_map(Step::Register),
        1 => (0..WORKERS).prop_map(Step::RetireWorker),
        3 => settings().prop_map(Step::CreateQueue),
        2 => any.clone().prop_map(Step::DrainQueue),
        2 => any.clone().prop_map(Step::CancelQueue),
        3 => (any.clone(), 0..5_000_u32).prop_map(|(queue, ago)| Step::ExpireQueue(queue, ago)),
        2 => any.prop_map(Step::RetireQueue),
        4 => (-50..2_000_i64).prop_map(Step::Advance),
        1 => (1..3_usize).prop_map(Step::Runners),
        1 => Just(Step::Order),
        1 => (0..5_usize).prop_map(Step::Crash),
    ]
}

fn import() -> impl Strategy<Value = Step> {
    let workers = prop::collection::vec(0..WORKERS, 0..4);
    (0..9_u64, workers).prop_map(|(jobs, workers)| Step::ImportRecording(Import { jobs, workers }))
}

fn again() -> impl Strategy<Value = Step> {
    let ahead = prop_oneof![1 => Just(0_u64), 8 => Just(1), 1 => Just(2), 1 => 3..9_u64];
    let elsewhere = prop::option::weighted(0.1, 0..NOBODY + 1);
    let cancelled = prop::bool::weighted(0.2);
    (0..NOBODY + 1, ahead, cancelled, elsewhere, submission()).prop_map(
        |(replay, ahead, cancelled, elsewhere, job)| {
            Step::SubmitAgain(Again { replay, ahead, cancelled, elsewhere, job })
        },
    )
}

fn judgement() -> impl Strategy<Value = Step> {
    let number = || prop_oneof![3 => Just(0_u16), 3 => 1..4_u16, 1 => 4..60_u16];
    let numbers = [number(), number(), number(), number()];
    let ahead = prop_oneof![1 => Just(0_u64), 8 => Just(1), 1 => Just(2), 1 => 3..9_u64];
    (0..NOBODY + 1, ahead, 0..8_u64, numbers).prop_map(|(replay, ahead, behind, numbers)| {
        Step::Judge(Judgement { replay, ahead, behind, numbers })
    })
}

/// What happens to recordings and replays.
fn memories() -> impl Strategy<Value = Step> {
    let some = 0..NOBODY + 1;
    prop_oneof![
        3 => any::<bool>().prop_map(Step::StartRecording),
        3 => Just(Step::StopRecording),
        1 => import(),
        1 => some.clone().prop_map(Step::DeleteRecording),
        3 => (some.clone(), 0..6_u64).prop_map(|(number, total)| Step::StartReplay(number, total)),
        8 => again(),
        4 => judgement(),
        1 => (some, any::<bool>()).prop_map(|(number, reason)| Step::EndReplay(number, reason)),
    ]
}

/// A history that begins with two workers and up to six queues, so that something can happen.
pub(crate) fn history(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let queues = prop::collection::vec(settings().prop_map(Step::CreateQueue), 0..7);
    let steps =
        prop::collection::vec(prop_oneof![6 => work(), 2 => surroundings(), 2 => memories()], len);
    let before = prop::collection::vec(memories(), 0..4);
    (queues, before, steps).prop_map(|(queues, before, steps)| {
        let mut all = vec![Step::Register(0), Step::Register(2)];
        all.extend(queues);
        all.extend(before);
        all.extend(steps);
        all
    })
}
