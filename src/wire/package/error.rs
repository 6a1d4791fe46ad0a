//! What can be wrong with a package message.

use crate::domain::hash::ContentHash;
use crate::wire::compressed;

/// Why a package was refused. Offsets count bytes from the message's first; entry 0 is the root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An older kind of package, made of compact binary fields.
    #[error(
        "package starts with {first:02x} at byte 0: a sequence of compact binary fields, which is not accepted here; send a package message (cc aa 77 aa)"
    )]
    FieldPackage {
        /// Type byte of the first field.
        first: u8,
    },
    /// Not a package at all.
    #[error("package starts with {found:08x} at byte 0, not ccaa77aa")]
    Magic {
        /// The four bytes in order.
        found: u32,
    },
    /// The bytes end early.
    #[error("package ends at byte {offset}, {missing} bytes short")]
    Truncated {
        /// Where the bytes end.
        offset: u64,
        /// Bytes still wanted.
        missing: u64,
    },
    /// A reserved word of the header is in use.
    #[error("reserved word at byte {offset} of the package is {found:08x}, not 0")]
    Reserved {
        /// Where the word is.
        offset: u64,
        /// Its value.
        found: u32,
    },
    /// More attachments than we take.
    #[error("package counts {found} attachments at byte 4, above the limit of {limit}")]
    TooManyAttachments {
        /// What the header says.
        found: u32,
        /// [`super::Limits::attachments_max`].
        limit: u32,
    },
    /// The table is longer than the message.
    #[error(
        "package counts {count} attachments at byte 4: a table up to byte {expected} in a message of {available}"
    )]
    TableSize {
        /// What the header says.
        count: u32,
        /// End of the table.
        expected: u64,
        /// Length of the message.
        available: u64,
    },
    /// The message as a whole is too long.
    #[error("package of {found} bytes (table at byte 16) is above the limit of {limit}")]
    TooLarge {
        /// Header, table and payloads.
        found: u64,
        /// [`super::Limits::total_bytes_max`].
        limit: u64,
    },
    /// The root is too long, packed or unpacked.
    #[error("root object of {found} bytes (entry at byte 16) is above the limit of {limit}")]
    RootTooLarge {
        /// Its size.
        found: u64,
        /// [`super::Limits::root_bytes_max`].
        limit: u64,
    },
    /// An attachment is too long when unpacked.
    #[error(
        "entry {entry} of {found} bytes (payload at byte {offset}) is above the limit of {limit}"
    )]
    AttachmentTooLarge {
        /// Index in the table.
        entry: u32,
        /// Where its payload starts.
        offset: u64,
        /// Its size.
        found: u64,
        /// [`super::Limits::attachment_bytes_max`].
        limit: u64,
    },
    /// All entries together are too long when unpacked.
    #[error(
        "package unpacks to {found} bytes up to entry {entry} (payload at byte {offset}), above the limit of {limit}"
    )]
    TooLargeUnpacked {
        /// Index in the table of the one that was too much.
        entry: u32,
        /// Where its payload starts.
        offset: u64,
        /// Sum so far.
        found: u64,
        /// [`super::Limits::raw_bytes_max`].
        limit: u64,
    },
    /// Header, table and payloads are not as long as the message.
    #[error("package takes {expected} bytes by its table (byte 16) but {available} are there")]
    Length {
        /// Header, table and payloads.
        expected: u64,
        /// Length of the message.
        available: u64,
    },
    /// Bytes after the last payload.
    #[error("bytes follow the end of the package at byte {offset}")]
    Trailing {
        /// End of the package.
        offset: u64,
    },
    /// A flag nobody defined.
    #[error("entry {entry} has unknown flags {flags:08x} at byte {offset}")]
    Flags {
        /// Index in the table.
        entry: u32,
        /// Where its flags are.
        offset: u64,
        /// All of its flags.
        flags: u32,
    },
    /// The payload would be the name of a file.
    #[error(
        "entry {entry} is a local file reference (flags at byte {offset}), which is never followed"
    )]
    LocalReference {
        /// Index in the table.
        entry: u32,
        /// Where its flags are.
        offset: u64,
    },
    /// The payload would be an error report in place of the content.
    #[error("entry {entry} holds an error instead of content (flags at byte {offset})")]
    ErrorEntry {
        /// Index in the table.
        entry: u32,
        /// Where its flags are.
        offset: u64,
    },
    /// Entry 0 is not an object.
    #[error("root is not marked as an object (flags {flags:08x} at byte {offset})")]
    RootNotObject {
        /// Where its flags are.
        offset: u64,
        /// All of its flags.
        flags: u32,
    },
    /// Two entries name the same content.
    #[error("entry {entry} repeats hash {hash} at byte {offset}")]
    Duplicate {
        /// Index in the table of the second one.
        entry: u32,
        /// Where its hash is.
        offset: u64,
        /// The hash.
        hash: ContentHash,
    },
    /// The payload is not what the table says.
    #[error(
        "entry {entry} holds {computed} (payload at byte {offset}), not {expected} as the table says"
    )]
    Hash {
        /// Index in the table.
        entry: u32,
        /// Where its payload starts.
        offset: u64,
        /// Hash in the table.
        expected: ContentHash,
        /// Hash of the content.
        computed: ContentHash,
    },
    /// The payload is no valid compressed buffer.
    #[error("entry {entry} (payload at byte {offset}) does not unpack")]
    Payload {
        /// Index in the table.
        entry: u32,
        /// Where its payload starts.
        offset: u64,
        /// What is wrong with it; its offsets count from `offset`.
        source: compressed::Error,
    },
    /// An attachment nobody asked for.
    #[error("entry {entry} is {hash} (byte {offset}), which the root does not refer to")]
    Unreferenced {
        /// Index in the table.
        entry: u32,
        /// Where its hash is.
        offset: u64,
        /// The hash.
        hash: ContentHash,
    },
}
