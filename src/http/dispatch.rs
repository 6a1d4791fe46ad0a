//! From a request to its response, whatever happens on the way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Buf;
use futures_util::{FutureExt as _, Stream};
use warp::http::HeaderValue;
use warp::reply::Response;

use super::body::Body;
use super::error::Error;
use super::request::{Head, Request, cause};
use super::router::{Found, Route, is_engine_post};
use super::{App, respond};
use crate::engine::{self, Status};

/// Answers one request.
pub(super) async fn dispatch<S, B>(app: Arc<App>, head: Arc<Head>, body: S) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    // Taken before the handler looks, so that the answer holds at least up to here.
    let lsn = app.engine.durable();
    let cause = cause(&head.headers);
    let answer = answer(&app, &head, cause, body).await;
    let mut response = answer.unwrap_or_else(|error| {
        let engine_post = is_engine_post(&head.method, head.uri.path());
        respond::error(&error, &head.headers, engine_post)
    });
    let headers = response.headers_mut();
    headers.entry(respond::LSN).or_insert_with(|| HeaderValue::from(lsn.0));
    tracing::debug!(
        method = %head.method,
        path = head.uri.path(),
        peer = %head.peer,
        session = cause.session.map(tracing::field::display),
        request = cause.request,
        status = response.status().as_u16(),
        "answered"
    );
    response
}

async fn answer<S, B>(
    app: &Arc<App>,
    head: &Arc<Head>,
    cause: crate::domain::Cause,
    body: S,
) -> Result<Response, Error>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    // Before anything is refused: a refused body is still taken for a while.
    let body = Body::new(body, &head.headers, app.config.body_idle_timeout);
    let found = app.router.find(&head.method, head.uri.path());
    app.guard.check(found.access(), head)?;
    let (route, params) = match found {
        Found::Route(route, params) => (route, params),
        Found::OtherMethods(allow, _) => return Err(Error::MethodNotAllowed { allow }),
        Found::Nothing => return Err(Error::UnknownPath),
    };
    if !answers_while_starting(route) && app.engine.status() == Status::Starting {
        return Err(engine::Error::Starting.into());
    }
    let request = Request { app: app.clone(), head: head.clone(), params, body, cause };
    // A panic is a defect, but one request's: the connection and its neighbours go on.
    let caught = AssertUnwindSafe((route.handler)(request)).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Error::Internal("a handler failed".into())))
}

/// Before the log is replayed the views are empty, and an answer from them would be wrong.
fn answers_while_starting(route: &Route) -> bool {
    route.pattern.starts_with("/health")
        || matches!(route.pattern, "/compute/ready" | "/compute/sysinfo")
}
