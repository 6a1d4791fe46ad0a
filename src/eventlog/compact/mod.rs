//! Folding the oldest records into a state, so that the log gives their space back.

mod base;
pub(in crate::eventlog) mod kept;
mod names;
mod proof;

pub use self::base::{Base, BaseError, PIECE_BYTES};
pub(in crate::eventlog) use self::names::{Marker, Names, Step};
pub use self::proof::Proof;
