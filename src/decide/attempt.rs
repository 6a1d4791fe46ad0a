//! What runners report. A report about any other attempt than the current one changes nothing.

use super::facts::Facts;
use super::{Decision, limits};
use crate::domain::event::{
    GAVE_UP_LEN_MAX, REASON_BYTES_MAX, SANDBOX_BYTES_MAX, TAIL_INLINE_BYTES_MAX,
};
use crate::domain::{
    Answer, AttemptRef, Event, Failure, Lsn, Outcome, Rejection, Tail, Timestamp, Usage,
};
use crate::views::{ExecutionState, Views};

fn is_current(views: &Views, attempt: AttemptRef) -> bool {
    views.attempt_under_way(attempt.execution) == Some(attempt)
}

pub(super) fn start(views: &Views, attempt: AttemptRef, sandbox: &str) -> Decision {
    let state = views.execution(attempt.execution).map(|execution| execution.state);
    let waits = matches!(state, Some(ExecutionState::Submitting { attempt: current, .. })
        if current == attempt.attempt);
    if !waits {
        return Decision::nothing(Answer::Stale);
    }
    Decision::done(Event::AttemptStarted {
        execution: attempt.execution,
        attempt: attempt.attempt,
        sandbox: limits::cut(sandbox, SANDBOX_BYTES_MAX).to_owned(),
    })
}

pub(super) fn lose(views: &Views, attempt: AttemptRef) -> Decision {
    if !is_current(views, attempt) {
        return Decision::nothing(Answer::Stale);
    }
    let AttemptRef { execution, attempt } = attempt;
    Decision::done(Event::AttemptLost { execution, attempt })
}

pub(super) fn finish(
    views: &Views,
    attempt: AttemptRef,
    outcome: &Outcome,
    usage: Usage,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    if !is_current(views, attempt) {
        return Ok(Decision::nothing(Answer::Stale));
    }
    let outcome = checked(outcome)?;
    let AttemptRef { execution, attempt } = attempt;
    let Retry { at, gave_up } = retry(views, execution, &outcome, facts);
    let abandoned = matches!(&outcome, Outcome::Failed(failure) if failure.kind.abandons());
    let mut events: Vec<Event> = gave_up
        .chunks(GAVE_UP_LEN_MAX)
        .map(|jobs| Event::JobsGaveUp { execution, abandoned, jobs: jobs.to_vec() })
        .collect();
    events.push(Event::AttemptFinished { execution, attempt, outcome, usage, retry_at: at });
    Ok(Decision { events, answer: Answer::Done })
}

/// The outcome as it fits into a record.
fn checked(outcome: &Outcome) -> Result<Outcome, Rejection> {
    let stderr = match outcome {
        Outcome::Completed { output, stderr, .. } => {
            limits::object("an output inside a record", output)?;
            stderr
        }
        Outcome::Failed(failure) => &failure.stderr,
    };
    if let Some(Tail::Inline(text)) = stderr {
        limits::at_most("an stderr tail inside a record", text.len(), TAIL_INLINE_BYTES_MAX)?;
    }
    Ok(match outcome {
        Outcome::Completed { .. } => outcome.clone(),
        Outcome::Failed(failure) => Outcome::Failed(Failure {
            reason: limits::cut(&failure.reason, REASON_BYTES_MAX).to_owned(),
            ..failure.clone()
        }),
    })
}

/// Who tries again, and when.
struct Retry {
    at: Option<Timestamp>,
    /// Those who have no retry left while others have. When nobody has, the attempt's own record
    /// ends them all.
    gave_up: Vec<Lsn>,
}

fn retry(views: &Views, execution: Lsn, outcome: &Outcome, facts: &Facts) -> Retry {
    const NOBODY: Retry = Retry { at: None, gave_up: Vec::new() };
    let Outcome::Failed(failure) = outcome else { return NOBODY };
    if !failure.kind.is_retryable() {
        return NOBODY;
    }
    let mut gave_up = Vec::new();
    let mut most_retries = None;
    for (job, retries) in views.retries_of(execution) {
        if retries.count < retries.max {
            most_retries = most_retries.max(Some(retries.count));
        } else {
            gave_up.push(job);
        }
    }
    let Some(retries) = most_retries else { return NOBODY };
    let wait = facts.policy.backoff(retries, facts.jitter);
    Retry { at: Some(facts.now.after(wait)), gave_up }
}
