//! What may be done to a job: cancel, priority, reschedule, retract, retire.

use super::{Decision, queue};
use crate::domain::{Answer, Event, JobState, Lsn, Rejection, Run};
use crate::views::{ExecutionState, JobRow, Views};

fn find(views: &Views, job: Lsn) -> Result<JobRow, Rejection> {
    views.job(job).ok_or(Rejection::UnknownJob(job))
}

/// Refuses what only an open job allows.
fn open(views: &Views, job: Lsn, what: &'static str) -> Result<JobRow, Rejection> {
    let found = find(views, job)?;
    if found.state.is_final() {
        return Err(Rejection::WrongState { job, state: found.state, what });
    }
    Ok(found)
}

pub(super) fn cancel(views: &Views, job: Lsn) -> Result<Decision, Rejection> {
    if views.job_state(job) == Some(JobState::Cancelled) {
        return Ok(Decision::nothing(Answer::Done));
    }
    let found = open(views, job, "cancel")?;
    let alone = views.jobs_wanting(found.execution).take(2).count() == 1;
    let stop = views.attempt_under_way(found.execution).filter(|_| alone);
    Ok(Decision::done(Event::JobCancelled { job, stop }))
}

pub(super) fn change_priority(
    views: &Views,
    job: Lsn,
    priority: i32,
) -> Result<Decision, Rejection> {
    let found = open(views, job, "change the priority of")?;
    if found.priority == priority {
        return Ok(Decision::nothing(Answer::Done));
    }
    Ok(Decision::done(Event::JobReprioritised { job, priority }))
}

pub(super) fn reschedule(views: &Views, job: Lsn) -> Result<Decision, Rejection> {
    let found = find(views, job)?;
    let state = found.state;
    if !matches!(state, JobState::Failed | JobState::Abandoned) {
        return Err(Rejection::WrongState { job, state, what: "reschedule" });
    }
    if found.retry_count >= found.retries_max {
        return Err(Rejection::RetryLimit { job, limit: found.retries_max });
    }
    if !views.is_registered(found.worker) {
        return Err(Rejection::UnknownWorker(found.worker));
    }
    queue::takes_work(views, found.queue, "take a job again")?;
    let retry_count = found.retry_count + 1;
    let run = views.live_execution(found.worker, found.action).map_or(Run::Opens, Run::Joins);
    let former = found.execution_tail;
    let event = Event::JobRescheduled { job, retry_count, run, former };
    Ok(Decision::event(event, Answer::Rescheduled { retry_count }))
}

/// Pulls back the execution, and so every job that shares it.
pub(super) fn retract(views: &Views, job: Lsn) -> Result<Decision, Rejection> {
    let found = open(views, job, "retract")?;
    let execution = found.execution;
    let state = views.execution(execution).map(|execution| execution.state);
    let (stop, avoid) = match state {
        Some(ExecutionState::Retracted { .. }) => return Ok(Decision::nothing(Answer::Done)),
        Some(
            ExecutionState::Submitting { attempt, runner }
            | ExecutionState::Running { attempt, runner },
        ) => (Some(attempt), Some(runner)),
        _ => (None, None),
    };
    Ok(Decision::done(Event::ExecutionRetracted { execution, stop, avoid }))
}

pub(super) fn retire(views: &Views, job: Lsn) -> Result<Decision, Rejection> {
    if views.is_retired(job) {
        return Ok(Decision::nothing(Answer::Done));
    }
    let state = views.job_state(job).ok_or(Rejection::UnknownJob(job))?;
    if !state.is_final() {
        return Err(Rejection::WrongState { job, state, what: "retire" });
    }
    Ok(Decision::done(Event::JobRetired { job }))
}
