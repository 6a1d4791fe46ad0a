//! Sizes that keep every event inside one record.

use crate::domain::object::INLINE_BYTES_MAX;
use crate::domain::worker::NAME_BYTES_MAX;
use crate::domain::{ObjectRef, Rejection};

pub(super) fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), Rejection> {
    if size <= limit { Ok(()) } else { Err(Rejection::TooLong { what, size, limit }) }
}

pub(super) fn name(what: &'static str, name: &str) -> Result<(), Rejection> {
    at_most(what, name.len(), NAME_BYTES_MAX)
}

/// A larger object belongs into the chunk store; whoever built the command forgot to put it there.
pub(super) fn object(what: &'static str, object: &ObjectRef) -> Result<(), Rejection> {
    match object {
        ObjectRef::Inline(blob) => at_most(what, blob.0.len(), INLINE_BYTES_MAX),
        ObjectRef::Chunk(_) => Ok(()),
    }
}

/// The longest start of `text` that fits into `bytes`.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
