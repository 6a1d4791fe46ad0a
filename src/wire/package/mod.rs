//! Package messages (`application/x-ue-cbpkg`): one object and the content it refers to.
//! Little-endian.
//!
//! ```text
//! header (16)   magic, number of attachments, two reserved words
//! table (32 n)  payload size, flags, hash; entry 0 is the root object
//! payloads      back to back, in the order of the table
//! ```
//!
//! [`Parser`] reads a message whose bytes arrive in pieces and hands every payload on, unpacked and
//! verified, with flat memory; [`parse`] reads one that fits in memory. [`Plan`] writes: table and
//! total length first, so that payloads can be streamed behind them; [`write()`] does it in memory.
//!
//! Read: plain and compressed roots; compressed, plain and object attachments. Refused: flags nobody
//! defined, error entries, local file references (nobody opens a path that a client names), hashes
//! that occur twice, reserved words that are not zero, bytes left over, and payloads that are not
//! what the table says. Attachments the root does not refer to are found by
//! [`Parser::check_references`], since this module does not look into objects.
//! Written: a plain root, attachments as compressed buffers.

mod error;
mod parser;
mod payload;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use parser::{Attachment, Event, Package, Parser, parse};
pub use table::Entry;
pub use writer::{Part, Plan, write};

/// What a reader is willing to take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the root object, unpacked; also of its payload.
    pub root_bytes_max: u64,
    /// Attachments beside the root. The table takes 32 bytes of memory for each.
    pub attachments_max: u32,
    /// Bytes of the whole message.
    pub total_bytes_max: u64,
    /// Bytes of one attachment, unpacked.
    pub attachment_bytes_max: u64,
    /// Bytes of root and attachments together, unpacked: what a small message can swell to.
    pub raw_bytes_max: u64,
}
