//! Looking at single jobs: polls, details, their history.

use std::collections::HashSet;

use bytes::Bytes;
use warp::http::StatusCode;
use warp::reply::Response;

use super::App;
use super::details;
use super::error::Error;
use super::history;
use super::log;
use super::moment::Moment;
use super::negotiate::{Media, Spelling};
use super::payload::malformed;
use super::request::Request;
use super::respond::{self, Value, object};
use super::store::{self, Source};
use crate::domain::{JobState, Lsn, QueueId, Rejection};
use crate::views::{JobRow, Newest};
use crate::wire::cb::Object;
use crate::wire::output::Output;
use crate::wire::package::{Part, Plan};

/// GET `/compute/jobs/{worker}/{action}`: the engine's poll.
pub(super) async fn poll(request: Request) -> Result<Response, Error> {
    let media = request.choose(&[Media::Package, Media::Json, Media::Object])?;
    let (worker, action) = (request.worker()?, request.action()?);
    let find = |moment: &Moment| {
        moment.read(|published| {
            match published.newest(worker, action) {
                Newest::Job(job) => published.views.job(job).map(|job| (published.lsn(), job)),
                Newest::Cancelled(job) => return Err(Error::AllCancelled { job }),
                Newest::None => None,
            }
            .ok_or(Error::NoSuchAction { worker, action })
        })
    };
    let (lsn, job) = settle(&request, find).await?;
    answer(&request, media, lsn, job).await
}

/// GET `/compute/jobs/{lsn}`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    let media = request.choose(&[Media::Json, Media::Object, Media::Package])?;
    let id = request.lsn()?;
    let scope = request.scope;
    let find = |moment: &Moment| find(moment, scope, id);
    let (lsn, job) = if media == Media::Package {
        settle(&request, find).await?
    } else {
        find(&request.moment)?
    };
    answer(&request, media, lsn, job).await
}

/// A job by its name, and up to which LSN that is true. Below a queue the jobs of others don't
/// exist.
fn find(moment: &Moment, scope: Option<QueueId>, id: Lsn) -> Result<(Lsn, JobRow), Error> {
    moment.read(|published| {
        let job = published.views.job(id).filter(|job| scope.is_none() || job.queue == scope);
        Ok((published.lsn(), job.ok_or(Rejection::UnknownJob(id))?))
    })
}

/// The job named by the path, of the queue that the path is below. One that was retired is in no
/// view any more; its submission says whose it was.
pub(super) async fn in_scope(request: &Request) -> Result<Lsn, Error> {
    let id = request.lsn()?;
    let Some(queue) = request.scope else { return Ok(id) };
    let retired = match find(&request.moment, request.scope, id) {
        Ok(_) => return Ok(id),
        Err(unknown) => {
            let retired = request.moment.read(|published| published.views.is_retired(id));
            if !retired {
                return Err(unknown);
            }
            history::submitted_to(&request.app, id).await?
        }
    };
    if retired == Some(queue) { Ok(id) } else { Err(Rejection::UnknownJob(id).into()) }
}

/// Holds a poll for an unfinished job for a moment, when few are held, and looks again whenever a
/// job has ended.
async fn settle(
    request: &Request,
    find: impl Fn(&Moment) -> Result<(Lsn, JobRow), Error>,
) -> Result<(Lsn, JobRow), Error> {
    let (app, moment) = (&request.app, &request.moment);
    let mut ended = app.engine.watch_ended();
    ended.borrow_and_update();
    let found = find(moment)?;
    // In the past it stays as it is.
    let over = found.1.state.is_final() || moment.past().is_some();
    if over || app.config.poll_hold.is_zero() {
        return Ok(found);
    }
    let Some(_held) = app.hold() else { return Ok(found) };
    let until = tokio::time::Instant::now() + app.config.poll_hold;
    let mut stopping = app.stopping.clone();
    loop {
        let over = tokio::select! {
            changed = ended.changed() => changed.is_err(),
            _ = stopping.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep_until(until) => true,
        };
        let found = find(moment)?;
        if over || found.1.state.is_final() {
            return Ok(found);
        }
    }
}

async fn answer(request: &Request, media: Media, lsn: Lsn, job: JobRow) -> Result<Response, Error> {
    let response = match media {
        Media::Package => package(request, job).await?,
        media => {
            let status = if job.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
            let spelling = if media == Media::Json { Spelling::Json } else { Spelling::Binary };
            let body = details::of(&request.app, &request.moment, job).await?;
            respond::with_status(status, spelling, &body)
        }
    };
    Ok(respond::true_at(response, lsn))
}

/// The result as a package, or why there is none.
async fn package(request: &Request, job: JobRow) -> Result<Response, Error> {
    match job.state {
        JobState::Completed => {}
        JobState::Cancelled => return Err(Error::JobCancelled { job: job.job }),
        JobState::Failed | JobState::Abandoned => {
            let reason = details::reason(&request.app, &request.moment, &job).await?;
            return Err(Error::JobEnded { job: job.job, state: job.state, reason });
        }
        JobState::Pending | JobState::Submitting | JobState::Running | JobState::Retracted => {
            let body = object().with("lsn", job.job).with("state", job.state);
            return Ok(respond::with_status(StatusCode::ACCEPTED, Spelling::Binary, &body));
        }
    }
    let at = job.output_at.ok_or_else(|| Error::Internal("a result was lost".into()))?;
    let root = history::output(&request.app, at).await;
    let root = request.moment.or_gone(root)?;
    let app = request.app.clone();
    let moment = request.moment.clone();
    let planned = store::blocking(move || plan(&app, &moment, job.job, &root));
    let (plan, sources) = planned.await?;
    let share = request.app.answers.stream(&request.app).await?;
    let pieces = store::outgoing(sources);
    Ok(respond::stream(Media::Package, Some(plan.total_bytes()), pieces, Some(share)))
}

/// Lays out a result's package: the output object as it is, and each distinct value once.
fn plan(app: &App, moment: &Moment, job: Lsn, root: &Bytes) -> Result<(Plan, Vec<Source>), Error> {
    let output = Object::parse(root.clone()).map_err(|error| malformed(&error))?;
    let output = Output::parse(output).map_err(|error| malformed(&error))?;
    let mut seen = HashSet::new();
    let (mut parts, mut contents) = (Vec::new(), Vec::new());
    for value in output.values() {
        if !seen.insert(value.hash) {
            continue;
        }
        let content = moment.or_gone(app.chunks.read(&value.hash).map_err(Error::from));
        let content = content.map_err(|source| match source {
            gone @ Error::ChunkGone { .. } => gone,
            source => {
                tracing::error!(%job, error = respond::sentence(&source), "a value cannot be read");
                Error::ResultIncomplete { job, chunk: value.hash }
            }
        })?;
        parts.push(Part::stored(value.hash.0, content.len()));
        contents.push(content);
    }
    let plan =
        Plan::new(root, parts).map_err(|error| Error::Internal(respond::sentence(&error)))?;
    let mut sources = vec![Source::Bytes(Bytes::copy_from_slice(plan.head()))];
    for (part, content) in plan.parts().iter().zip(contents) {
        sources.push(Source::Bytes(part.head().into()));
        sources.push(Source::Content(Box::new(content)));
    }
    Ok((plan, sources))
}

/// GET `/compute/jobs/{lsn}/events`.
pub(super) async fn events(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (lsn, job) = find(&request.moment, request.scope, request.lsn()?)?;
    let records = history::of(&request.app, &job).await?;
    let mut events = Vec::with_capacity(records.len());
    for record in &records {
        events.push(Value::from(log::to_json(record)?));
    }
    let body = object().with("lsn", job.job).with("events", events);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// GET `/compute/jobs/{lsn}/explain`.
pub(super) async fn explain(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (lsn, job) = find(&request.moment, request.scope, request.lsn()?)?;
    let body = super::explain::of(&request.app, &request.moment, &job).await?;
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}
