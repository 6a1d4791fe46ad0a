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
    Submit {
        target: Target,
        action: u8,
        priority: i32,
        fresh: bool,
        retries_max: u32,
    },
    Cancel(usize),
    Priority(usize, i32),
    Reschedule(usize),
    Retract(usize),
    Retire(usize),
    /// Runner and platform.
    Assign(u8, u8),
    Start(usize),
    Finish(usize, Ending),
    Lose(usize),
    /// Reports about every attempt that is no longer current.
    Late,
    /// Milliseconds, sometimes backwards.
    Advance(i64),
    Runners(usize),
    Restart,
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

impl Step {
    /// A plain submission.
    pub(crate) fn submit(worker: u8, action: u8, priority: i32) -> Self {
        let target = Target::Worker(worker);
        Self::Submit { target, action, priority, fresh: false, retries_max: 3 }
    }
}

pub(crate) const WORKERS: u8 = 3;

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
        1 => Just(InputLost),
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

fn submission() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        3 => (0..WORKERS).prop_map(Target::Worker),
        1 => (0..2_u8).prop_map(Target::Function),
    ];
    (target, 0..3_u8, -1..4_i32, prop::bool::weighted(0.15), 0..3_u32).prop_map(
        |(target, action, priority, fresh, retries_max)| Step::Submit {
            target,
            action,
            priority,
            fresh,
            retries_max,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..64_usize;
    prop_oneof![
        2 => (0..WORKERS).prop_map(Step::Register),
        1 => (0..WORKERS).prop_map(Step::RetireWorker),
        12 => submission(),
        2 => any.clone().prop_map(Step::Cancel),
        1 => (any.clone(), -1..4_i32).prop_map(|(job, priority)| Step::Priority(job, priority)),
        2 => any.clone().prop_map(Step::Reschedule),
        2 => any.clone().prop_map(Step::Retract),
        2 => any.clone().prop_map(Step::Retire),
        8 => (0..2_u8, prop::bool::weighted(0.2)).prop_map(|(runner, other)| {
            Step::Assign(runner, u8::from(other))
        }),
        3 => any.clone().prop_map(Step::Start),
        7 => (any.clone(), ending()).prop_map(|(attempt, end)| Step::Finish(attempt, end)),
        1 => any.prop_map(Step::Lose),
        1 => Just(Step::Late),
        3 => (-50..2_000_i64).prop_map(Step::Advance),
        1 => (1..3_usize).prop_map(Step::Runners),
        1 => Just(Step::Restart),
    ]
}

/// A history that begins with two workers, so that something can happen.
pub(crate) fn history(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), len).prop_map(|steps| {
        let mut all = vec![Step::Register(0), Step::Register(2)];
        all.extend(steps);
        all
    })
}
