//! Recordings: starting and stopping, the list, what is in one, forgetting it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use warp::reply::Response;

use super::App;
use super::error::Error;
use super::payload;
use super::request::Request;
use super::respond::{self, Value, object};
use super::store;
use crate::domain::{Answer, Command, Event, Lsn, Record, Rejection, Timestamp};
use crate::replay::contents::{self, Contents};
use crate::replay::source;
use crate::views::{RecordingRow, RecordingState};

/// Recordings in a list when the client names no number.
const LIST_DEFAULT: usize = 100;
/// Most recordings in a list.
const LIST_MAX: usize = 1_000;

/// What was counted of recordings that don't change any more.
#[derive(Default)]
pub(super) struct Counted(Mutex<BTreeMap<Lsn, Arc<Contents>>>);

impl Counted {
    fn get(&self, recording: Lsn) -> Option<Arc<Contents>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&recording).cloned()
    }

    /// Keeps `contents` as long as `exists` says that there is the recording.
    fn keep(&self, recording: Lsn, contents: Arc<Contents>, exists: impl Fn(Lsn) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(recording, contents);
        all.retain(|known, _| exists(*known));
    }
}

/// POST `/compute/record/start`.
pub(super) async fn start(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    if !request.app.engine.has_room() {
        return Err(Error::NoRoom);
    }
    let settings = payload::small(&mut request).await?.unwrap_or_else(object);
    let name = match settings.get("name").filter(|value| !value.is_null()) {
        None => None,
        Some(value) => Some(value.as_str().map(ToOwned::to_owned).ok_or_else(|| {
            let reason = format!("is {}, not a string", value.kind_name());
            Error::BadField { field: "name".into(), reason }
        })?),
    };
    let command = Command::StartRecording { name };
    let accepted = request.app.engine.execute(command, request.cause).await?;
    let body = object().with("recording", accepted.first).with("start_lsn", accepted.first);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// POST `/compute/record/stop`.
pub(super) async fn stop(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let accepted = request.app.engine.execute(Command::StopRecording, request.cause).await?;
    let Answer::RecordingStopped { recording } = accepted.answer else {
        return Err(Error::Internal("a stop was answered as something else".into()));
    };
    let (_, row) = look(&request.app, recording)?;
    let contents = contents_of(&request.app, &row).await?;
    let body = object()
        .with("recording", recording)
        .with("start_lsn", row.start)
        .with("stop_lsn", row.stop)
        .with("jobs", row.jobs)
        .with("chunks", contents.chunks)
        .with("bytes", contents.bytes);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// GET `/compute/record?after=N&limit=N`.
pub(super) async fn list(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let query = request.query();
    let after = query.parse("after", "an LSN")?.unwrap_or(Lsn::ZERO);
    let limit = query.parse("limit", "a number")?.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let (lsn, mut rows) = request.app.engine.read(|published| {
        let all = published.views.recordings().filter(|row| row.recording > after);
        (published.lsn(), all.take(limit + 1).collect::<Vec<_>>())
    });
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.recording);
    let told = described(&request.app, rows).await?;
    let body = object().with("recordings", Value::array(told)).with("next", next);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// GET `/compute/record/{id}`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let (lsn, row) = look(&request.app, request.lsn()?)?;
    let contents = contents_of(&request.app, &row).await?;
    let told = described(&request.app, vec![row]).await?.pop().unwrap_or_default();
    let body = told
        .with("workers", contents.workers.clone())
        .with("chunks", contents.chunks)
        .with("bytes", contents.bytes);
    Ok(respond::true_at(respond::ok(spelling, &body), lsn))
}

/// DELETE `/compute/record/{id}`.
pub(super) async fn delete(request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let recording = request.lsn()?;
    let command = Command::DeleteRecording { recording };
    let accepted = request.app.engine.execute(command, request.cause).await?;
    let body = object().with("recording", recording);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// A recording that is known, and the LSN at which it was looked at.
pub(super) fn look(app: &App, recording: Lsn) -> Result<(Lsn, RecordingRow), Error> {
    let found =
        app.engine.read(|published| Some((published.lsn(), published.views.recording(recording)?)));
    Ok(found.ok_or(Rejection::UnknownRecording(recording))?)
}

/// What is in a recording: of one that can still change, what is in it by now.
async fn contents_of(app: &Arc<App>, row: &RecordingRow) -> Result<Arc<Contents>, Error> {
    let id = row.recording;
    if let Some(known) = app.counted.get(id) {
        return Ok(known);
    }
    // The semaphore is never closed.
    let _turn = app.counts.clone().acquire_owned().await.ok();
    if let Some(known) = app.counted.get(id) {
        return Ok(known);
    }
    let (log, chunks, row) = (app.log()?.clone(), app.chunks.clone(), row.clone());
    let engine = app.engine.clone();
    let settled = row.state == RecordingState::Settled;
    let found = store::blocking(move || {
        let durable = engine.durable();
        contents::of(&log, &chunks, &row, &engine, durable).map_err(unreadable)
    });
    let found = found.await?;
    let found = Arc::new(found);
    if settled {
        let exists = |id| app.engine.read(|published| published.views.recording(id).is_some());
        app.counted.keep(id, found.clone(), exists);
    }
    Ok(found)
}

/// Why a recording can't be read.
pub(super) fn unreadable(error: source::Error) -> Error {
    match error {
        source::Error::Log(error) => Error::Log(error),
        source::Error::Chunks(error) => Error::Chunks(error),
        other => Error::Internal(respond::sentence(&other)),
    }
}

/// Recordings as lists show them. Names and times are in the records that began and ended them.
async fn described(app: &App, rows: Vec<RecordingRow>) -> Result<Vec<Value>, Error> {
    let log = app.log()?.clone();
    let described = store::blocking(move || {
        let at = |lsn: Lsn| {
            let lost = || Error::Internal(format!("record {lsn} is not in the log"));
            log.get(lsn)?.ok_or_else(lost)
        };
        let each = rows.into_iter().map(|row| {
            let begun = at(row.recording)?;
            let stopped = match row.stop {
                Some(stop) if !row.imported => Some(at(stop)?.at),
                _ => None,
            };
            Ok(describe(&row, begun, stopped))
        });
        each.collect()
    });
    described.await
}

fn describe(row: &RecordingRow, begun: Record, stopped: Option<Timestamp>) -> Value {
    let name = match begun.event {
        Event::RecordingStarted { name } | Event::RecordingImported { name, .. } => name,
        _ => None,
    };
    object()
        .with("recording", row.recording)
        .with("name", name)
        .with("state", row.state.name())
        .with("imported", row.imported)
        .with("start_lsn", row.start)
        .with("stop_lsn", row.stop)
        .with("jobs", row.jobs)
        .with("open_jobs", row.open)
        .with("started_at", (!row.imported).then_some(begun.at))
        .with("stopped_at", stopped)
        .with("imported_at", row.imported.then_some(begun.at))
}
