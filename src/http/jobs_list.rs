//! Lists of jobs: by filters, and what is open of a worker.

use warp::reply::Response;

use super::details;
use super::error::Error;
use super::request::Request;
use super::respond::{self, Value, object};
use crate::domain::{JobState, Lsn, QueueId};
use crate::views::{Filter, SCAN_LEN_MAX};

/// Jobs in a list when the client names no number.
const LIST_DEFAULT: usize = 100;
/// No job comes after it, and it still has a successor.
const AFTER_MAX: Lsn = Lsn(u64::MAX - 1);
/// Lists above this take turns.
const LIST_LIGHT_MAX: usize = 1_000;
/// Most jobs in a list.
const LIST_MAX: usize = 10_000;

/// GET `/compute/jobs/{worker}`: what of it is open.
pub(super) async fn open_of_worker(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let worker = request.worker()?;
    let (app, moment, scope) = (&request.app, &request.moment, request.scope);
    let (lsn, known) =
        moment.read(|published| (published.lsn(), published.views.worker(worker).is_some()));
    if !known {
        return Err(Error::NoSuchWorker(worker));
    }
    let _turn = app.heavy().await;
    let (mut pending, mut running) = (Vec::new(), Vec::new());
    let mut after = Lsn::ZERO;
    // In portions, because the writer waits for each.
    loop {
        let portion: Vec<(Lsn, Option<JobState>)> = moment.read(|published| {
            if let Some(queue) = scope {
                published.open_jobs_in(queue, worker, after).take(SCAN_LEN_MAX).collect()
            } else {
                let open = published.open_jobs(worker, after).take(SCAN_LEN_MAX);
                open.map(|(job, state)| (job, Some(state))).collect()
            }
        });
        let Some((last, _)) = portion.last() else { break };
        after = *last;
        for (job, state) in portion {
            match state {
                Some(JobState::Pending | JobState::Retracted) => pending.push(job),
                Some(JobState::Submitting | JobState::Running) => running.push(job),
                // Another worker's, or ended since the last portion.
                Some(
                    JobState::Completed
                    | JobState::Failed
                    | JobState::Abandoned
                    | JobState::Cancelled,
                )
                | None => {}
            }
        }
    }
    let body = object().with("worker", worker).with("pending", pending).with("running", running);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// GET `/compute/jobs`.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let query = request.query();
    let filter = Filter {
        state: match query.text("state") {
            None => None,
            Some(text) => Some(JobState::from_name(&text).ok_or(Error::BadParameter {
                name: "state",
                expected: "a state of a job",
                found: text.chars().take(48).collect(),
            })?),
        },
        queue: queue_wanted(&request)?,
        worker: query.parse("worker", "a worker id")?,
        function: query.text("function"),
        after: query.parse("after", "an LSN")?.unwrap_or(Lsn::ZERO).min(AFTER_MAX),
    };
    let limit = query.parse("limit", "a number")?.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let _turn = if limit > LIST_LIGHT_MAX { request.app.heavy().await } else { None };
    let (lsn, page) =
        request.moment.read(|published| (published.lsn(), published.jobs(&filter, limit)));
    let next = page.next;
    let body = object()
        .with("jobs", Value::array(page.jobs.iter().map(details::summary)))
        .with("next", next);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// The queue that the path or the query names. Below one queue there are no jobs of another.
fn queue_wanted(request: &Request) -> Result<Option<QueueId>, Error> {
    let expected = "a queue's number";
    let asked: Option<QueueId> = request.query().parse("queue", expected)?;
    match (request.scope, asked) {
        (Some(scope), Some(asked)) if asked != scope => Err(Error::BadParameter {
            name: "queue",
            expected: "the queue of the path",
            found: asked.to_string(),
        }),
        (scope, asked) => Ok(scope.or(asked)),
    }
}
