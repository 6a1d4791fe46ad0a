//! Responses: objects in either spelling, bytes, streams, errors.

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::Reply as _;
use warp::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;

use super::answers::Share;
use super::error::{Error, RETRY_AFTER_SECONDS};
use super::headers::Headers;
use super::negotiate::{self, Media, Spelling};
pub(super) use crate::domain::sentence;
use crate::domain::{JobState, Lsn, Rejection};
use crate::engine;
use crate::wire::cb::Object;
use crate::wire::json;
pub(super) use crate::wire::value::Value;

/// The LSN up to which an answer is true.
pub(super) const LSN: HeaderName = HeaderName::from_static("x-ledgerun-lsn");

/// An object to add fields to.
pub(super) const fn object() -> Value {
    Value::Object(Vec::new())
}

/// 200 with an object.
pub(super) fn ok(spelling: Spelling, value: &Value) -> Response {
    with_status(StatusCode::OK, spelling, value)
}

/// An object with a status.
pub(super) fn with_status(status: StatusCode, spelling: Spelling, value: &Value) -> Response {
    let body = match spelling {
        Spelling::Binary => value.to_object().into_bytes(),
        Spelling::Json => value.to_json().into(),
    };
    bytes(status, spelling.media(), body)
}

/// Bytes of a type.
pub(super) fn bytes(status: StatusCode, media: Media, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    response
}

/// Pieces as they come, of a known total length or not. `share` is the memory for those that the
/// client has not taken.
pub(super) fn stream(
    media: Media,
    length: Option<u64>,
    pieces: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    share: Option<Share>,
) -> Response {
    stream_from(None, media, length, pieces, share)
}

/// The same when one piece is at hand.
pub(super) fn stream_from(
    first: Option<Bytes>,
    media: Media,
    length: Option<u64>,
    mut pieces: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    share: Option<Share>,
) -> Response {
    let mut first = first;
    let body = futures_util::stream::poll_fn(move |context| match first.take() {
        Some(first) => std::task::Poll::Ready(Some(Ok(first))),
        None => pieces.poll_recv(context),
    });
    let mut response = warp::reply::stream(body).into_response();
    if let Some(share) = share {
        response.extensions_mut().insert(share);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An object that is kept as it came, in either spelling.
pub(super) fn spelled(media: Media, object: &Object) -> Response {
    match media {
        Media::Object => bytes(StatusCode::OK, media, object.bytes().clone()),
        _ => bytes(StatusCode::OK, Media::Json, json::to_string(object)),
    }
}

/// Says up to which LSN the answer is true.
pub(super) fn true_at(mut response: Response, lsn: Lsn) -> Response {
    response.headers_mut().insert(LSN, HeaderValue::from(lsn.0));
    response
}

/// Asks the client to come back.
pub(super) fn retry_soon(response: &mut Response) {
    let soon = HeaderValue::from_static(RETRY_AFTER_SECONDS);
    response.headers_mut().insert(RETRY_AFTER, soon);
}

/// An error in the type the client reads.
pub(super) fn error(error: &Error, headers: &Headers, engine_post: bool) -> Response {
    let (status, code) = error.status();
    if status == StatusCode::INTERNAL_SERVER_ERROR && !matches!(error, Error::JobEnded { .. }) {
        tracing::error!(error = sentence(error), "request failed");
    }
    let not_found_post = engine_post && status == StatusCode::NOT_FOUND;
    let spelling = negotiate::error_spelling(headers, not_found_post);
    let body = with_details(object().with("error", sentence(error)).with("code", code), error);
    let mut response = with_status(status, spelling, &body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        retry_soon(&mut response);
    }
    let headers = response.headers_mut();
    match error {
        Error::MethodNotAllowed { allow } => {
            headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
        }
        Error::Unauthorized { shown } => {
            let challenge = if *shown {
                "Bearer realm=\"ledgerun\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"ledgerun\""
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Error::RangeNotSatisfiable { length } => {
            let range = HeaderValue::from_str(&format!("bytes */{length}"));
            headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
        }
        error if error.closes() => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Adds what a program needs beside the code.
pub(super) fn with_details(body: Value, error: &Error) -> Value {
    match error {
        Error::Need { need } => body.with("need", need.clone()),
        Error::UnknownWorker(worker) | Error::NoSuchWorker(worker) => body.with("worker", *worker),
        Error::NoSuchAction { worker, action } => {
            body.with("worker", *worker).with("action", *action)
        }
        Error::JobEnded { job, state, .. } => body.with("lsn", *job).with("state", *state),
        Error::AllCancelled { job } | Error::JobCancelled { job } => {
            body.with("lsn", *job).with("state", JobState::Cancelled)
        }
        Error::DamagedArchive { position, .. } => body.with("position", *position),
        Error::LogTrimmed { first } => body.with("first_lsn", *first),
        Error::LsnInFuture { newest, .. } => body.with("last_lsn", *newest),
        Error::ChunkGone { chunk } => body.with("chunk", *chunk),
        Error::Engine(engine::Error::Rejected(rejection)) => with_rejection(body, rejection),
        _ => body,
    }
}

fn with_rejection(body: Value, rejection: &Rejection) -> Value {
    match rejection {
        Rejection::UnknownWorker(worker) => body.with("worker", *worker),
        Rejection::WorkerBusy { worker, open } => {
            body.with("worker", *worker).with("open_jobs", *open)
        }
        Rejection::TooLong { limit, .. } => body.with("limit", *limit),
        Rejection::UnknownJob(job) => body.with("lsn", *job),
        Rejection::WrongState { job, state, .. } => body.with("lsn", *job).with("state", *state),
        Rejection::RetryLimit { job, limit } => body.with("lsn", *job).with("limit", *limit),
        Rejection::UnknownQueue(queue) => body.with("queue", *queue),
        Rejection::QueueState { queue, state, .. } => {
            body.with("queue", *queue).with("state", *state)
        }
        Rejection::QueueHolds { queue, held } => body.with("queue", *queue).with("held", *held),
        Rejection::TooManyQueues | Rejection::NotRecording => body,
        Rejection::QueueOfReplay { queue, replay } => {
            body.with("queue", *queue).with("replay", *replay)
        }
        Rejection::RecordingActive { recording } | Rejection::UnknownRecording(recording) => {
            body.with("recording", *recording)
        }
        Rejection::RecordingOpen { recording, open } => {
            body.with("recording", *recording).with("open_jobs", *open)
        }
        Rejection::RecordingInUse { recording, replay } => {
            body.with("recording", *recording).with("replay", *replay)
        }
        Rejection::UnknownReplay(replay)
        | Rejection::ReplayOver(replay)
        | Rejection::ReplayPosition { replay, .. } => body.with("replay", *replay),
        Rejection::NoWorker(key) => body
            .with("function", key.function.name.clone())
            .with("function_version", key.function.version)
            .with("build_system_version", key.build_system),
    }
}
