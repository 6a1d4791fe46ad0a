//! Making queues, and ending them one way or another.

use super::facts::{Facts, Policy};
use super::{Decision, limits};
use crate::domain::object::INLINE_BYTES_MAX;
use crate::domain::{
    Answer, Event, JobState, Lsn, NewQueue, QueueId, QueueState, Rejection, Timestamp,
};
use crate::views::{QueueRow, Views};

fn find(views: &Views, queue: QueueId) -> Result<QueueRow, Rejection> {
    views.queue(queue).ok_or(Rejection::UnknownQueue(queue))
}

/// Refuses work for a queue that takes none. Outside of queues there is always room.
pub(super) fn takes_work(
    views: &Views,
    queue: Option<QueueId>,
    what: &'static str,
) -> Result<(), Rejection> {
    let Some(queue) = queue else { return Ok(()) };
    match views.queue_state(queue).ok_or(Rejection::UnknownQueue(queue))? {
        QueueState::Active => Ok(()),
        state => Err(Rejection::QueueState { queue, state, what }),
    }
}

pub(super) fn create(
    views: &Views,
    new: &NewQueue,
    policy: &Policy,
) -> Result<Decision, Rejection> {
    if let Some(name) = &new.name {
        limits::name("a queue's name", name)?;
    }
    if let Some(metadata) = &new.metadata {
        limits::at_most("a queue's metadata", metadata.0.len(), INLINE_BYTES_MAX)?;
    }
    let queue = views.next_queue().ok_or(Rejection::TooManyQueues)?;
    let expire_after = new.expire_after.or(policy.queue_expire_after).filter(|time| time.0 > 0);
    let event = Event::QueueCreated {
        queue,
        token: new.token,
        name: new.name.clone(),
        metadata: new.metadata.clone(),
        retries_max: new.retries_max,
        expire_after,
        max_running: new.max_running.filter(|max| *max > 0),
    };
    Ok(Decision::event(event, Answer::QueueCreated { queue }))
}

pub(super) fn drain(views: &Views, queue: QueueId) -> Result<Decision, Rejection> {
    match find(views, queue)?.state {
        QueueState::Active => Ok(Decision::done(Event::QueueDrained { queue })),
        QueueState::Draining | QueueState::Complete => Ok(Decision::nothing(Answer::Done)),
        state @ (QueueState::Cancelled | QueueState::Expired) => {
            Err(Rejection::QueueState { queue, state, what: "be drained" })
        }
    }
}

pub(super) fn cancel(views: &Views, queue: QueueId) -> Result<Decision, Rejection> {
    if find(views, queue)?.state == QueueState::Cancelled {
        return Ok(Decision::nothing(Answer::Done));
    }
    Ok(Decision::done(Event::QueueCancelled { queue }))
}

/// A queue that isn't idle, or not for long enough, stays as it is: whoever asked looked a moment
/// earlier.
pub(super) fn expire(
    views: &Views,
    queue: QueueId,
    quiet_since: Timestamp,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    let found = find(views, queue)?;
    let idle = found.state == QueueState::Active && found.open == 0;
    let Some(time) = found.expire_after.filter(|_| idle) else {
        return Ok(Decision::nothing(Answer::Done));
    };
    if facts.now < found.idle_since.max(quiet_since).after(time) {
        return Ok(Decision::nothing(Answer::Done));
    }
    Ok(Decision::done(Event::QueueExpired { queue }))
}

pub(super) fn retire(views: &Views, queue: QueueId) -> Result<Decision, Rejection> {
    let Some(found) = views.queue(queue) else {
        let was = views.was_queue(queue);
        return if was {
            Ok(Decision::nothing(Answer::Done))
        } else {
            Err(Rejection::UnknownQueue(queue))
        };
    };
    if !found.state.is_over() {
        let state = found.state;
        return Err(Rejection::QueueState { queue, state, what: "be forgotten" });
    }
    if found.held > 0 {
        return Err(Rejection::QueueHolds { queue, held: found.held });
    }
    if found.running > 0 {
        // Its processes are being ended; their reports come in a moment.
        let state = found.state;
        return Err(Rejection::QueueState { queue, state, what: "be forgotten while it runs" });
    }
    Ok(Decision::done(Event::QueueRetired { queue }))
}

/// Lets go of those of `jobs` that have ended and are still held. The others changed since whoever
/// asks looked at them.
pub(super) fn retire_jobs(views: &Views, jobs: &[Lsn]) -> Decision {
    let mut jobs: Vec<Lsn> = jobs.to_vec();
    jobs.sort_unstable();
    jobs.dedup();
    jobs.retain(|job| views.job_state(*job).is_some_and(JobState::is_final));
    let slices = jobs.chunks(crate::domain::event::RETIRED_LEN_MAX);
    let events = slices.map(|jobs| Event::JobsRetired { jobs: jobs.to_vec() }).collect();
    Decision { events, answer: Answer::Done }
}
