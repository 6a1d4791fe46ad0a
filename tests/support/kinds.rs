//! The kinds of events, for tests that must see every one.

use ledgerun::domain::Event;

/// The kinds of events, in the order they came to be. The match has no wildcard, so a new kind
/// doesn't compile before it is counted here.
pub(crate) const KINDS: usize = 27;

/// Which kind an event is, below [`KINDS`].
pub(crate) fn kind(event: &Event) -> usize {
    match event {
        Event::WorkerRegistered { .. } => 0,
        Event::WorkerFunctionsDeclared { .. } => 1,
        Event::WorkerRetired { .. } => 2,
        Event::JobSubmitted { .. } => 3,
        Event::JobCancelled { .. } => 4,
        Event::JobReprioritised { .. } => 5,
        Event::JobRescheduled { .. } => 6,
        Event::JobRetired { .. } => 7,
        Event::AttemptAssigned { .. } => 8,
        Event::AttemptStarted { .. } => 9,
        Event::AttemptFinished { .. } => 10,
        Event::JobsGaveUp { .. } => 11,
        Event::AttemptLost { .. } => 12,
        Event::ExecutionRetracted { .. } => 13,
        Event::JobsRetired { .. } => 14,
        Event::QueueCreated { .. } => 15,
        Event::QueueDrained { .. } => 16,
        Event::QueueCancelled { .. } => 17,
        Event::QueueExpired { .. } => 18,
        Event::QueueRetired { .. } => 19,
        Event::RecordingStarted { .. } => 20,
        Event::RecordingStopped { .. } => 21,
        Event::RecordingImported { .. } => 22,
        Event::RecordingDeleted { .. } => 23,
        Event::ReplayStarted { .. } => 24,
        Event::ReplayJudged { .. } => 25,
        Event::ReplayEnded { .. } => 26,
    }
}
