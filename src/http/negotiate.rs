//! Which type a body has and which type the answer gets.

use warp::http::header::{ACCEPT, CONTENT_TYPE};

use super::error::Error;
use super::headers::Headers;

/// The types the service speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Media {
    /// One compact binary object.
    Object,
    /// A package: an object and its attachments.
    Package,
    Json,
    /// Raw bytes.
    Octets,
    /// One compressed buffer.
    Compressed,
    Text,
    /// One JSON object a line.
    JsonLines,
}

impl Media {
    const ALL: [Self; 7] = [
        Self::Object,
        Self::Package,
        Self::Json,
        Self::Octets,
        Self::Compressed,
        Self::Text,
        Self::JsonLines,
    ];

    /// The name as the engine's client compares it: lower case, no parameters.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Object => "application/x-ue-cb",
            Self::Package => "application/x-ue-cbpkg",
            Self::Json => "application/json",
            Self::Octets => "application/octet-stream",
            Self::Compressed => "application/x-ue-comp",
            Self::Text => "text/plain",
            Self::JsonLines => "application/x-ndjson",
        }
    }

    /// Reads a type leniently: parameters cut, spaces trimmed, case ignored.
    fn from_header(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|media| media.name().eq_ignore_ascii_case(essence))
    }
}

/// How an object is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spelling {
    Binary,
    Json,
}

impl Spelling {
    pub(super) const fn media(self) -> Media {
        match self {
            Self::Binary => Media::Object,
            Self::Json => Media::Json,
        }
    }
}

/// The type of a request's body, when it names one.
pub(super) enum BodyType<'headers> {
    None,
    Known(Media),
    Unknown(&'headers str),
}

pub(super) fn body_type(headers: &Headers) -> BodyType<'_> {
    let Some(value) = headers.get(&CONTENT_TYPE) else { return BodyType::None };
    let text = value.to_str().unwrap_or("?");
    Media::from_header(text).map_or(BodyType::Unknown(text), BodyType::Known)
}

/// Picks the answer's type among `offers`, best first.
///
/// Without `Accept` and with one that only says "anything", the answer follows the body's family.
pub(super) fn choose(headers: &Headers, offers: &[Media]) -> Result<Media, Error> {
    let family = family_of_body(headers).map(Spelling::media);
    let preferred = family.filter(|media| offers.contains(media));
    let fallback = preferred.or_else(|| offers.first().copied());
    let mut best: Option<(Rank, Media)> = None;
    if headers.get(&ACCEPT).is_none() {
        return fallback.ok_or(Error::NotAcceptable { offers: Vec::new() });
    }
    for offer in offers.iter().copied() {
        let Some(mut rank) = rank(headers, offer) else { continue };
        rank.favourite = Some(offer) == fallback;
        if best.is_none_or(|(other, _)| rank > other) {
            best = Some((rank, offer));
        }
    }
    best.map(|(_, media)| media).ok_or_else(|| Error::NotAcceptable { offers: offers.to_vec() })
}

/// How an object answer is spelled.
pub(super) fn spelling(headers: &Headers) -> Result<Spelling, Error> {
    Ok(match choose(headers, &[Media::Json, Media::Object])? {
        Media::Object => Spelling::Binary,
        _ => Spelling::Json,
    })
}

/// How an error is spelled. There is always an answer: an `Accept` that fits nothing must not
/// leave the client without a reason.
pub(super) fn error_spelling(headers: &Headers, engine_post_404: bool) -> Spelling {
    let names = |media| rank(headers, media).is_some_and(|rank| rank.specific == EXACT);
    if engine_post_404 {
        let json = names(Media::Json) || (is_open(headers) && body_is_json(headers));
        return if json && !prefers_binary(headers) { Spelling::Json } else { Spelling::Binary };
    }
    match choose(headers, &[Media::Json, Media::Object, Media::Package]) {
        Ok(Media::Object | Media::Package) => Spelling::Binary,
        _ => Spelling::Json,
    }
}

fn prefers_binary(headers: &Headers) -> bool {
    let binary = rank(headers, Media::Object).filter(|rank| rank.specific == EXACT);
    binary.is_some() && binary > rank(headers, Media::Json)
}

/// Whether the client leaves the choice to us.
fn is_open(headers: &Headers) -> bool {
    ranges(headers).all(|range| range.kind == "*/*" && range.quality > 0)
}

fn body_is_json(headers: &Headers) -> bool {
    family_of_body(headers) == Some(Spelling::Json)
}

fn family_of_body(headers: &Headers) -> Option<Spelling> {
    match body_type(headers) {
        BodyType::Known(Media::Object | Media::Package | Media::Compressed) => {
            Some(Spelling::Binary)
        }
        BodyType::Known(Media::Json | Media::JsonLines) => Some(Spelling::Json),
        BodyType::Known(Media::Octets | Media::Text) | BodyType::Unknown(_) | BodyType::None => {
            None
        }
    }
}

/// How well an offer fits: quality in thousandths first, then how exactly it was named, then its
/// place in the header, then our own favourite.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    quality: u16,
    specific: u8,
    place: std::cmp::Reverse<usize>,
    favourite: bool,
}

const EXACT: u8 = 2;

/// The rank of an offer, `None` when the client doesn't take it.
fn rank(headers: &Headers, media: Media) -> Option<Rank> {
    let name = media.name();
    let main = name.split('/').next().unwrap_or_default();
    let mut best: Option<Rank> = None;
    for (place, range) in ranges(headers).enumerate() {
        let specific = if range.kind.eq_ignore_ascii_case(name) {
            EXACT
        } else if range.kind == "*/*" {
            0
        } else if range.kind.strip_suffix("/*").is_some_and(|m| m.eq_ignore_ascii_case(main)) {
            1
        } else {
            continue;
        };
        // The most exact range decides, also when its quality is lower.
        if best.is_none_or(|other| specific > other.specific) {
            let place = std::cmp::Reverse(if specific == EXACT { place } else { usize::MAX });
            best = Some(Rank { quality: range.quality, specific, place, favourite: false });
        }
    }
    best.filter(|rank| rank.quality > 0)
}

struct Range<'header> {
    kind: &'header str,
    /// Thousandths.
    quality: u16,
}

fn ranges(headers: &Headers) -> impl Iterator<Item = Range<'_>> {
    let values = headers.all(&ACCEPT).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some(Range { kind, quality: quality.unwrap_or(1_000) })
    })
}

/// Reads `0.755` as 755. What isn't a quality counts as 1, as if it weren't there.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().take(3).chain(std::iter::repeat(b'0')).take(3);
    let mut value: u16 = match whole {
        "0" => 0,
        _ => return 1_000,
    };
    for digit in digits {
        if !digit.is_ascii_digit() {
            return 1_000;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    value
}

#[cfg(test)]
mod tests;
