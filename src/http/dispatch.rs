//! From a request to its response, whatever happens on the way.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Buf;
use futures_util::{FutureExt as _, Stream};
use warp::http::HeaderValue;
use warp::reply::Response;

use super::body::Body;
use super::error::Error;
use super::moment::{self, Moment};
use super::patience::Patience;
use super::request::{Head, Query, Request, cause};
use super::router::{Found, QueueName, Route, is_engine_post};
use super::{App, feed, negotiate, respond};
use crate::domain::{Lsn, QueueId, QueueToken, Rejection, TokenHash};
use crate::engine::{self, Status};

/// Answers one request.
pub(super) async fn dispatch<S, B>(app: Arc<App>, head: Arc<Head>, body: S) -> Response
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    // Taken before the handler looks, so that the answer holds at least up to here.
    let mut lsn = app.engine.durable();
    let cause = cause(&head.headers);
    let refuse = |error: &Error| {
        let engine_post = is_engine_post(&head.method, head.target.path());
        respond::error(error, &head.headers, engine_post)
    };
    let mut response = match answer(&app, &head, cause, body, &mut lsn).await {
        Ok(mut response) => match app.answers.whole(&app, &mut response).await {
            Ok(()) => response,
            Err(busy) => refuse(&busy),
        },
        Err(error) => refuse(&error),
    };
    let headers = response.headers_mut();
    headers.entry(respond::LSN).or_insert_with(|| HeaderValue::from(lsn.0));
    tracing::debug!(
        method = %head.method,
        path = shown(head.target.path()),
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
    true_at: &mut Lsn,
) -> Result<Response, Error>
where
    S: Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
    B: Buf,
{
    // Before anything is refused: a refused body is still taken for a while.
    let patience = Patience::new(app.config.body_timeout, app.config.min_rate);
    let body = Body::new(body, &head.headers, patience, head.link.clone());
    let found = app.router.find(&head.method, head.target.path());
    app.guard.check(found.access(), head)?;
    let (route, params) = match found {
        Found::Route(route, params) => (route, params),
        Found::OtherMethods(allow, _) => return Err(Error::MethodNotAllowed { allow }),
        Found::Nothing => return Err(Error::UnknownPath),
    };
    if !answers_while_starting(route) && app.engine.status() == Status::Starting {
        return Err(engine::Error::Starting.into());
    }
    let moment = Moment::of(app, route, Query(head.target.query())).await?;
    *true_at = moment.past().unwrap_or(*true_at);
    let scope = scope(&moment, params.queue)?;
    // As long as this is being answered, the queue is not idle.
    let _attendance = scope.map(|queue| app.engine.attend(queue));
    let request =
        Request { app: app.clone(), head: head.clone(), params, moment, scope, body, cause };
    // A panic is a defect, but one request's: the connection and its neighbours go on.
    let caught = AssertUnwindSafe((route.handler)(request)).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Error::Internal("a handler failed".into())))
}

/// What a GET waits for when it is a long poll of a feed that has nothing yet. Whatever is wrong with
/// it is for [`dispatch`] to say.
pub(super) fn foresee(app: &App, head: &Head) -> Option<feed::Poll> {
    let found = app.router.find(&head.method, head.target.path());
    app.guard.check(found.access(), head).ok()?;
    let Found::Route(route, params) = found else { return None };
    if !route.pattern.ends_with("/completed") || app.engine.status() != Status::Ready {
        return None;
    }
    let query = Query(head.target.query());
    if moment::is_named(query) {
        return None;
    }
    negotiate::spelling(&head.headers).ok()?;
    let scope = scope(&Moment::Present(app.engine.clone()), params.queue).ok()?;
    feed::Poll::waiting(app, query, scope)
}

/// The queue that a path is below. A token that leads nowhere costs what one that leads to a queue
/// does: a hash, and a look-up of it.
fn scope(moment: &Moment, name: Option<QueueName>) -> Result<Option<QueueId>, Error> {
    let found = match name {
        None => return Ok(None),
        Some(QueueName::Number(number)) => {
            let number = number.ok_or(Error::NoSuchQueue)?;
            let known = moment.read(|published| published.views.queue_state(number).is_some());
            known.then_some(number).ok_or(Rejection::UnknownQueue(number))?
        }
        Some(QueueName::Token(token)) => {
            let hash = TokenHash::of(&token);
            let found = moment.read(|published| published.views.queue_of_token(&hash));
            found.ok_or(Error::NoSuchQueue)?
        }
    };
    Ok(Some(found))
}

/// The path as it may be written down: without the token of a queue, which is a secret.
fn shown(path: &str) -> String {
    let secret = |part: &&str| part.parse::<QueueToken>().is_ok();
    match path.split('/').find(secret) {
        Some(token) => path.replace(token, "{token}"),
        None => path.to_owned(),
    }
}

/// Before the log is replayed the views are empty, and an answer from them would be wrong.
fn answers_while_starting(route: &Route) -> bool {
    route.pattern.starts_with("/health")
        || matches!(route.pattern, "/compute/ready" | "/compute/sysinfo")
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn tokens_are_not_written_down() {
        let token = "0123456789abcdefABCDEF01";
        assert_eq!(
            shown(&format!("/compute/queues/{token}/jobs/7")),
            "/compute/queues/{token}/jobs/7"
        );
        assert_eq!(shown(&format!("/{token}/{token}")), "/{token}/{token}");
        assert_eq!(shown("/compute/jobs/7"), "/compute/jobs/7");
    }
}
