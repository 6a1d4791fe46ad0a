//! Accepting jobs.

use super::facts::Policy;
use super::{Decision, limits, queue};
use crate::domain::{Answer, Event, NewJob, Recorded, Rejection, Run, Target, WorkerId};
use crate::views::Views;

pub(super) fn submit(views: &Views, new: &NewJob, policy: &Policy) -> Result<Decision, Rejection> {
    limits::object("an action inside a record", &new.object)?;
    limits::name("a function's name", &new.function)?;
    queue::takes_work(views, new.queue, "take a new job")?;
    belongs(views, new)?;
    let worker = match &new.target {
        Target::Worker(id) if views.is_registered(*id) => *id,
        Target::Worker(id) => return Err(Rejection::UnknownWorker(*id)),
        Target::Function(key) => {
            views.resolve(key).ok_or_else(|| Rejection::NoWorker(key.clone()))?
        }
    };
    let own = new.queue.and_then(|queue| views.queue(queue));
    let retries_max = match new.replayed {
        Some(found) => Some(found.retries_max),
        None => own.and_then(|queue| queue.retries_max),
    };
    let run = run_of(views, new, worker);
    let event = Event::JobSubmitted {
        worker,
        action: new.action,
        function: new.function.clone(),
        object: new.object.clone(),
        priority: new.priority,
        queue: new.queue,
        retries_max: retries_max.unwrap_or(policy.retries_max_default),
        run,
        recorded: new
            .replayed
            .map(|found| Recorded { job: found.recorded, position: found.position }),
    };
    let cached = matches!(run, Run::Cached(_));
    let mut events = vec![event];
    if new.replayed.is_some_and(|found| found.cancelled) {
        events.push(Event::JobCancelled { job: views.lsn().next(), stop: None });
    }
    Ok(Decision { events, answer: Answer::Submitted { worker, cached } })
}

/// A replay's queue takes the replay's jobs and no other.
fn belongs(views: &Views, new: &NewJob) -> Result<(), Rejection> {
    let owner = new.queue.and_then(|queue| Some((queue, views.replay_of_queue(queue)?)));
    match (owner, new.replayed) {
        (None, None) => Ok(()),
        (Some((_, replay)), Some(found)) if found.replay == replay => {
            let row = views.replay(replay).ok_or(Rejection::UnknownReplay(replay))?;
            let position = found.position;
            if row.ended.is_some() {
                Err(Rejection::ReplayOver(replay))
            } else if position == row.next && position < row.total {
                Ok(())
            } else {
                // Without holes, so that a job that is refused is missed by nobody.
                Err(Rejection::ReplayPosition { replay, next: row.next, found: position })
            }
        }
        (Some((queue, replay)), _) => Err(Rejection::QueueOfReplay { queue, replay }),
        (None, Some(found)) => Err(Rejection::UnknownReplay(found.replay)),
    }
}

/// The newest execution of the pair counts, in flight or completed: a fresh run replaces both what
/// others would have joined and what they would have been given.
fn run_of(views: &Views, new: &NewJob, worker: WorkerId) -> Run {
    // A replay is to run, not to be told what came out before.
    if new.fresh || new.replayed.is_some() {
        return Run::Opens;
    }
    let live = views.live_execution(worker, new.action);
    let reusable = views.reusable_execution(worker, new.action);
    match (live, reusable) {
        (Some(live), Some(reusable)) if reusable > live => Run::Cached(reusable),
        (Some(live), _) => Run::Joins(live),
        (None, Some(reusable)) => Run::Cached(reusable),
        (None, None) => Run::Opens,
    }
}
