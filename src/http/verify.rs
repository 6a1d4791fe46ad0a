//! Verifying the log and the chunks it refers to, while the service goes on.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::lines::{self, LINES_WAITING, TELL_EVERY};
use super::negotiate::Media;
use super::request::Request;
use super::respond;
use crate::clock::monotonic;
use crate::domain::Lsn;
use crate::replay::verify::{self, Progress, Report};
use crate::views::Published;

/// How often a chunk is looked for.
const TRIES: u32 = 3;

type Line<'a> = lines::Line<'a, Progress, Report>;

/// POST `/compute/log/verify`: lines about how far it is, and at last the report.
pub(super) async fn verify(request: Request) -> Result<Response, Error> {
    request.choose(&[Media::JsonLines, Media::Json])?;
    let app = request.app.clone();
    // Before the first line is out, so that a service that has no log yet says so.
    app.log()?;
    let lsn = app.engine.read(Published::lsn);
    let share = app.answers.stream(&app).await?;
    let (lines, pieces) = mpsc::channel(LINES_WAITING);
    tokio::spawn(async move {
        // Each takes the memory of some states, so there is one at a time. The semaphore is never
        // closed.
        let Ok(turn) = app.verifying.clone().acquire_owned().await else { return };
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            run(&app, &lines);
        });
        if done.await.is_err() {
            tracing::error!("verifying the log panicked");
        }
    });
    Ok(respond::true_at(respond::stream(Media::JsonLines, None, pieces, Some(share)), lsn))
}

type Lines = mpsc::Sender<Result<Bytes, std::io::Error>>;

fn run(app: &Arc<App>, lines: &Lines) {
    let mut told: Option<Instant> = None;
    let mut listener = |progress: Progress| {
        let over = *app.stopping.borrow() || lines.is_closed();
        let first = progress.done == 0;
        let due = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if over || !(first || due) {
            return !over;
        }
        told = Some(monotonic());
        send(lines, &Line::Progress(progress))
    };
    match find_out(app, &mut listener) {
        Ok(report) => {
            if !report.good {
                tracing::error!(
                    problems = report.problems_count,
                    "the log or the chunks are damaged"
                );
            }
            send(lines, &Line::Report(&report));
        }
        Err(verify::Error::Stopped) => {}
        Err(error) => {
            let text = respond::sentence(&error);
            tracing::error!(error = %text, "cannot verify the log");
            send(lines, &Line::Error(text));
        }
    }
}

fn find_out(app: &Arc<App>, listener: verify::Listener<'_>) -> Result<Report, verify::Error> {
    let Ok(log) = app.log() else { return Err(verify::Error::Stopped) };
    let mut tries = TRIES;
    loop {
        let live = app.engine.read(Published::clone);
        let last: Lsn = live.lsn();
        let report = verify::verify(&**log, &app.chunks, last, Some(&live), &mut *listener)?;
        tries -= 1;
        // What was needed may have been let go of, and its chunks collected, before they were
        // looked up. What is really missing still is when it is looked at again.
        let missing = report.problems.iter().all(|problem| problem.kind == "missing_chunk");
        if report.good || !missing || tries == 0 {
            return Ok(report);
        }
    }
}

/// False when nobody reads.
fn send(lines: &Lines, line: &Line<'_>) -> bool {
    lines.blocking_send(Ok(line.to_bytes())).is_ok()
}
