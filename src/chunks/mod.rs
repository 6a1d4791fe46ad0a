//! Content-addressed bytes: the chunk store.
//!
//! A chunk is held when its manifest is durable; before that, nothing of it can be seen. Content is
//! checked against its name before its manifest is written, so what is held is what it's called.
//! Chunks live in *generations* (sled databases below one directory): the newest grows, older ones
//! are opened to read. `docs/format.md` has the layout, `docs/adr/0003-chunk-store.md` the reasons.
//!
//! All calls block. A [`Store`] is a cheap handle; clone it freely.

mod batch;
mod claims;
mod commit;
mod error;
mod generation;
mod generations;
mod index;
mod reader;
mod store;
#[cfg(test)]
mod tests;
mod verified;
mod writer;

pub use batch::Batch;
pub use error::Error;
pub use reader::Reader;
pub use store::{Options, Put, Stats, Store};
pub use verified::Verified;
pub use writer::{Spool, Writer};
