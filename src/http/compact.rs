//! Folding the oldest records of the log when somebody asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::lines::{self, LINES_WAITING, TELL_EVERY};
use super::negotiate::Media;
use super::request::{Query, Request};
use super::respond;
use crate::clock::monotonic;
use crate::domain::Lsn;
use crate::engine::{CompactOrder, CompactProgress, CompactReport};

type Line<'a> = lines::Line<'a, CompactProgress, CompactReport>;

/// POST `/compute/log/compact?before=LSN&keep=S`: lines about how far it is, and at last the report.
pub(super) async fn compact(request: Request) -> Result<Response, Error> {
    request.choose(&[Media::JsonLines, Media::Json])?;
    let order = order(request.query())?;
    let app = request.app.clone();
    app.engine.check_ready()?;
    let lsn = app.engine.durable();
    let share = app.answers.stream(&app).await?;
    let (lines, mut pieces) = mpsc::channel(LINES_WAITING);
    tokio::spawn(async move {
        // The semaphore is never closed.
        let Ok(turn) = app.compacting.clone().acquire_owned().await else { return };
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            run(&app, order, &lines);
        });
        if done.await.is_err() {
            tracing::error!("compacting the log panicked");
        }
    });
    // What is refused before anything is done is told by a status.
    let first = match pieces.recv().await {
        Some(Ok(first)) => first,
        Some(Err(refused)) => return Err(refused),
        None => return Err(Error::Internal("compacting the log failed".into())),
    };
    let (client, rest) = mpsc::channel(LINES_WAITING);
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            let piece =
                piece.unwrap_or_else(|error| Line::Error(respond::sentence(&error)).to_bytes());
            if client.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    let answer = respond::stream_from(Some(first), Media::JsonLines, None, rest, Some(share));
    Ok(respond::true_at(answer, lsn))
}

fn order(query: Query<'_>) -> Result<CompactOrder, Error> {
    let before: Option<Lsn> = query.parse("before", "an LSN")?;
    let expected = "a number of seconds, at least 0";
    let keep = query.parse::<f64>("keep", expected)?.map(|seconds| {
        Duration::try_from_secs_f64(seconds).map_err(|_| {
            let found = query.text("keep").unwrap_or_default().chars().take(48).collect();
            Error::BadParameter { name: "keep", expected, found }
        })
    });
    Ok(CompactOrder { before, keep: keep.transpose()? })
}

type Lines = mpsc::Sender<Result<Bytes, Error>>;

/// Goes on also when the client has gone: what it asked for is worth having.
fn run(app: &Arc<App>, order: CompactOrder, lines: &Lines) {
    let mut told: Option<Instant> = None;
    let mut listener = |progress: CompactProgress| {
        // The first is told when all that could be refused at once has been looked at.
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(monotonic());
            // A client that takes nothing doesn't hold it up.
            drop(lines.try_send(Ok(Line::Progress(progress).to_bytes())));
        }
    };
    let done = match app.engine.compact_blocking(order, &mut listener) {
        Ok(report) => Ok(Line::Report(&report).to_bytes()),
        Err(error) => {
            let error = Error::from(error);
            tracing::warn!(error = respond::sentence(&error), "the log was not compacted");
            Err(error)
        }
    };
    drop(lines.blocking_send(done));
}
