//! Archives on their way out: a recording as one file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warp::http::header::CONTENT_DISPOSITION;
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::links::Link;
use super::negotiate::Media;
use super::outgoing::{self, Outlet};
use super::request::{Query, Request};
use super::respond;
use super::{recordings, store};
use crate::domain::{Event, Lsn, Rejection};
use crate::engine;
use crate::eventlog::LogReader;
use crate::replay::export;
use crate::replay::selection::Range;
use crate::replay::source::{self, Error as Unreadable};
use crate::views::{RecordingRow, RecordingState};

/// Archives that are written at once: each holds its table of chunks.
const EXPORTS_MAX: usize = 2;
/// Archives that are received at once: each takes room on the disk.
const RECEIVED_MAX: usize = 4;
/// Whoever waits for jobs to end looks no more often.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Longest name of a recording within a file's name, in bytes.
const FILE_NAME_BYTES_MAX: usize = 100;

/// Turns at carrying recordings in and out.
pub(super) struct Carrying {
    pub(super) exports: Arc<Semaphore>,
    pub(super) received: Arc<Semaphore>,
    /// One is verified and taken in at a time.
    pub(super) taken_in: Arc<Semaphore>,
}

impl Default for Carrying {
    fn default() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self { exports: turns(EXPORTS_MAX), received: turns(RECEIVED_MAX), taken_in: turns(1) }
    }
}

/// GET `/compute/record/{id}/archive?wait=S`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    let media = request.choose(&[Media::Octets])?;
    let recording = request.lsn()?;
    let patience = patience(request.query())?;
    let app = request.app.clone();
    let row = complete(&app, &request.head.link, recording, patience).await?;
    let name = file_name(&app, &row).await?;
    let mut response = if request.head.method == Method::HEAD {
        respond::bytes(StatusCode::OK, media, Bytes::new())
    } else {
        let source = Source { log: app.log()?.clone(), app: app.clone(), row };
        outgoing::stream(&app, media, "archive", move |out| source.write(out)).await?
    };
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

/// How long to wait for jobs that have not ended: without the parameter as long as it takes.
fn patience(query: Query<'_>) -> Result<Option<Duration>, Error> {
    let expected = "a number of seconds, at least 0";
    let Some(seconds) = query.parse::<f64>("wait", expected)? else { return Ok(None) };
    let wait = Duration::try_from_secs_f64(seconds).map_err(|_| {
        let found = query.text("wait").unwrap_or_default().chars().take(48).collect();
        Error::BadParameter { name: "wait", expected, found }
    });
    wait.map(Some)
}

/// Waits until a recording is complete.
async fn complete(
    app: &App,
    link: &Link,
    recording: Lsn,
    patience: Option<Duration>,
) -> Result<RecordingRow, Error> {
    let until = patience.and_then(|wait| Instant::now().checked_add(wait));
    let mut durable = app.engine.watch_durable();
    let mut stopping = app.stopping.clone();
    loop {
        // Before the look, so that nothing falls in between.
        durable.borrow_and_update();
        let (_, row) = recordings::look(app, recording)?;
        match row.state {
            RecordingState::Settled => return Ok(row),
            RecordingState::Recording => {
                return Err(Rejection::RecordingActive { recording }.into());
            }
            RecordingState::Settling => {}
        }
        let open = Rejection::RecordingOpen { recording, open: row.open };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(open.into());
        }
        link.waits_for_event();
        let over = tokio::select! {
            // Thousands of records a second are no reason to look as often.
            changed = async {
                tokio::time::sleep(LOOK_EVERY).await;
                durable.changed().await
            } => changed.err().map(|_| engine::Error::Stopping.into()),
            // The place is needed for somebody else.
            () = link.dismissed() => {
                link.end();
                Some(Error::Busy)
            }
            _ = stopping.wait_for(|stop| *stop) => Some(engine::Error::Stopping.into()),
            () = tokio::time::sleep(left.unwrap_or(Duration::MAX)) => Some(open.into()),
        };
        link.waits(None);
        if let Some(error) = over {
            return Err(error);
        }
    }
}

/// What a client may call the file.
async fn file_name(app: &App, row: &RecordingRow) -> Result<HeaderValue, Error> {
    let (log, recording) = (app.log()?.clone(), row.recording);
    let record = store::blocking(move || Ok(log.get(recording)?)).await?;
    let name = match record.map(|record| record.event) {
        Some(Event::RecordingStarted { name } | Event::RecordingImported { name, .. }) => name,
        _ => None,
    };
    let header = format!("attachment; filename=\"{}\"", called(name.as_deref(), recording));
    HeaderValue::from_str(&header).map_err(|error| Error::Internal(respond::sentence(&error)))
}

/// A name that is one on every system: whatever else is in the recording's own is left out.
fn called(name: Option<&str>, recording: Lsn) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let words = name.unwrap_or_default().replace(' ', "-");
    let kept: String = words.chars().filter(plain).take(FILE_NAME_BYTES_MAX).collect();
    let kept = kept.trim_matches(['.', '-']);
    if kept.is_empty() { format!("recording-{recording}.lrec") } else { format!("{kept}.lrec") }
}

/// What an archive is made of.
struct Source {
    log: Arc<dyn LogReader>,
    app: Arc<App>,
    row: RecordingRow,
}

impl Source {
    fn write(&self, out: &mut Outlet) -> Result<(), Unreadable> {
        let Self { log, app, row } = self;
        if row.imported {
            let archive = source::imported(&**log, row.recording)?;
            return export::imported(&app.chunks, &archive.skeleton, out);
        }
        let range = Range::of(row, app.engine.durable());
        export::live(&**log, &app.chunks, range, &app.engine, out).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::called;
    use crate::domain::Lsn;

    #[test]
    fn a_file_is_called_like_its_recording() {
        let name = |name| called(Some(name), Lsn(7));
        assert_eq!(name("nightly build"), "nightly-build.lrec");
        assert_eq!(name("../../etc/passwd\r\n\"x\""), "etcpasswdx.lrec");
        assert_eq!(name("…"), "recording-7.lrec");
        assert_eq!(called(None, Lsn(7)), "recording-7.lrec");
        assert_eq!(name(&"x".repeat(300)).len(), 105);
    }
}
