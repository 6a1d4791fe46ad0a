//! Consequences: what the shell must now do. Effects are not stored and happen at least once; the
//! attempt number makes a repeated or late one harmless.

use crate::domain::{AttemptRef, Command, Event, Record, Run};
use crate::views::Views;

/// An instruction to the outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Start this attempt on the runner it was assigned to.
    Launch { attempt: AttemptRef },
    /// End this attempt: nobody wants it any more.
    Kill { attempt: AttemptRef },
    /// End every attempt that is no longer under way: nobody wants it any more.
    KillUnwanted,
    /// Jobs have ended: wake who waits for that.
    JobsEnded,
}

/// What follows from a durable record.
pub fn effects_of(record: &Record) -> impl Iterator<Item = Effect> + use<> {
    let (attempt, ended) = match &record.event {
        Event::AttemptAssigned { execution, attempt, .. } => {
            let attempt = AttemptRef { execution: *execution, attempt: *attempt };
            (Some(Effect::Launch { attempt }), false)
        }
        Event::ExecutionRetracted { execution, stop, .. } => {
            let stop = stop.map(|attempt| AttemptRef { execution: *execution, attempt });
            (stop.map(|attempt| Effect::Kill { attempt }), false)
        }
        Event::JobCancelled { stop, .. } => (stop.map(|attempt| Effect::Kill { attempt }), true),
        Event::JobSubmitted { run, .. } => (None, matches!(run, Run::Cached(_))),
        Event::AttemptFinished { retry_at, .. } => (None, retry_at.is_none()),
        Event::JobsGaveUp { .. } => (None, true),
        Event::QueueCancelled { .. } => (Some(Effect::KillUnwanted), true),
        Event::WorkerRegistered { .. }
        | Event::WorkerFunctionsDeclared { .. }
        | Event::WorkerRetired { .. }
        | Event::JobReprioritised { .. }
        | Event::JobRescheduled { .. }
        | Event::JobRetired { .. }
        | Event::JobsRetired { .. }
        | Event::QueueCreated { .. }
        | Event::QueueDrained { .. }
        | Event::QueueExpired { .. }
        | Event::QueueRetired { .. }
        | Event::RecordingStarted { .. }
        | Event::RecordingStopped { .. }
        | Event::RecordingImported { .. }
        | Event::RecordingDeleted { .. }
        | Event::ReplayStarted { .. }
        | Event::ReplayJudged { .. }
        | Event::ReplayEnded { .. }
        | Event::AttemptStarted { .. }
        | Event::AttemptLost { .. } => (None, false),
    };
    [attempt, ended.then_some(Effect::JobsEnded)].into_iter().flatten()
}

/// What to command after a start: nothing runs then, so every attempt under way is lost.
pub fn reconcile(views: &Views) -> Vec<Command> {
    let lost = views.attempts_under_way();
    lost.map(|(attempt, _)| Command::LoseAttempt { attempt }).collect()
}
