//! The feed of ended jobs.

use warp::reply::Response;

use super::error::Error;
use super::request::Request;
use super::respond::{self, Value, object};
use super::{App, log};
use crate::domain::Lsn;
use crate::views::EndedRow;

/// Jobs on a page when the client names no number.
const PAGE_DEFAULT: usize = 1_000;
/// Most jobs on a page, but for those that ended by one event.
const PAGE_MAX: usize = 10_000;

/// GET `/compute/jobs/completed?since=LSN&limit=N&wait=S`.
pub(super) async fn completed(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let query = request.query();
    let since = query.parse("since", "an LSN")?.unwrap_or(Lsn::ZERO);
    let limit = query.parse("limit", "a number")?.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let wait = log::wait(&request)?;

    let (mut lsn, mut page) = look(&request.app, since, limit);
    if page.is_empty() && !wait.is_zero() {
        (lsn, page) = wait_for(&request.app, since, limit, wait).await;
    }
    // A client that stores `next` neither misses a job nor sees one twice: jobs that ended by one
    // event are on one page.
    let next = page.last().map_or(since, |last| last.ended);
    let jobs = page.into_iter().map(|ended| {
        object()
            .with("lsn", ended.job)
            .with("completed_lsn", ended.ended)
            .with("state", ended.state)
            .with("action", ended.action)
            .with("worker", ended.worker)
            .with("queue", ended.queue)
    });
    let body = object().with("completed", Value::array(jobs)).with("next", next);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

fn look(app: &App, since: Lsn, limit: usize) -> (Lsn, Vec<EndedRow>) {
    app.engine.read(|published| (published.lsn(), published.ended(None, since, limit)))
}

/// Looks again whenever a job has ended, until there is something or the wait is over.
async fn wait_for(
    app: &App,
    since: Lsn,
    limit: usize,
    wait: std::time::Duration,
) -> (Lsn, Vec<EndedRow>) {
    let until = tokio::time::Instant::now() + wait;
    let mut ended = app.engine.watch_ended();
    let mut stopping = app.stopping.clone();
    loop {
        // Seen before looking, so that an end between the two wakes the wait below.
        ended.borrow_and_update();
        let (lsn, page) = look(app, since, limit);
        if !page.is_empty() {
            return (lsn, page);
        }
        let over = tokio::select! {
            changed = ended.changed() => changed.is_err(),
            _ = stopping.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep_until(until) => true,
        };
        if over {
            return look(app, since, limit);
        }
    }
}
