//! Bodies that say something: objects in either spelling, packages.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::App;
use super::body::{Body, Buffered};
use super::error::Error;
use super::negotiate::Media;
use super::request::Request;
use super::upload;
use crate::wire::cb::Object;
use crate::wire::json;
use crate::wire::value::Value;

/// Largest body of requests that carry a few fields only, in bytes.
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// What one value of a body takes in memory while it is read, in bytes.
const VALUE_BYTES: usize = 80;
/// Bodies above this are read on a thread that may take its time, in bytes.
const HEAVY_BYTES_MIN: usize = 128 << 10;

/// What a body turned out to be.
pub(super) enum Payload {
    /// Compact binary, as it came.
    Object(Object),
    /// JSON, to be given types by its schema.
    Json(Value),
}

/// A payload and the memory set aside for it.
pub(super) struct Held {
    pub(super) payload: Payload,
    /// Bytes of the body, to tell light work from heavy.
    pub(super) bytes: usize,
    _share: Option<Buffered>,
    /// Held by a package whose root may be large, until that is dealt with.
    _upload: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn new(payload: Payload, bytes: usize) -> Self {
        Self { payload, bytes, _share: None, _upload: None, turn: None }
    }

    /// Takes the turn to make something large of this, if it isn't taken yet.
    pub(super) async fn take_turn(&mut self, app: &App) {
        if self.turn.is_none() {
            self.turn = app.heavy().await;
        }
    }
}

/// Reads a body that is an object, JSON, or a package with one of them as root. Attachments of a
/// package are in the chunk store, durable, when this returns.
///
/// `check` sees the root before anything is stored.
pub(super) async fn object_or_package(
    request: &mut Request,
    check: impl Fn(&Object) -> Result<(), Error> + Send + 'static,
) -> Result<Held, Error> {
    let media = request.body_media(&[Media::Object, Media::Package, Media::Json])?;
    let app = request.app.clone();
    if !app.engine.has_room() {
        return Err(Error::NoRoom);
    }
    let body = std::mem::replace(&mut request.body, Body::none());
    match media {
        Some(Media::Package) => {
            let (root, turn) = upload::package(&app, body, check).await?;
            let bytes = root.bytes().len();
            Ok(Held { _upload: Some(turn), ..Held::new(Payload::Object(root), bytes) })
        }
        Some(media) => {
            let held = object(&app, body, media, app.config.limits.object_bytes).await?;
            if let Payload::Object(object) = &held.payload {
                check(object)?;
            }
            Ok(held)
        }
        None => Err(Error::Malformed { what: "the body", reason: "it is empty".into() }),
    }
}

/// Reads a body of a few fields, if there is one.
pub(super) async fn small(request: &mut Request) -> Result<Option<Value>, Error> {
    let Some(media) = request.body_media(&[Media::Object, Media::Json])? else { return Ok(None) };
    let body = std::mem::replace(&mut request.body, Body::none());
    if body.is_empty() {
        return Ok(None);
    }
    let held = object(&request.app, body, media, SMALL_BYTES_MAX).await?;
    value_of(&request.app, held).await.map(Some)
}

/// Reads a body that is one plain object. While a large one is used, the turn is kept.
pub(super) async fn plain(
    request: &mut Request,
) -> Result<(Value, Option<OwnedSemaphorePermit>), Error> {
    let media = request.body_media(&[Media::Object, Media::Json])?;
    let body = std::mem::replace(&mut request.body, Body::none());
    let Some(media) = media else {
        return Err(Error::Malformed { what: "the body", reason: "it is empty".into() });
    };
    let limit = request.app.config.limits.object_bytes;
    let mut held = object(&request.app, body, media, limit).await?;
    if held.bytes >= HEAVY_BYTES_MIN {
        held.take_turn(&request.app).await;
    }
    let turn = held.turn.take();
    Ok((value_of(&request.app, held).await?, turn))
}

async fn value_of(app: &App, held: Held) -> Result<Value, Error> {
    let limit = app.config.buffered_bytes_max / VALUE_BYTES;
    match held.payload {
        // Was counted before it was read.
        Payload::Json(value) => Ok(value),
        // Shared bytes until now. A null takes one of them, and dozens as a value.
        Payload::Object(object) => {
            let copy = move || {
                if object.value_count() > limit {
                    return Err(Error::TooManyValues { limit });
                }
                Ok(Value::of_object(&object))
            };
            heavy(held.bytes, copy).await?
        }
    }
}

async fn object(app: &App, body: Body, media: Media, limit: u64) -> Result<Held, Error> {
    let mut share = body.buffer(limit, &app.budget).await?;
    let bytes = share.bytes.clone();
    let length = bytes.len();
    if media != Media::Json {
        let parsed = heavy(length, move || Object::parse(bytes)).await?;
        let payload = Payload::Object(parsed.map_err(|error| malformed(&error))?);
        return Ok(Held { _share: Some(share), ..Held::new(payload, length) });
    }
    // Text of a few bytes can be a value of many.
    let values = share.bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    let memory = values.saturating_mul(VALUE_BYTES);
    if memory > app.config.buffered_bytes_max {
        return Err(Error::TooManyValues { limit: app.config.buffered_bytes_max / VALUE_BYTES });
    }
    let turn = if length >= HEAVY_BYTES_MIN { app.heavy().await } else { None };
    let value = heavy(length, move || json::parse(&bytes)).await?;
    // The text is of no more use, and the value may hold all of it once more.
    share.bytes = Bytes::new();
    let value = value.map_err(|error| malformed(&error))?;
    if value.as_object().is_none() {
        let reason = format!("it is {}, not an object", value.kind_name());
        return Err(Error::Malformed { what: "the body", reason });
    }
    Ok(Held { _share: Some(share), turn, ..Held::new(Payload::Json(value), length) })
}

/// Runs `work` here when the body is small, else where it holds nobody up.
pub(super) async fn heavy<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes < HEAVY_BYTES_MIN {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Internal("reading a body failed".into()))
}

/// A format's own words about what is wrong with the body.
pub(super) fn malformed(error: &dyn std::error::Error) -> Error {
    Error::Malformed { what: "the body", reason: super::respond::sentence(error) }
}
