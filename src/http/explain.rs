//! Why a job is where it is, for a person and for a program.

use super::App;
use super::details;
use super::error::Error;
use super::moment::Moment;
use super::respond::{Value, object};
use crate::domain::{Host, JobState, Lsn};
use crate::views::{ExecutionState, JobRow, Published};

/// Positions are counted up to here; beyond it only "at least" is known.
const POSITION_MAX: usize = 10_000;

/// What the views know beside the job's row.
struct Around {
    execution: Option<ExecutionState>,
    /// How many executions are before it, when it is in the ready order.
    ahead: Option<usize>,
    /// Whether it is in a queue.
    queued: bool,
    /// Whether it would be handed out if its queue, and every other that wants it, might run more.
    limited: bool,
    /// The oldest other job that wants the same execution and came first.
    shared: Option<Lsn>,
    host: Option<Host>,
}

/// The explanation.
pub(super) async fn of(app: &App, moment: &Moment, job: &JobRow) -> Result<Value, Error> {
    let around = moment.read(|published| look(published, job));
    let because = match job.state {
        JobState::Completed if job.cached => {
            "the same action had completed before, and its result was used; submit with \
             cache=skip to run it anew"
                .to_owned()
        }
        JobState::Completed => {
            "it ran and gave a result; submit with cache=skip to run it anew".to_owned()
        }
        JobState::Cancelled => "it was cancelled; submit the action again to run it".to_owned(),
        JobState::Failed | JobState::Abandoned => {
            let reason = details::reason(app, moment, job).await?;
            format!("{reason}; {}", remedy(job))
        }
        JobState::Pending | JobState::Submitting | JobState::Running | JobState::Retracted => {
            open(app, &around)
        }
    };
    let position = around.ahead.filter(|ahead| *ahead < POSITION_MAX).map(|ahead| ahead + 1);
    let at_least = around.ahead.filter(|ahead| *ahead >= POSITION_MAX);
    let mut body = object()
        .with("lsn", job.job)
        .with("state", job.state)
        .with("because", because)
        .with("waits_for", waits_for(app, &around))
        .with_some("position", position)
        .with_some("position_at_least", at_least)
        .with_some("shares_execution_of", around.shared)
        .with("execution", job.execution)
        .with("retry_count", job.retry_count)
        .with("retries_max", job.retries_max);
    match around.execution {
        Some(ExecutionState::BackingOff { until }) => body = body.with("until", until),
        Some(
            ExecutionState::Submitting { attempt, runner }
            | ExecutionState::Running { attempt, runner },
        ) => {
            body = body.with("attempt", attempt).with("runner", runner.0.to_string());
        }
        Some(ExecutionState::Retracted { avoid: Some(runner) }) => {
            body = body.with("avoids_runner", runner.0.to_string());
        }
        Some(
            ExecutionState::Ready
            | ExecutionState::Retracted { avoid: None }
            | ExecutionState::Completed { .. }
            | ExecutionState::Ended,
        )
        | None => {}
    }
    Ok(body)
}

fn look(published: &Published, job: &JobRow) -> Around {
    let views = &published.views;
    let oldest = views.jobs_wanting(job.execution).min();
    Around {
        execution: (!job.state.is_final())
            .then(|| views.execution(job.execution).map(|execution| execution.state))
            .flatten(),
        ahead: (!job.state.is_final())
            .then(|| views.ready_position(job.job, POSITION_MAX))
            .flatten(),
        queued: job.queue.is_some(),
        limited: !job.state.is_final() && views.is_held_by_limits(job.execution),
        shared: oldest.filter(|oldest| !job.state.is_final() && *oldest < job.job),
        host: views.worker(job.worker).map(|worker| worker.host),
    }
}

/// Whether some runner here can start executables of this platform.
fn has_runner(app: &App, host: Option<&Host>) -> bool {
    app.config.runners.iter().any(|runner| runner.slots > 0 && Some(&runner.host) == host)
}

/// The one word for what an open job waits for; null when it waits for nothing.
fn waits_for(app: &App, around: &Around) -> Value {
    match &around.execution {
        Some(ExecutionState::Ready | ExecutionState::Retracted { .. }) => {
            if !has_runner(app, around.host.as_ref()) {
                "runner"
            } else if around.limited {
                "queue_limit"
            } else {
                "slot"
            }
            .into()
        }
        Some(ExecutionState::BackingOff { .. }) => "backoff".into(),
        Some(ExecutionState::Submitting { .. } | ExecutionState::Running { .. }) => {
            "process".into()
        }
        Some(ExecutionState::Completed { .. } | ExecutionState::Ended) | None => Value::Null,
    }
}

fn open(app: &App, around: &Around) -> String {
    let shared = match around.shared {
        Some(other) => format!("it shares the execution of job {other}, which "),
        None => "it ".to_owned(),
    };
    let rest = match &around.execution {
        Some(ExecutionState::Ready | ExecutionState::Retracted { .. }) => {
            let ahead = around.ahead.unwrap_or_default();
            let line = if around.queued { " in its queue" } else { "" };
            let place = match ahead {
                0 => format!("it is the next{line}"),
                ahead => format!("{ahead} are before it{line}"),
            };
            if !has_runner(app, around.host.as_ref()) {
                let host = around.host.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("waits for a runner for {host}: this service has none with a slot")
            } else if around.limited {
                format!("waits because its queue runs as many jobs at once as it may; {place}")
            } else {
                format!("waits for a free slot; {place}")
            }
        }
        Some(ExecutionState::BackingOff { until }) => {
            format!("failed and is tried again at {until}")
        }
        Some(ExecutionState::Submitting { runner, .. }) => {
            format!("was handed to runner {runner}, which is starting it")
        }
        Some(ExecutionState::Running { runner, .. }) => format!("is running on runner {runner}"),
        Some(ExecutionState::Completed { .. } | ExecutionState::Ended) | None => {
            "has just ended".to_owned()
        }
    };
    shared + &rest
}

fn remedy(job: &JobRow) -> String {
    if job.retry_count < job.retries_max {
        format!(
            "reschedule it to try again ({} of {} retries used)",
            job.retry_count, job.retries_max
        )
    } else {
        format!("its {} retries are used up; submit the action again", job.retries_max)
    }
}
