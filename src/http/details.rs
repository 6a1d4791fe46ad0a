//! A job as an object: its summary, its attempts, its result.

use bytes::Bytes;

use super::App;
use super::error::Error;
use super::history;
use super::moment::Moment;
use super::respond::{Value, object};
use super::store;
use crate::domain::{
    AttemptNo, Event, Failure, FailureKind, JobState, Lsn, Outcome, Record, RunnerName, Tail,
    Timestamp, Usage,
};
use crate::views::JobRow;
use crate::wire::cb::Object;

/// What lists show of a job.
pub(super) fn summary(job: &JobRow) -> Value {
    object()
        .with("lsn", job.job)
        .with("state", job.state)
        .with("action", job.action)
        .with("worker", job.worker)
        .with("function", job.function.to_string())
        .with("queue", job.queue)
        .with("priority", job.priority)
        .with("retry_count", job.retry_count)
        .with("submitted_at", job.submitted_at)
        .with_some("completed_lsn", job.ended)
        .with_some("cached", job.cached.then_some(true))
}

/// Everything about a job.
pub(super) async fn of(app: &App, moment: &Moment, job: JobRow) -> Result<Value, Error> {
    let records = history::of(app, &job).await?;
    let attempts = attempts(&records);
    let ended_at = job.ended.and_then(|ended| records.iter().find(|record| record.lsn == ended));
    let error = failure(&attempts).map(|failure| failure.reason.clone());
    let error = error.filter(|_| job.state.is_final() && job.state != JobState::Completed);
    let mut shown = Vec::with_capacity(attempts.len());
    for attempt in &attempts {
        shown.push(attempt.show(app, moment).await?);
    }
    let mut body = summary(&job)
        .with_some("ended_at", ended_at.map(|record| record.at))
        .with("attempts", shown)
        .with_some("error", error);
    if let Some(at) = job.output_at
        && let Some(output) = moment.unless_gone(history::output(app, at).await)?
    {
        let result = Object::parse(output);
        let result = result.map_err(|error| Error::Internal(format!("a result: {error}")))?;
        body = body.with("result", result);
    }
    Ok(body)
}

/// Why a job failed for good, for a person.
pub(super) async fn reason(app: &App, moment: &Moment, job: &JobRow) -> Result<String, Error> {
    let records = history::of(app, job).await?;
    let attempts = attempts(&records);
    let Some(failure) = failure(&attempts) else {
        return Ok("no attempt gave a result".into());
    };
    let mut reason = failure.reason.clone();
    if let Some(tail) = &failure.stderr {
        let stderr = moment.unless_gone(text_of(app, tail).await)?.unwrap_or_default();
        if !stderr.trim().is_empty() {
            reason.push_str("; it wrote to stderr: ");
            reason.push_str(stderr.trim_end());
        }
    }
    Ok(reason)
}

/// One attempt, put together from its records.
struct Attempt {
    execution: Lsn,
    number: AttemptNo,
    runner: RunnerName,
    assigned_at: Timestamp,
    started_at: Option<Timestamp>,
    sandbox: Option<String>,
    ended_at: Option<Timestamp>,
    end: Option<End>,
    retry_at: Option<Timestamp>,
}

/// How it ended.
enum End {
    Outcome(Outcome, Usage),
    Lost,
    Retracted,
    Cancelled,
}

fn failure(attempts: &[Attempt]) -> Option<&Failure> {
    attempts.iter().rev().find_map(|attempt| match &attempt.end {
        Some(End::Outcome(Outcome::Failed(failure), _)) => Some(failure),
        _ => None,
    })
}

fn attempts(records: &[Record]) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for record in records {
        let (execution, number) = match &record.event {
            Event::AttemptAssigned { execution, attempt, runner, .. } => {
                attempts.push(Attempt {
                    execution: *execution,
                    number: *attempt,
                    runner: runner.clone(),
                    assigned_at: record.at,
                    started_at: None,
                    sandbox: None,
                    ended_at: None,
                    end: None,
                    retry_at: None,
                });
                continue;
            }
            Event::AttemptStarted { execution, attempt, .. }
            | Event::AttemptFinished { execution, attempt, .. }
            | Event::AttemptLost { execution, attempt }
            | Event::ExecutionRetracted { execution, stop: Some(attempt), .. } => {
                (*execution, *attempt)
            }
            Event::JobCancelled { stop: Some(stop), .. } => (stop.execution, stop.attempt),
            Event::QueueCancelled { .. } => {
                // It ended what was under way, unless a job of another queue wants that: then more
                // of it follows.
                if let Some(open) = attempts.last_mut().filter(|attempt| attempt.end.is_none()) {
                    open.take(record);
                }
                continue;
            }
            _ => continue,
        };
        let known = attempts
            .iter_mut()
            .rev()
            .find(|attempt| attempt.execution == execution && attempt.number == number);
        if let Some(attempt) = known {
            attempt.take(record);
        }
    }
    attempts
}

impl Attempt {
    /// Adds what a later record says of it.
    fn take(&mut self, record: &Record) {
        let end = match &record.event {
            Event::AttemptStarted { sandbox, .. } => {
                self.started_at = Some(record.at);
                self.sandbox = Some(sandbox.clone());
                return;
            }
            Event::AttemptFinished { outcome, usage, retry_at, .. } => {
                self.retry_at = *retry_at;
                End::Outcome(outcome.clone(), *usage)
            }
            Event::AttemptLost { .. } => End::Lost,
            Event::ExecutionRetracted { .. } => End::Retracted,
            _ => End::Cancelled,
        };
        self.ended_at = Some(record.at);
        self.end = Some(end);
    }

    async fn show(&self, app: &App, moment: &Moment) -> Result<Value, Error> {
        let (outcome, usage) = match &self.end {
            None => (None, None),
            Some(End::Lost) => (Some("lost"), None),
            Some(End::Retracted) => (Some("retracted"), None),
            Some(End::Cancelled) => (Some("cancelled"), None),
            Some(End::Outcome(Outcome::Completed { .. }, usage)) => {
                (Some("completed"), Some(*usage))
            }
            Some(End::Outcome(Outcome::Failed(failure), usage)) => {
                (Some(word(failure.kind)), Some(*usage))
            }
        };
        let failure = match &self.end {
            Some(End::Outcome(Outcome::Failed(failure), _)) => Some(failure),
            _ => None,
        };
        let (exit_code, tail) = match &self.end {
            Some(End::Outcome(Outcome::Completed { stderr, .. }, _)) => (Some(0), stderr.as_ref()),
            _ => (
                failure.and_then(|failure| failure.exit_code),
                failure.and_then(|failure| failure.stderr.as_ref()),
            ),
        };
        let stderr = match tail {
            Some(tail) => moment.unless_gone(text_of(app, tail).await)?,
            None => None,
        };
        Ok(object()
            .with("attempt", self.number)
            .with("execution", self.execution)
            .with("runner", self.runner.0.to_string())
            .with("assigned_at", self.assigned_at)
            .with("started_at", self.started_at)
            .with("ended_at", self.ended_at)
            .with("outcome", outcome.map(Value::from))
            .with("exit_code", exit_code)
            .with_some("signal", failure.and_then(|failure| failure.signal))
            .with_some("reason", failure.map(|failure| failure.reason.clone()))
            .with("cpu_ms", usage.map(|usage| usage.cpu_ms))
            .with("peak_rss_bytes", usage.map(|usage| usage.peak_rss_bytes))
            .with("sandbox", self.sandbox.clone())
            .with_some("retry_at", self.retry_at)
            .with_some("stderr", stderr))
    }
}

/// The word for a failure in `outcome`.
const fn word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Launch => "launch_failed",
        FailureKind::Exit => "exited",
        FailureKind::TimedOut => "timed_out",
        FailureKind::BadOutput => "bad_output",
        FailureKind::InputLost => "input_lost",
        FailureKind::RunnerLost => "runner_lost",
    }
}

async fn text_of(app: &App, tail: &Tail) -> Result<String, Error> {
    match tail {
        Tail::Inline(text) => Ok(text.clone()),
        Tail::Chunk { chunk, .. } => {
            let object = crate::domain::ObjectRef::Chunk(*chunk);
            let bytes: Bytes = store::load(app, &object).await?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
}
