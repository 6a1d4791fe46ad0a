//! Bytes of other people's formats: compact binary, packages, compressed buffers, JSON spellings.
//!
//! Everything here is pure: bytes in, values out, and the other way round. What is read comes from
//! strangers, so readers never panic, are bounded in memory and depth, and name the byte or the
//! field where they stopped.

pub mod action;
pub mod cb;
pub mod compressed;
pub mod descriptor;
pub mod json;
pub mod output;
pub mod package;
pub mod references;
pub mod schema;
pub mod value;
