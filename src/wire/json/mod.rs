//! The JSON spelling of compact binary, both ways.
//!
//! Compact binary to JSON keeps every field in its order: [`Spelled`] serialises a field. JSON to
//! compact binary goes through [`parse`] and, because JSON lacks most types, through the schema of
//! what is expected: see [`crate::wire::action`] and [`crate::wire::descriptor`].

mod parse;
mod spell;

#[cfg(test)]
mod tests;

pub use parse::{JsonError, parse};
pub use spell::{Spelled, date_time_text, span_seconds, to_string};
