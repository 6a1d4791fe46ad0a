//! Whether the service takes work.

use warp::http::StatusCode;
use warp::reply::Response;

use super::error::Error;
use super::negotiate::Media;
use super::request::Request;
use super::respond::{self, object};
use crate::engine::Status;

/// GET `/compute/ready`.
pub(super) async fn ready(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    Ok(match reason(&request.app.engine.status()) {
        None => respond::ok(spelling, &object().with("ready", true)),
        Some(reason) => {
            let body = object().with("ready", false).with("reason", reason);
            let mut response =
                respond::with_status(StatusCode::SERVICE_UNAVAILABLE, spelling, &body);
            respond::retry_soon(&mut response);
            response
        }
    })
}

/// GET `/health` and `/health/ready`: the same as text, for probes. No `Accept` is refused.
pub(super) async fn plain(request: Request) -> Result<Response, Error> {
    Ok(match reason(&request.app.engine.status()) {
        None => respond::bytes(StatusCode::OK, Media::Text, "OK\n"),
        Some(reason) => {
            let body = format!("{reason}\n");
            let mut response = respond::bytes(StatusCode::SERVICE_UNAVAILABLE, Media::Text, body);
            respond::retry_soon(&mut response);
            response
        }
    })
}

/// Why the service takes no work, `None` when it does.
fn reason(status: &Status) -> Option<String> {
    match status {
        Status::Ready => None,
        Status::Starting => Some("the log is being replayed".into()),
        Status::Stopping => Some("the service is stopping".into()),
        Status::Poisoned(why) => Some(format!("the log could not be written: {why}")),
    }
}
