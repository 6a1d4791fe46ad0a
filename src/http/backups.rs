//! Backups on their way out: what a folder of a client lacks, as one stream.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::App;
use super::archives::Outlet;
use super::body::Body;
use super::error::Error;
use super::negotiate::Media;
use super::request::Request;
use super::respond;
use super::upload;
use crate::domain::Lsn;
use crate::upkeep::backup;
use crate::views::Published;

/// Pieces that wait for the client.
const PIECES_WAITING: usize = 1;

/// POST `/compute/backup?after=LSN`. The body is what the client has: the first eight bytes of the
/// name of each chunk.
pub(super) async fn take(mut request: Request) -> Result<Response, Error> {
    let media = request.choose(&[Media::Octets])?;
    let after = request.query().parse("after", "an LSN")?.unwrap_or(Lsn::ZERO);
    request.body_media(&[Media::Octets])?;
    let app = request.app.clone();
    let body = std::mem::replace(&mut request.body, Body::none());
    let known = body.buffer(app.config.limits.object_bytes, &app.budget).await?;
    let wanted = backup::Request::new(after, &known.bytes).ok_or_else(|| Error::Malformed {
        what: "a list of chunks",
        reason: "it has eight bytes for each".to_owned(),
    })?;
    drop(known);
    // Before the stream begins, so that a service that has no log yet says so.
    app.log()?;
    let turn = upload::place(&app, &app.carrying.exports, 1).await?;
    let share = app.answers.stream(&app).await?;
    let (client, mut pieces) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        send(&app, &wanted, &client);
        drop(turn);
    });
    // What fails at once is told by a status.
    let first = match pieces.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(Error::Internal(respond::sentence(&error))),
        None => return Err(Error::Internal("no backup was written".into())),
    };
    Ok(respond::stream_from(Some(first), media, None, pieces, Some(share)))
}

/// Writes to a client, as fast as it takes it.
fn send(app: &Arc<App>, wanted: &backup::Request, client: &mpsc::Sender<Result<Bytes, io::Error>>) {
    let sent = app.log().map_err(|error| respond::sentence(&error)).and_then(|log| {
        let now = || app.engine.read(Published::clone);
        backup::send(&**log, &app.chunks, wanted, now, Outlet::new(client.clone()))
            .map_err(|error| respond::sentence(&error))
    });
    let Err(failed) = sent else { return };
    if client.is_closed() {
        return;
    }
    tracing::error!(error = failed, "cannot write a backup");
    // The status may be out; breaking off is all that is left to tell.
    drop(client.blocking_send(Err(io::Error::other(failed))));
}
