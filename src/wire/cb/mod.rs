//! Compact binary: the object format of the wire, byte-exact.
//!
//! A *field* is a type byte, an optional name and a value. [`Object`] owns the bytes of one
//! validated object and never changes them, because their hash is the object's identity; [`Field`]
//! is a view into them; [`Object::build`] writes the canonical form. `docs/wire.md` describes the
//! format.

mod check;
mod field;
mod kind;
mod object;
mod validate;
pub mod varuint;
mod writer;

#[cfg(test)]
mod examples;
#[cfg(test)]
pub(crate) mod laws;
#[cfg(test)]
mod tests;

pub use check::{DEPTH_MAX, Invalid, Problem, check};
pub use field::{Attachment, Custom, Field, Fields, ticks_of, timestamp_of};
pub use kind::Kind;
pub use object::{Object, ObjectError};
pub use validate::{Errors, Modes, validate, validate_range};
pub use writer::{ArrayWriter, ObjectWriter, Slot};
