//! The headers of a request that anything here looks at.

use warp::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_NONE_MATCH, IF_RANGE, ORIGIN,
    RANGE, TRANSFER_ENCODING,
};
use warp::http::{HeaderName, HeaderValue};

/// The session of the engine that a request is part of.
pub(super) const SESSION: HeaderName = HeaderName::from_static("ue-session");
/// The number of a request within it.
pub(super) const REQUEST: HeaderName = HeaderName::from_static("ue-request");

/// Others are not kept.
const KEPT: [HeaderName; 12] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    IF_NONE_MATCH,
    IF_RANGE,
    ORIGIN,
    RANGE,
    TRANSFER_ENCODING,
    SESSION,
    REQUEST,
];

/// Copies of them, in the order they came: a request has few, and a list is looked through sooner than
/// a map is made. The originals are parts of the connection's buffer, which would be held, and replaced
/// by another one, as long as the request lasts.
#[derive(Default)]
pub(super) struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Keeps those that are looked at; not what is no value.
    pub(super) fn kept<'a>(all: impl IntoIterator<Item = (&'a HeaderName, &'a [u8])>) -> Self {
        let kept = all
            .into_iter()
            .filter(|(name, _)| KEPT.contains(name))
            .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value).ok()?)));
        Self(kept.collect())
    }

    /// The first of that name.
    pub(super) fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.all(name).next()
    }

    /// The text of the first of that name, if it is one.
    pub(super) fn text(&self, name: &HeaderName) -> Option<&str> {
        self.get(name)?.to_str().ok()
    }

    /// All of that name.
    pub(super) fn all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(all: I) -> Self {
        let header = |(name, value): (&str, &str)| {
            let name = HeaderName::try_from(name).expect("a header's name");
            (name, HeaderValue::from_str(value).expect("a header's value"))
        };
        Self(all.into_iter().map(header).collect())
    }
}
