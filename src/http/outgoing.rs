//! What is written while it goes out: archives and backups, as streams of pieces.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::negotiate::Media;
use super::{respond, upload};

/// A stream goes out in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait for the client.
const PIECES_WAITING: usize = 1;

type Pieces = mpsc::Sender<Result<Bytes, io::Error>>;

/// Answers with what `write` writes, as fast as the client takes it. `what` it is, with its article,
/// is for errors. What fails at once is told by a status, later by breaking off.
pub(super) async fn stream<E: std::error::Error>(
    app: &Arc<App>,
    media: Media,
    what: &'static str,
    write: impl FnOnce(&mut Outlet) -> Result<(), E> + Send + 'static,
) -> Result<Response, Error> {
    let turn = upload::place(app, &app.carrying.exports, 1).await?;
    let share = app.answers.stream(app).await?;
    let (client, mut pieces) = mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut out = Outlet { client, piece: Vec::with_capacity(PIECE_BYTES) };
        // At its end it is flushed.
        if let Err(failed) = write(&mut out) {
            out.fail(what, &failed);
        }
        drop(turn);
    });
    let first = match pieces.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(Error::Internal(respond::sentence(&error))),
        None => return Err(Error::Internal(format!("no {what} was written"))),
    };
    Ok(respond::stream_from(Some(first), media, None, pieces, Some(share)))
}

/// Gathers pieces for a client. Waits while it has not taken those before.
pub(super) struct Outlet {
    client: Pieces,
    piece: Vec<u8>,
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let sent = self.client.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn fail(self, what: &str, failed: &dyn std::error::Error) {
        if self.client.is_closed() {
            return;
        }
        let failed = respond::sentence(failed);
        tracing::error!(error = failed, what, "cannot write what goes out");
        // The status may be out; then breaking off is all that is left to tell.
        drop(self.client.blocking_send(Err(io::Error::other(failed))));
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES.saturating_sub(self.piece.len());
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.piece.extend_from_slice(taken);
        let count = taken.len();
        if self.piece.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}
