//! Queues: making, showing, draining, cancelling.
//!
//! The jobs of a queue are served by the handlers of all jobs; [`Request::scope`] narrows them.

use warp::reply::Response;

use super::App;
use super::error::Error;
use super::payload;
use super::request::Request;
use super::respond::{self, Value, object};
use super::store;
use crate::clock;
use crate::domain::{
    Answer, Blob, Command, Event, Lsn, Millis, NewQueue, ObjectId, QueueId, QueueToken, Rejection,
    TokenHash,
};
use crate::views::{Published, QueueCounts, QueueRow};
use crate::wire::cb::Object;

/// Queues in a list when the client names no number.
const LIST_DEFAULT: usize = 100;
/// Most queues in a list.
const LIST_MAX: usize = 1_000;

/// POST `/compute/queues`.
pub(super) async fn create(mut request: Request) -> Result<Response, Error> {
    let (queue, lsn) = make(&mut request, None).await?;
    let body = object().with("queue_id", queue);
    Ok(respond::true_at(respond::ok(request.spelling()?, &body), lsn))
}

/// POST `/compute/queues/remote`. This answer is the only place where the token ever stands.
pub(super) async fn create_remote(mut request: Request) -> Result<Response, Error> {
    let secret = clock::secret().map_err(|error| Error::Internal(respond::sentence(&error)))?;
    let token = QueueToken(ObjectId(secret));
    let (queue, lsn) = make(&mut request, Some(TokenHash::of(&token))).await?;
    let body = object().with("queue_token", token.0).with("queue_id", queue);
    Ok(respond::true_at(respond::ok(request.spelling()?, &body), lsn))
}

async fn make(request: &mut Request, token: Option<TokenHash>) -> Result<(QueueId, Lsn), Error> {
    // Refused before there is a queue that nobody can name.
    request.spelling()?;
    if !request.app.engine.has_room() {
        return Err(Error::NoRoom);
    }
    let settings = payload::small(request).await?.unwrap_or_else(object);
    let new = NewQueue { token, ..settings_of(&settings)? };
    let accepted = request.app.engine.execute(Command::CreateQueue(new), request.cause).await?;
    match accepted.answer {
        Answer::QueueCreated { queue } => Ok((queue, accepted.last)),
        _ => Err(Error::Internal("a new queue was answered as something else".into())),
    }
}

/// What a client wants of its queue. A field that is absent or null has its default.
fn settings_of(body: &Value) -> Result<NewQueue, Error> {
    let field = |name: &str| body.get(name).filter(|value| !value.is_null());
    let name = match field("name") {
        None => None,
        Some(value) => {
            Some(value.as_str().ok_or_else(|| wrong("name", value, "a string"))?.to_owned())
        }
    };
    let metadata = match field("metadata") {
        None => None,
        Some(value) if value.as_object().is_some() => Some(Blob(value.to_object().into_bytes())),
        Some(value) => return Err(wrong("metadata", value, "an object")),
    };
    let expire_after = match field("expire_after_idle_s") {
        None => None,
        Some(value) => {
            let seconds = value.as_u64().ok_or_else(|| {
                wrong("expire_after_idle_s", value, "a number of whole seconds, at least 0")
            })?;
            Some(Millis(seconds.saturating_mul(1_000)))
        }
    };
    let max_running = match field("max_running") {
        None => None,
        Some(value) => {
            let max = value.as_u64();
            let max = max.ok_or_else(|| wrong("max_running", value, "an integer, at least 0"))?;
            Some(u32::try_from(max).unwrap_or(u32::MAX))
        }
    };
    let retries_max = match field("max_retries") {
        None => None,
        Some(value) if matches!(value, Value::Unsigned(_) | Value::Signed(_)) => {
            // Below zero stands for the default, as it does with the original.
            value.as_u64().map(|max| u32::try_from(max).unwrap_or(u32::MAX))
        }
        Some(value) => return Err(wrong("max_retries", value, "an integer")),
    };
    Ok(NewQueue { token: None, name, metadata, retries_max, expire_after, max_running })
}

fn wrong(field: &str, value: &Value, expected: &str) -> Error {
    let found = match value {
        Value::Signed(number) => number.to_string(),
        other => other.kind_name().to_owned(),
    };
    Error::BadField { field: field.into(), reason: format!("is {found}, not {expected}") }
}

/// GET `/compute/queues/{queue}`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    show(&request, Lsn::ZERO).await
}

/// DELETE `/compute/queues/{queue}`.
pub(super) async fn cancel(request: Request) -> Result<Response, Error> {
    let queue = request.queue()?;
    change(&request, Command::CancelQueue { queue }).await
}

/// POST `/compute/queues/{queue}/drain`.
pub(super) async fn drain(request: Request) -> Result<Response, Error> {
    let queue = request.queue()?;
    change(&request, Command::DrainQueue { queue }).await
}

/// Carries out a command and shows the queue as it is then.
async fn change(request: &Request, command: Command) -> Result<Response, Error> {
    request.spelling()?;
    let accepted = request.app.engine.execute(command, request.cause).await?;
    show(request, accepted.last).await
}

/// The queue of the path, in an answer that is true at `lsn` at least.
async fn show(request: &Request, lsn: Lsn) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let queue = request.queue()?;
    let found = request
        .moment
        .read(|published| Some((published.lsn(), look(published, published.views.queue(queue)?))));
    let (seen, found) = found.ok_or(Rejection::UnknownQueue(queue))?;
    let body = described(&request.app, vec![found]).await?.pop().unwrap_or_default();
    Ok(respond::true_at(respond::ok(spelling, &body), lsn.max(seen)))
}

/// GET `/compute/queues?after=N&limit=N`.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let query = request.query();
    // Zero, which no queue has, is before the first.
    let after: Option<u32> = query.parse("after", "a queue's number")?;
    let after = after.and_then(QueueId::new);
    let limit = query.parse("limit", "a number")?.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let (lsn, mut found) = request.moment.read(|published| {
        let queues = published.views.queues(after).take(limit + 1);
        (published.lsn(), queues.map(|row| look(published, row)).collect::<Vec<_>>())
    });
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(row, _)| row.queue);
    let queues = described(&request.app, found).await?;
    let body = object().with("queues", queues).with("next", next);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// A queue and its counters, of one moment.
fn look(published: &Published, row: QueueRow) -> (QueueRow, QueueCounts) {
    let counts = published.queue_counts(row.queue);
    (row, counts)
}

/// Queues as answers show them. Names and metadata are in the records that made them.
async fn described(app: &App, found: Vec<(QueueRow, QueueCounts)>) -> Result<Vec<Value>, Error> {
    let log = app.log()?.clone();
    let retries_max = app.config.retries_max;
    let described = store::blocking(move || {
        let each = found.into_iter().map(|(row, counts)| {
            let record = log.get(row.created)?;
            let event = record.map(|record| record.event);
            let Some(Event::QueueCreated { name, metadata, .. }) = event else {
                let lost = format!("record {} does not hold what the views say", row.created);
                return Err(Error::Internal(lost));
            };
            describe(&row, &counts, name, metadata, retries_max)
        });
        each.collect()
    });
    described.await
}

fn describe(
    row: &QueueRow,
    counts: &QueueCounts,
    name: Option<String>,
    metadata: Option<Blob>,
    retries_max: u32,
) -> Result<Value, Error> {
    let metadata = metadata.map(|blob| Object::parse(blob.0)).transpose();
    let metadata = metadata.map_err(|error| Error::Internal(format!("metadata: {error}")))?;
    Ok(object()
        .with("queue_id", row.queue)
        .with("state", row.state)
        .with("active_count", counts.active())
        .with("completed_count", counts.completed)
        .with("failed_count", counts.failed)
        .with("abandoned_count", counts.abandoned)
        .with("cancelled_count", counts.cancelled)
        .with("queued_count", counts.queued)
        .with("running_count", counts.running)
        .with("is_complete", counts.active() == 0)
        .with("name", name)
        .with("metadata", metadata)
        .with("max_retries", row.retries_max.unwrap_or(retries_max))
        .with("expire_after_idle_s", seconds(row.expire_after))
        .with("max_running", row.max_running)
        .with("remote", row.remote)
        .with("created_at", row.created_at))
}

/// Zero is what a client says for never, so that it may send back what it was shown.
fn seconds(time: Option<Millis>) -> Value {
    let Millis(millis) = time.unwrap_or(Millis(0));
    if millis % 1_000 == 0 {
        Value::from(millis / 1_000)
    } else {
        // A default that an operator set in smaller parts.
        Value::from(Value::from(millis).as_f64().unwrap_or_default() / 1_000.0)
    }
}
