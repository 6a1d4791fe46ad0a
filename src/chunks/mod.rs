//! Content-addressed bytes: the chunk store.
//!
//! A chunk is held when its manifest is durable; before that, nothing of it can be seen. Content is
//! checked against its name before its manifest is written, so what is held is what it's called.
//! Chunks live in *generations* (sled databases below one directory): the newest grows, older ones
//! are opened to read. `docs/format.md` has the layout, `docs/adr/0003-chunk-store.md` the reasons.
//!
//! Chunks that nobody refers to are collected: [`Store::begin_collection`], [`Store::collect`]. Who
//! is about to refer to some keeps them meanwhile with a [`Hold`]
//! (`docs/adr/0008-chunk-collection.md`).
//!
//! All calls block. A [`Store`] is a cheap handle; clone it freely.

mod batch;
mod claims;
mod collect;
mod commit;
mod error;
mod evacuate;
mod files;
mod generation;
mod generations;
mod held;
mod hold;
mod index;
mod inspect;
mod options;
mod reader;
mod sealed;
mod slot;
mod store;
#[cfg(test)]
mod tests;
mod verified;
mod want;
mod writer;

pub use batch::Batch;
pub use collect::{Collected, Mark};
pub use error::Error;
pub use hold::Hold;
pub use inspect::{Fault, Inspection};
pub use options::{Options, Put, Stats};
pub use reader::Reader;
pub use store::Store;
pub use verified::Verified;
pub use writer::{Spool, Writer};
