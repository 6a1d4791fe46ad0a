//! Accepting jobs.

use super::facts::Policy;
use super::{Decision, limits, queue};
use crate::domain::{Answer, Event, NewJob, Rejection, Run, Target, WorkerId};
use crate::views::Views;

pub(super) fn submit(views: &Views, new: &NewJob, policy: &Policy) -> Result<Decision, Rejection> {
    limits::object("an action inside a record", &new.object)?;
    limits::name("a function's name", &new.function)?;
    queue::takes_work(views, new.queue, "take a new job")?;
    let worker = match &new.target {
        Target::Worker(id) if views.is_registered(*id) => *id,
        Target::Worker(id) => return Err(Rejection::UnknownWorker(*id)),
        Target::Function(key) => {
            views.resolve(key).ok_or_else(|| Rejection::NoWorker(key.clone()))?
        }
    };
    let own = new.queue.and_then(|queue| views.queue(queue));
    let run = run_of(views, new, worker);
    let event = Event::JobSubmitted {
        worker,
        action: new.action,
        function: new.function.clone(),
        object: new.object.clone(),
        priority: new.priority,
        queue: new.queue,
        retries_max: own.and_then(|queue| queue.retries_max).unwrap_or(policy.retries_max_default),
        run,
    };
    let cached = matches!(run, Run::Cached(_));
    Ok(Decision::event(event, Answer::Submitted { worker, cached }))
}

/// The newest execution of the pair counts, in flight or completed: a fresh run replaces both what
/// others would have joined and what they would have been given.
fn run_of(views: &Views, new: &NewJob, worker: WorkerId) -> Run {
    if new.fresh {
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
