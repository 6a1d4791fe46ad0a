//! Replays: beginning them, and what came of them so far.

use warp::http::StatusCode;
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::payload;
use super::request::Request;
use super::respond::{self, Value, object};
use super::store;
use crate::domain::{
    Answer, Command, Event, Lsn, Mismatch, NewReplay, ObjectRef, Record, Rejection, Verdicts,
};
use crate::eventlog::LogReader;
use crate::replay::plan::Plan;
use crate::replay::{self, script};
use crate::views::ReplayRow;

/// POST `/compute/record/{id}/replay`.
pub(super) async fn start(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let recording = request.lsn()?;
    if !request.app.engine.has_room() {
        return Err(Error::NoRoom);
    }
    let asked = payload::small(&mut request).await?.unwrap_or_else(object);
    let plan = Plan::of(&asked)
        .map_err(|bad| Error::BadField { field: bad.field.into(), reason: bad.reason })?;
    let app = request.app.clone();
    let found = app.engine.read(|published| published.views.recording(recording));
    let found = found.ok_or(Rejection::UnknownRecording(recording))?;
    // Until the command is queued, a plan that is a chunk must stay.
    let _hold = app.chunks.hold();
    let _turn = app.heavy().await;
    let (handle, chunks) = (app.engine.clone(), app.chunks.clone());
    let counted = store::blocking(move || {
        // One that isn't complete is refused by the rules.
        if found.settled.is_none() {
            return Ok((0, kept(&chunks, &plan)?));
        }
        let total = script::count(&handle, &chunks, &found, &plan)?;
        Ok((total, kept(&chunks, &plan)?))
    });
    let (total, plan) = counted.await?;
    let new = NewReplay { recording, plan, total };
    let accepted = app.engine.execute(Command::StartReplay(new), request.cause).await?;
    let Answer::ReplayStarted { replay, queue } = accepted.answer else {
        return Err(Error::Internal("a new replay was answered as something else".into()));
    };
    let body = object().with("replay", replay).with("queue", queue).with("total", total);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

impl From<replay::Error> for Error {
    fn from(error: replay::Error) -> Self {
        match error {
            replay::Error::Engine(error) => Self::Engine(error),
            replay::Error::Log(error) => Self::Log(error),
            replay::Error::Chunks(error) => Self::Chunks(error),
            many @ replay::Error::TooMany { .. } => {
                Self::BadField { field: "repeat".into(), reason: many.to_string() }
            }
            other => Self::Internal(respond::sentence(&other)),
        }
    }
}

/// A plan as the log refers to it.
fn kept(chunks: &crate::chunks::Store, plan: &Plan) -> Result<ObjectRef, Error> {
    let json = serde_json::to_vec(plan)
        .map_err(|error| Error::Internal(format!("cannot write a plan: {error}")))?;
    if json.len() <= crate::domain::object::INLINE_BYTES_MAX {
        return Ok(ObjectRef::Inline(crate::domain::Blob(json.into())));
    }
    Ok(ObjectRef::Chunk(chunks.put_unnamed(&json)?))
}

/// GET `/compute/replays`.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (lsn, rows) = request
        .app
        .engine
        .read(|published| (published.lsn(), published.views.replays().collect::<Vec<_>>()));
    let replays = rows.iter().map(|row| {
        summary(row)
            .with("matched", row.matched)
            .with("mismatched_count", row.mismatched)
            .with("failed_count", row.failed)
            .with("newly_passing_count", row.newly_passing)
    });
    let body = object().with("replays", Value::array(replays));
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// GET `/compute/replays/{id}`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    show(&request, Lsn::ZERO).await
}

/// DELETE `/compute/replays/{id}`: cancels its queue; what of it has not ended never will.
pub(super) async fn cancel(request: Request) -> Result<Response, Error> {
    request.spelling()?;
    let row = find(&request)?.1;
    if row.ended.is_some() {
        return show(&request, Lsn::ZERO).await;
    }
    let command = Command::CancelQueue { queue: row.queue };
    let accepted = request.app.engine.execute(command, request.cause).await?;
    show(&request, accepted.last).await
}

fn find(request: &Request) -> Result<(Lsn, ReplayRow), Error> {
    let replay = request.lsn()?;
    let (lsn, row) =
        request.app.engine.read(|published| (published.lsn(), published.views.replay(replay)));
    Ok((lsn, row.ok_or(Rejection::UnknownReplay(replay))?))
}

/// The replay of the path, in an answer that is true at `lsn` at least.
async fn show(request: &Request, lsn: Lsn) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (seen, row) = find(request)?;
    let _turn = request.app.heavy().await;
    let (log, last) = (request.app.log()?.clone(), row.clone());
    let told = store::blocking(move || Told::of(&*log, &last)).await?;
    let body = summary(&row)
        .with("matched", row.matched)
        .with("mismatched", Value::array(told.verdicts.mismatched.iter().map(mismatch)))
        .with(
            "failed",
            Value::array(told.verdicts.failed.iter().map(|failure| {
                object().with("lsn", failure.job).with("error", failure.error.clone())
            })),
        )
        .with("newly_passing", told.verdicts.newly_passing)
        .with_some("reason", told.reason)
        .with("started_at", told.started.at)
        .with("ended_at", told.ended.map(|record| record.at))
        .with("plan", plan(&request.app, &told.started).await?);
    Ok(respond::true_at(respond::with_status(StatusCode::OK, spelling, &body), lsn.max(seen)))
}

fn summary(row: &ReplayRow) -> Value {
    object()
        .with("replay", row.replay)
        .with("recording", row.recording)
        .with("queue", row.queue)
        .with("state", if row.ended.is_some() { "done" } else { "running" })
        .with("total", row.total)
        .with("submitted", row.next)
}

fn mismatch(found: &Mismatch) -> Value {
    object()
        .with("lsn", found.job)
        .with("value", found.value.clone())
        .with("recorded", found.recorded)
        .with("replayed", found.replayed)
}

/// What was asked for.
async fn plan(app: &App, started: &Record) -> Result<Value, Error> {
    let Event::ReplayStarted { plan, .. } = &started.event else { return Ok(Value::Null) };
    let json = match plan {
        ObjectRef::Inline(blob) => blob.0.clone(),
        // Of one that is over it may have been collected.
        ObjectRef::Chunk(id) if !app.chunks.contains(id) => return Ok(Value::Null),
        ObjectRef::Chunk(_) => store::load(app, plan).await?,
    };
    let read = crate::wire::json::parse(&json);
    read.map_err(|error| Error::Internal(format!("a replay's plan: {error}")))
}

/// What the records about a replay say, up to one moment.
struct Told {
    started: Record,
    ended: Option<Record>,
    reason: Option<String>,
    verdicts: Verdicts,
}

impl Told {
    /// Reads the records of `row` backwards, so that those after it don't count.
    fn of(log: &dyn LogReader, row: &ReplayRow) -> Result<Self, Error> {
        let lost = || Error::Internal(format!("the records of replay {} are lost", row.replay));
        let mut parts = Vec::new();
        let (mut ended, mut why) = (None, None);
        let mut at = row.tail;
        while at > row.replay {
            let record = log.get(at)?.ok_or_else(lost)?;
            at = record.prev;
            match &record.event {
                Event::ReplayJudged { verdicts, .. } => parts.push(verdicts.clone()),
                Event::ReplayEnded { reason, .. } => {
                    why.clone_from(reason);
                    ended = Some(record);
                }
                _ => return Err(lost()),
            }
        }
        let started = log.get(row.replay)?.ok_or_else(lost)?;
        let mut verdicts = Verdicts::default();
        parts.into_iter().rev().for_each(|part| part.merge_into(&mut verdicts));
        Ok(Self { started, ended, reason: why, verdicts })
    }
}
