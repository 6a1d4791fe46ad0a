//! Archives on their way in: received whole, verified, and only then taken in.

use std::fs::File;
use std::io::{self, Write as _};

use warp::reply::Response;

use super::App;
use super::body::Body;
use super::error::Error;
use super::negotiate::Media;
use super::request::Request;
use super::respond::{self, object};
use super::store;
use super::upload::{self, Pieces};
use crate::chunks;
use crate::domain::{Answer, Command};
use crate::engine::{self, Handle};
use crate::replay::archive;
use crate::replay::import::{self, Error as Refused, TakenIn};

/// How much is received between two looks at the room on the disk, in bytes.
const LOOK_BYTES: usize = 16 << 20;

/// POST `/compute/record/import`.
pub(super) async fn import(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    request.body_media(&[Media::Octets])?;
    let app = request.app.clone();
    let body = std::mem::replace(&mut request.body, Body::none());
    let limit = app.config.limits.archive_bytes;
    body.check_length(limit)?;
    if !app.engine.has_room() || !fits(&app, body.length()) {
        return Err(Error::NoRoom);
    }
    let received = upload::place(&app, &app.carrying.received, 1).await?;
    let file = receive(&app, body, limit).await?;
    // The semaphore is never closed.
    let turn = app.carrying.taken_in.clone().acquire_owned().await.ok();
    let (engine, chunks) = (app.engine.clone(), app.chunks.clone());
    // Whoever gives up on the answer does not stop the thread, so the turns are its own.
    let taken = store::blocking(move || {
        let taken = take_in(file, &engine, &chunks);
        drop((turn, received));
        taken
    });
    let TakenIn { new, hold } = taken.await?;
    let archive = new.archive.clone();
    let command = Command::ImportRecording(new);
    let accepted = app.engine.execute(command, request.cause).await?;
    drop(hold);
    let Answer::RecordingImported { recording } = accepted.answer else {
        return Err(Error::Internal("an import was answered as something else".into()));
    };
    let body = object()
        .with("recording", recording)
        .with("jobs", archive.jobs)
        .with("chunks", archive.chunks)
        .with("bytes", archive.bytes);
    Ok(respond::true_at(respond::ok(spelling, &body), accepted.last))
}

/// Whether the disk has room for a body that says how long it is.
fn fits(app: &App, length: Option<u64>) -> bool {
    let (Some(length), Some(dir)) = (length, &app.config.data_dir) else { return true };
    let free = nix::sys::statvfs::statvfs(dir);
    free.map_or(true, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()) > length)
}

/// Writes a body to a file that has no name, so that nothing is left of it whatever happens.
async fn receive(app: &App, body: Body, limit: u64) -> Result<File, Error> {
    let (dir, engine) = (app.config.data_dir.clone(), app.engine.clone());
    upload::relay(body, limit, move |pieces| {
        let file = match dir {
            Some(dir) => tempfile::tempfile_in(dir),
            None => tempfile::tempfile(),
        };
        write(file.map_err(|error| not_written(&error))?, pieces, &engine)
    })
    .await
}

fn write(mut file: File, mut pieces: Pieces, engine: &Handle) -> Result<File, Error> {
    let mut unlooked = 0;
    while let Some(piece) = pieces.next() {
        file.write_all(&piece).map_err(|error| not_written(&error))?;
        unlooked += piece.len();
        if unlooked >= LOOK_BYTES {
            unlooked = 0;
            if !engine.has_room() {
                return Err(Error::NoRoom);
            }
        }
    }
    Ok(file)
}

fn not_written(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoRoom,
        _ => Error::Internal(format!("cannot keep an archive that is received: {error}")),
    }
}

fn take_in(file: File, engine: &Handle, chunks: &chunks::Store) -> Result<TakenIn, Error> {
    let goes_on = || engine.has_room() && engine.is_ready();
    import::take_in(file, chunks, &goes_on).map_err(|error| match error {
        Refused::GivenUp if !engine.is_ready() => engine::Error::Stopping.into(),
        error => refused(error),
    })
}

fn refused(error: Refused) -> Error {
    match error {
        Refused::Archive(archive::Error::Refused { offset, reason }) => {
            Error::DamagedArchive { position: offset, reason: respond::sentence(&reason) }
        }
        Refused::TooManyWorkers { offset } => {
            Error::DamagedArchive { position: offset, reason: respond::sentence(&error) }
        }
        Refused::Chunks(error) => Error::Chunks(error),
        Refused::GivenUp => Error::NoRoom,
        other => Error::Internal(respond::sentence(&other)),
    }
}
