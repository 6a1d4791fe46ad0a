//! The feed of ended jobs.

use std::time::Duration;

use warp::reply::Response;

use super::error::Error;
use super::links::Link;
use super::moment::Moment;
use super::request::{Query, Request};
use super::respond::{self, Value, object};
use super::waiting::{Feed, Woken};
use super::{App, log};
use crate::domain::{Lsn, QueueId};
use crate::views::EndedRow;

/// Jobs on a page when the client names no number.
const PAGE_DEFAULT: usize = 1_000;
/// Most jobs on a page, but for those that ended by one event.
const PAGE_MAX: usize = 10_000;

/// GET `/compute/jobs/completed?since=LSN&limit=N&wait=S`, and the same of a queue.
pub(super) async fn completed(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let Poll { wanted, wait } = Poll::of(request.query(), request.scope)?;
    let since = wanted.since;
    // Nothing more happens in the past.
    let over = request.head.waited || wait.is_zero() || request.moment.past().is_some();
    let (lsn, page) = if over {
        look(&request.moment, wanted)
    } else {
        wait_for(&request.app, &request.head.link, wanted, wait).await
    };
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

/// What a client asks of the feed.
#[derive(Clone, Copy)]
struct Wanted {
    queue: Option<QueueId>,
    since: Lsn,
    limit: usize,
}

fn look(moment: &Moment, wanted: Wanted) -> (Lsn, Vec<EndedRow>) {
    let Wanted { queue, since, limit } = wanted;
    moment.read(|published| (published.lsn(), published.ended(queue, since, limit)))
}

/// What a request for a feed asks.
pub(super) struct Poll {
    wanted: Wanted,
    /// How long to wait for something.
    wait: Duration,
}

impl Poll {
    fn of(query: Query<'_>, queue: Option<QueueId>) -> Result<Self, Error> {
        let since = query.parse("since", "an LSN")?.unwrap_or(Lsn::ZERO);
        let limit = query.parse("limit", "a number")?.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        Ok(Self { wanted: Wanted { queue, since, limit }, wait: log::wait(query)? })
    }

    /// The request when it has to wait: it is right, and there is nothing yet.
    pub(super) fn waiting(app: &App, query: Query<'_>, queue: Option<QueueId>) -> Option<Self> {
        let poll = Self::of(query, queue).ok().filter(|poll| !poll.wait.is_zero())?;
        look(&Moment::Present(app.engine.clone()), poll.wanted).1.is_empty().then_some(poll)
    }

    /// Waits until there is something, or as long as it asks.
    pub(super) async fn wait(self, app: &App, link: &Link) {
        let _attendance = self.wanted.queue.map(|queue| app.engine.attend(queue));
        wait_for(app, link, self.wanted, self.wait).await;
    }
}

/// Waits until there is something, the time is over, or somebody else needs the place: then the page
/// is empty as if the time were over.
async fn wait_for(app: &App, link: &Link, wanted: Wanted, wait: Duration) -> (Lsn, Vec<EndedRow>) {
    let feed = wanted.queue.map_or(Feed::Ended, Feed::EndedIn);
    let until = tokio::time::Instant::now() + wait;
    let now = Moment::Present(app.engine.clone());
    loop {
        let place = app.waiting.enter(feed, wanted.since);
        let (lsn, page) = look(&now, wanted);
        if !page.is_empty() {
            return (lsn, page);
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match place.wait(left, link).await {
            // What ended may be gone by now.
            Woken::Passed => {}
            Woken::TimedOut | Woken::GivenUp => return look(&now, wanted),
        }
    }
}
