//! Chunks one by one, for clients that don't speak packages.

use std::io::Read as _;

use bytes::Bytes;
use warp::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::answers::Share;
use super::error::Error;
use super::negotiate::{Media, Spelling};
use super::payload::{self, malformed};
use super::request::Request;
use super::respond::{self, Value, object};
use super::store::{self, Source};
use super::upload::{self, Pieces};
use crate::chunks::{Put, Store};
use crate::domain::ChunkId;
use crate::wire::compressed::{self, Decoder, HEADER_BYTES, Header};

/// Chunks up to this size are answered from memory, in bytes.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// A compressed buffer's table and blocks may be this much longer than its content.
const PACKED_EXTRA_BYTES: u64 = 16 << 20;

/// PUT `/compute/chunks/{hash}`.
pub(super) async fn put(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let id = request.chunk()?;
    let media = request.body_media(&[Media::Octets, Media::Compressed])?.unwrap_or(Media::Octets);
    let (id, put) = receive(&mut request, media, Some(id)).await?;
    Ok(stored(spelling, id, put))
}

/// POST `/compute/chunks`: with `{chunks:[…]}` says which are missing, with raw bytes stores them
/// under the name they hash to.
pub(super) async fn post(mut request: Request) -> Result<Response, Error> {
    let spelling = request.spelling()?;
    let allowed = [Media::Object, Media::Json, Media::Octets, Media::Compressed];
    if let Some(media @ (Media::Octets | Media::Compressed)) = request.body_media(&allowed)? {
        let (id, put) = receive(&mut request, media, None).await?;
        return Ok(stored(spelling, id, put));
    }
    let (body, _turn) = payload::plain(&mut request).await?;
    let wanted = chunk_list(&body)?;
    let need = store::need(&request.app, &wanted).await?;
    Ok(respond::ok(spelling, &object().with("need", need)))
}

fn stored(spelling: Spelling, id: ChunkId, put: Put) -> Response {
    let status = match put {
        Put::Stored => StatusCode::CREATED,
        Put::Held => StatusCode::OK,
    };
    respond::with_status(status, spelling, &object().with("chunk", id))
}

fn chunk_list(body: &Value) -> Result<Vec<ChunkId>, Error> {
    let bad = |field: String, reason: &str| Error::BadField { field, reason: reason.into() };
    let list = body.get("chunks").and_then(Value::as_array);
    let list = list.ok_or_else(|| bad("chunks".into(), "is not a list of hashes"))?;
    let hash = |(index, item): (usize, &Value)| {
        let hash = item.as_hash();
        hash.map(ChunkId).ok_or_else(|| bad(format!("chunks[{index}]"), "is not a hash"))
    };
    list.iter().enumerate().map(hash).collect()
}

/// Streams a body into the store.
async fn receive(
    request: &mut Request,
    media: Media,
    id: Option<ChunkId>,
) -> Result<(ChunkId, Put), Error> {
    let app = request.app.clone();
    let body = std::mem::replace(&mut request.body, super::body::Body::none());
    let (store, length, limit) = (app.chunks.clone(), body.length(), app.config.limits.chunk_bytes);
    let (stored, _) = if media == Media::Compressed {
        let packed_limit = limit.saturating_add(PACKED_EXTRA_BYTES);
        let decoder = Decoder::new(compressed::Limits::raw(limit), length);
        upload::pump(&app, body, packed_limit, move |pieces| unpack(&store, id, pieces, decoder))
            .await?
    } else {
        upload::pump(&app, body, limit, move |pieces| copy(&store, id, pieces)).await?
    };
    Ok(stored)
}

fn copy(store: &Store, id: Option<ChunkId>, mut pieces: Pieces) -> Result<(ChunkId, Put), Error> {
    let mut upload = upload::Upload::new(store, id)?;
    while let Some(piece) = pieces.next() {
        upload.write(&piece)?;
    }
    upload.finish()
}

fn unpack(
    store: &Store,
    id: Option<ChunkId>,
    mut pieces: Pieces,
    mut decoder: Decoder,
) -> Result<(ChunkId, Put), Error> {
    let mut upload = upload::Upload::new(store, id)?;
    while let Some(piece) = pieces.next() {
        let mut input = &piece[..];
        while let Some(raw) = decoder.next(&mut input).map_err(|error| malformed(&error))? {
            upload.write(raw)?;
        }
    }
    decoder.finish().map_err(|error| malformed(&error))?;
    upload.finish()
}

/// GET and HEAD `/compute/chunks/{hash}`.
pub(super) async fn get(request: Request) -> Result<Response, Error> {
    let id = request.chunk()?;
    let media = request.choose(&[Media::Octets, Media::Compressed])?;
    let etag = format!("\"{id}\"");
    let headers = &request.head.headers;
    if !request.app.chunks.contains(&id) {
        return Err(Error::NoSuchChunk(id));
    }
    if headers.text(&IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.contains(&etag)) {
        let mut response = respond::bytes(StatusCode::NOT_MODIFIED, media, Bytes::new());
        mark(&mut response, &etag);
        return Ok(response);
    }
    let range = headers
        .text(&RANGE)
        .filter(|_| media == Media::Octets && request.head.method == Method::GET)
        .filter(|_| headers.text(&IF_RANGE).is_none_or(|tag| tag == etag))
        .and_then(Range::parse);
    let store = request.app.chunks.clone();
    let sending = store::blocking(move || open(&store, id, media, range)).await?;
    let share = if sending.is_whole() {
        None
    } else {
        Some(request.app.answers.stream(&request.app).await?)
    };
    let mut response = sending.into_response(share);
    mark(&mut response, &etag);
    Ok(response)
}

/// What a chunk's GET sends.
struct Sending {
    media: Media,
    status: StatusCode,
    length: u64,
    range: Option<String>,
    sources: Vec<Source>,
}

impl Sending {
    /// Whether all of it is at hand.
    fn is_whole(&self) -> bool {
        !self.sources.iter().any(|source| matches!(source, Source::Content(_)))
    }

    fn into_response(mut self, share: Option<Share>) -> Response {
        let whole = match (self.sources.pop(), self.sources.is_empty()) {
            (Some(Source::Bytes(bytes)), true) => Some(bytes),
            (Some(last), _) => {
                self.sources.push(last);
                None
            }
            (None, _) => Some(Bytes::new()),
        };
        let mut response = if let Some(bytes) = whole {
            respond::bytes(self.status, self.media, bytes)
        } else {
            let pieces = store::outgoing(self.sources);
            respond::stream(self.media, Some(self.length), pieces, share)
        };
        *response.status_mut() = self.status;
        // Said outright, because an empty body's length is left out of an answer to HEAD.
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        let range = self.range.and_then(|range| HeaderValue::try_from(range).ok());
        response.headers_mut().extend(range.map(|range| (CONTENT_RANGE, range)));
        response
    }
}

fn open(store: &Store, id: ChunkId, media: Media, range: Option<Range>) -> Result<Sending, Error> {
    let reader = store::open(store, id)?;
    let total = reader.len();
    let mut sending =
        Sending { media, status: StatusCode::OK, length: total, range: None, sources: Vec::new() };
    let (mut start, mut length) = (0, total);
    if let Some(range) = range {
        (start, length) = range.of(total).ok_or(Error::RangeNotSatisfiable { length: total })?;
        sending.status = StatusCode::PARTIAL_CONTENT;
        sending.range = Some(format!("bytes {start}-{}/{total}", start + length - 1));
        sending.length = length;
    }
    if media == Media::Compressed {
        let head = Header::stored(total, id.0).to_bytes(&[]);
        sending.length = total + HEADER_BYTES as u64;
        sending.sources.push(Source::Bytes(head.into()));
    }
    let mut content = reader.range(start, length);
    if length <= WHOLE_BYTES_MAX && media == Media::Octets {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        content.read_to_end(&mut bytes).map_err(crate::chunks::Error::of_read)?;
        sending.sources.push(Source::Bytes(bytes.into()));
    } else {
        sending.sources.push(Source::Content(Box::new(content)));
    }
    Ok(sending)
}

/// Content never changes under its name, so it may be kept for ever.
fn mark(response: &mut Response, etag: &str) {
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(etag).ok().map(|etag| (ETAG, etag)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

/// One range of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Range {
    /// Reads `bytes=…` of one range. Anything else is ignored, as if it weren't there.
    fn parse(text: &str) -> Option<Self> {
        let (unit, spec) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => last.parse().ok().map(Self::Last),
            (first, "") => first.parse().ok().map(Self::From),
            (first, last) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Offset and length within `total` bytes; `None` when nothing of it exists.
    fn of(self, total: u64) -> Option<(u64, u64)> {
        let (first, end) = match self {
            Self::From(first) => (first, total),
            Self::Between(first, last) => (first, last.saturating_add(1).min(total)),
            Self::Last(count) => (total.saturating_sub(count), total),
        };
        (first < end).then(|| (first, end - first))
    }
}

#[cfg(test)]
mod tests;
