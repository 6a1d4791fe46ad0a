//! Changing a job: cancel, priority, reschedule, retract, retire, in both spellings.

use warp::reply::Response;

use super::error::Error;
use super::jobs_read;
use super::payload;
use super::request::Request;
use super::respond::{self, Value, object};
use crate::domain::{Answer, Command, Lsn};
use crate::engine::Accepted;

/// POST `/compute/jobs/{lsn}`: one field of the body, or `?priority=N`, says what to do. Without
/// either the job is rescheduled.
pub(super) async fn by_body(mut request: Request) -> Result<Response, Error> {
    let query = priority_of_query(&request)?;
    let body = payload::small(&mut request).await?;
    match (query, body) {
        (Some(priority), None) => reprioritise(&request, priority).await,
        (None, None) => reschedule_now(&request).await,
        (query, Some(body)) => match wish(&body)? {
            Wish::Priority(priority) if query.is_none_or(|query| query == priority) => {
                reprioritise(&request, priority).await
            }
            Wish::Priority(_) => Err(bad("priority", "body and query name different priorities")),
            Wish::Cancel => cancel_now(&request).await,
            Wish::Reschedule => reschedule_now(&request).await,
            Wish::Nothing if query.is_some() => {
                reprioritise(&request, query.unwrap_or_default()).await
            }
            Wish::Nothing => Err(bad("body", "names none of priority, cancel, reschedule")),
        },
    }
}

/// POST `/compute/jobs/{lsn}/cancel` and DELETE `/compute/jobs/{lsn}`.
pub(super) async fn cancel(request: Request) -> Result<Response, Error> {
    cancel_now(&request).await
}

/// POST `/compute/jobs/{lsn}/priority`, with `{"priority":N}` or `?priority=N`.
pub(super) async fn priority(mut request: Request) -> Result<Response, Error> {
    let query = priority_of_query(&request)?;
    let body = payload::small(&mut request).await?;
    let wished = match (query, body) {
        (Some(priority), _) => priority,
        (None, Some(body)) => match wish(&body)? {
            Wish::Priority(priority) => priority,
            Wish::Cancel | Wish::Reschedule | Wish::Nothing => {
                return Err(bad("priority", "is missing"));
            }
        },
        (None, None) => return Err(bad("priority", "is missing")),
    };
    reprioritise(&request, wished).await
}

/// POST `/compute/jobs/{lsn}/reschedule`.
pub(super) async fn reschedule(request: Request) -> Result<Response, Error> {
    reschedule_now(&request).await
}

/// POST `/compute/jobs/{lsn}/retract`.
pub(super) async fn retract(request: Request) -> Result<Response, Error> {
    let job = jobs_read::in_scope(&request).await?;
    change(&request, Command::RetractJob { job }, |request, _| state(request, job)).await
}

/// POST `/compute/jobs/{lsn}/retire`.
pub(super) async fn retire(request: Request) -> Result<Response, Error> {
    let job = jobs_read::in_scope(&request).await?;
    let answer = |_: &Request, _: &Accepted| object().with("lsn", job).with("retired", true);
    change(&request, Command::RetireJob { job }, answer).await
}

async fn cancel_now(request: &Request) -> Result<Response, Error> {
    let job = jobs_read::in_scope(request).await?;
    change(request, Command::CancelJob { job }, |request, _| state(request, job)).await
}

async fn reprioritise(request: &Request, priority: i32) -> Result<Response, Error> {
    let job = jobs_read::in_scope(request).await?;
    let answer = |_: &Request, _: &Accepted| object().with("lsn", job).with("priority", priority);
    change(request, Command::ChangePriority { job, priority }, answer).await
}

async fn reschedule_now(request: &Request) -> Result<Response, Error> {
    let job = jobs_read::in_scope(request).await?;
    let answer = |_: &Request, accepted: &Accepted| {
        let retries = match accepted.answer {
            Answer::Rescheduled { retry_count } => Some(retry_count),
            _ => None,
        };
        object().with("lsn", job).with_some("retry_count", retries)
    };
    change(request, Command::RescheduleJob { job }, answer).await
}

/// Carries out a command and answers with what `body` makes of it.
async fn change(
    request: &Request,
    command: Command,
    body: impl FnOnce(&Request, &Accepted) -> Value,
) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let accepted = request.app.engine.execute(command, request.cause).await?;
    let body = body(request, &accepted);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// The job and the state it is in now.
fn state(request: &Request, job: Lsn) -> Value {
    let state = request.app.engine.read(|published| published.views.job_state(job));
    object().with("lsn", job).with_some("state", state)
}

enum Wish {
    Priority(i32),
    Cancel,
    Reschedule,
    Nothing,
}

/// The one thing a body asks for.
fn wish(body: &Value) -> Result<Wish, Error> {
    let mut wishes = Vec::new();
    if let Some(field) = body.get("priority") {
        let priority = field.as_i64().and_then(|number| i32::try_from(number).ok());
        let priority = priority.ok_or_else(|| bad("priority", "is not a 32-bit integer"))?;
        wishes.push(Wish::Priority(priority));
    }
    for (name, wish) in [("cancel", Wish::Cancel), ("reschedule", Wish::Reschedule)] {
        let Some(field) = body.get(name) else { continue };
        match field.as_bool() {
            Some(true) => wishes.push(wish),
            Some(false) => {}
            None => return Err(bad(name, "is not a boolean")),
        }
    }
    let first = wishes.pop().unwrap_or(Wish::Nothing);
    if wishes.is_empty() {
        Ok(first)
    } else {
        Err(bad("body", "asks for more than one of priority, cancel, reschedule"))
    }
}

/// `?priority=N`.
pub(super) fn priority_of_query(request: &Request) -> Result<Option<i32>, Error> {
    request.query().parse("priority", "a 32-bit integer")
}

fn bad(field: &str, reason: &str) -> Error {
    Error::BadField { field: field.into(), reason: reason.into() }
}
