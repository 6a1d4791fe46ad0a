//! A request as handlers see it.

use std::net::SocketAddr;
use std::sync::Arc;

use warp::http::Method;

use super::App;
use super::body::Body;
use super::error::Error;
use super::headers::{Headers, REQUEST, SESSION};
use super::links::Link;
use super::moment::Moment;
use super::negotiate::{self, BodyType, Media, Spelling};
use super::router::Params;
use crate::domain::{ActionId, Cause, ChunkId, Lsn, QueueId, WorkerId};

/// Path and query of a request.
pub(super) struct Target {
    text: Box<str>,
    /// Bytes of the path.
    path: usize,
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        Self { text: text.into(), path: text.find('?').unwrap_or(text.len()) }
    }
}

impl Target {
    pub(super) fn path(&self) -> &str {
        self.text.get(..self.path).unwrap_or_default()
    }

    /// Without its question mark; empty when there is none.
    pub(super) fn query(&self) -> &str {
        self.text.get(self.path + 1..).unwrap_or_default()
    }
}

/// What came before the body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: Headers,
    /// The socket's other end. No header is believed about it.
    pub(super) peer: SocketAddr,
    /// The socket's end here: the address that this client came to.
    pub(super) local: SocketAddr,
    pub(super) link: Arc<Link>,
    /// It is a long poll whose wait is over.
    pub(super) waited: bool,
}

/// One request on its way to a handler.
pub(super) struct Request {
    pub(super) app: Arc<App>,
    pub(super) head: Arc<Head>,
    pub(super) params: Params,
    /// The state that it is about.
    pub(super) moment: Moment,
    /// The queue that the path is below: jobs outside of it are out of sight.
    pub(super) scope: Option<QueueId>,
    pub(super) body: Body,
    /// `UE-Session` and `UE-Request`.
    pub(super) cause: Cause,
}

impl Request {
    /// How the answer is spelled when it is an object.
    pub(super) fn spelling(&self) -> Result<Spelling, Error> {
        negotiate::spelling(&self.head.headers)
    }

    /// The answer's type, of those on offer.
    pub(super) fn choose(&self, offers: &[Media]) -> Result<Media, Error> {
        negotiate::choose(&self.head.headers, offers)
    }

    /// The body's type; one that isn't among `allowed` is refused. `None`: there is no body.
    pub(super) fn body_media(&self, allowed: &[Media]) -> Result<Option<Media>, Error> {
        let unsupported = |found: &str| Error::UnsupportedMedia {
            found: found.into(),
            allowed: allowed.to_vec(),
        };
        match negotiate::body_type(&self.head.headers) {
            BodyType::Known(media) if allowed.contains(&media) => Ok(Some(media)),
            BodyType::Known(media) => Err(unsupported(media.name())),
            BodyType::Unknown(text) => Err(unsupported(text)),
            BodyType::None if self.body.is_empty() => Ok(None),
            BodyType::None => Err(unsupported("no Content-Type")),
        }
    }

    pub(super) fn query(&self) -> Query<'_> {
        Query(self.head.target.query())
    }

    /// The queue named by the path.
    pub(super) fn queue(&self) -> Result<QueueId, Error> {
        self.scope.ok_or(Error::UnknownPath)
    }

    /// The job named by the path.
    pub(super) fn lsn(&self) -> Result<Lsn, Error> {
        self.params.lsn.ok_or(Error::UnknownPath)
    }

    /// The worker named by the path.
    pub(super) fn worker(&self) -> Result<WorkerId, Error> {
        let [worker, _] = self.params.hashes;
        worker.map(WorkerId).ok_or(Error::UnknownPath)
    }

    /// The action named by the path.
    pub(super) fn action(&self) -> Result<ActionId, Error> {
        let [_, action] = self.params.hashes;
        action.map(ActionId).ok_or(Error::UnknownPath)
    }

    /// The chunk named by the path.
    pub(super) fn chunk(&self) -> Result<ChunkId, Error> {
        let [chunk, _] = self.params.hashes;
        chunk.map(ChunkId).ok_or(Error::UnknownPath)
    }
}

/// Who asked, from the engine's headers. What isn't well-formed is as good as absent.
pub(super) fn cause(headers: &Headers) -> Cause {
    Cause {
        session: headers.text(&SESSION).and_then(|text| text.parse().ok()),
        request: headers.text(&REQUEST).and_then(|text| text.parse::<Lsn>().ok()).map(|n| n.0),
    }
}

/// The query string.
#[derive(Clone, Copy)]
pub(super) struct Query<'uri>(pub(super) &'uri str);

impl Query<'_> {
    /// The first value of a parameter, decoded.
    pub(super) fn text(self, name: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut pairs = form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The first value of a parameter, parsed; what doesn't parse is refused by name.
    pub(super) fn parse<T>(
        self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Error>
    where
        T: std::str::FromStr,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        let bad = |_| {
            let found = text.chars().take(48).collect();
            Error::BadParameter { name, expected, found }
        };
        text.parse().map(Some).map_err(bad)
    }
}
