//! The log itself, one JSON object a line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::links::Link;
use super::negotiate::Media;
use super::request::{Query, Request};
use super::respond;
use super::waiting::{Feed, Woken};
use crate::domain::{Cause, Event, Lsn, Record, Timestamp};
use crate::eventlog::LogReader;

/// Records in an answer when the client names no number.
const RECORDS_DEFAULT: u64 = 1_000;
/// Most records in one answer.
const RECORDS_MAX: u64 = 100_000;
/// Longest wait for more.
const WAIT_SECONDS_MAX: f64 = 60.0;
/// Lines are sent on in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES_WAITING: usize = 2;
/// Records read before the client must have taken some.
const RECORDS_PER_READ: u64 = 1_000;

/// One line. Field order is the documentation's.
#[derive(Serialize)]
struct Line<'record> {
    lsn: Lsn,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<Lsn>,
    cause: &'record Cause,
    event: &'record Event,
}

impl<'record> From<&'record Record> for Line<'record> {
    fn from(record: &'record Record) -> Self {
        Self {
            lsn: record.lsn,
            at: record.at,
            prev: Some(record.prev).filter(|prev| *prev != Lsn::ZERO),
            cause: &record.cause,
            event: &record.event,
        }
    }
}

/// A record as the log route shows it.
pub(super) fn to_json(record: &Record) -> Result<serde_json::Value, Error> {
    serde_json::to_value(Line::from(record))
        .map_err(|error| Error::Internal(format!("cannot write record {}: {error}", record.lsn)))
}

/// GET `/compute/log?from=LSN&limit=N&wait=S`.
pub(super) async fn read(request: Request) -> Result<Response, Error> {
    request.choose(&[Media::JsonLines, Media::Json])?;
    let query = request.query();
    let from: Option<Lsn> = query.parse("from", "an LSN")?;
    let limit = query.parse("limit", "a number")?.unwrap_or(RECORDS_DEFAULT).min(RECORDS_MAX);
    let wait = wait(query)?;
    let log = request.app.log()?.clone();
    let first = log.first();
    let from = from.map_or(first, |from| from.max(Lsn::FIRST));
    if from < first {
        return Err(Error::LogTrimmed { first });
    }
    let (lines, pieces) = mpsc::channel(PIECES_WAITING);
    let (app, link) = (request.app.clone(), request.head.link.clone());
    tokio::spawn(async move {
        match follow(&app, &link, log, Page { from, limit, wait }, lines.clone()).await {
            Ok(()) => {}
            // The status is out; breaking off is all that is left to tell.
            Err(Error::Busy) => {
                drop(lines.send(Err(std::io::Error::other("no memory for the answer"))).await);
            }
            Err(Error::LogTrimmed { .. }) => {
                drop(lines.send(Err(std::io::Error::other("these records are gone"))).await);
            }
            Err(error) => tracing::error!(%error, "cannot stream the log"),
        }
    });
    Ok(respond::stream(Media::JsonLines, None, pieces, None))
}

/// The `wait` parameter: seconds, at most [`WAIT_SECONDS_MAX`].
pub(super) fn wait(query: Query<'_>) -> Result<Duration, Error> {
    let expected = "a number of seconds";
    let seconds: f64 = query.parse("wait", expected)?.unwrap_or(0.0);
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(Duration::from_secs_f64(seconds.min(WAIT_SECONDS_MAX)))
    } else {
        Err(Error::BadParameter { name: "wait", expected, found: seconds.to_string() })
    }
}

struct Page {
    from: Lsn,
    limit: u64,
    wait: Duration,
}

/// Sends records until the limit, the end of the wait, or the client's end.
async fn follow(
    app: &Arc<App>,
    link: &Link,
    log: Arc<dyn LogReader>,
    page: Page,
    lines: mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + page.wait;
    let mut next = page.from;
    let mut left = page.limit;
    // Memory for pieces that the client has not taken.
    let mut share = None;
    while left > 0 {
        let place = app.waiting.enter(Feed::Log, Lsn(next.0 - 1));
        let end = app.engine.durable();
        if next <= end {
            drop(place);
            if share.is_none() {
                share = Some(app.answers.stream(app).await?);
            }
            let count = left.min(RECORDS_PER_READ).min(end.0 - next.0 + 1);
            let last = Lsn(next.0 + count - 1);
            let (log, lines) = (log.clone(), lines.clone());
            let sent = tokio::task::spawn_blocking(move || send(&*log, next, last, &lines)).await;
            if !sent.map_err(|_| Error::Internal("a reader of the log failed".into()))?? {
                return Ok(());
            }
            left -= count;
            next = last.next();
            continue;
        }
        // All that was sent is taken before its memory is somebody else's.
        if share.is_some() && lines.reserve_many(PIECES_WAITING).await.is_err() {
            return Ok(());
        }
        share = None;
        let wait = until.saturating_duration_since(tokio::time::Instant::now());
        tokio::select! {
            woken = place.wait(wait, link) => match woken {
                Woken::Passed => {}
                Woken::TimedOut | Woken::GivenUp => return Ok(()),
            },
            () = lines.closed() => return Ok(()),
        }
    }
    Ok(())
}

/// Sends `from..=to`; false when the client is gone.
fn send(
    log: &dyn LogReader,
    from: Lsn,
    to: Lsn,
    lines: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<bool, Error> {
    // Its oldest records may be folded meanwhile.
    let log = log.pinned();
    if from < log.first() {
        return Err(Error::LogTrimmed { first: log.first() });
    }
    let mut piece = Vec::with_capacity(PIECE_BYTES + 4_096);
    for record in log.scan(from, to) {
        let record = record?;
        serde_json::to_writer(&mut piece, &Line::from(&record)).map_err(|error| {
            Error::Internal(format!("cannot write record {}: {error}", record.lsn))
        })?;
        piece.push(b'\n');
        if piece.len() >= PIECE_BYTES
            && lines.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err()
        {
            return Ok(false);
        }
    }
    Ok(piece.is_empty() || lines.blocking_send(Ok(piece.into())).is_ok())
}

impl App {
    /// The log, once it is open.
    pub(super) fn log(&self) -> Result<&Arc<dyn LogReader>, Error> {
        self.engine.log().ok_or(Error::Engine(crate::engine::Error::Starting))
    }
}
