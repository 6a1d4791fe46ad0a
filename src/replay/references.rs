//! The set of chunks that records refer to.

use bytes::Bytes;

use super::flagged::{Flagged, Flags};
use crate::domain::{ChunkId, ObjectRef, Record};
use crate::wire::cb::Object;
use crate::wire::references::{Kind, Reference, of_event};

/// Longest object that is looked into for the chunks it names, in bytes: the most that the service
/// takes unless it is told otherwise.
pub const OBJECT_BYTES_MAX: u64 = 16 << 20;

/// Somebody refers to the chunk.
pub(super) const REFERRED: Flags = 1;
/// It is the bytes of an action, a descriptor, an output: what it names is to be found in it.
const ACTION: Flags = 2;
const DESCRIPTOR: Flags = 4;
const OUTPUT: Flags = 8;

/// Chunks, each with how it is referred to.
pub(super) type ChunkSet = Flagged<ChunkId>;

/// Adds what a record refers to, and what the objects inside of it name.
pub(super) fn note(chunks: &mut ChunkSet, record: &Record) {
    for reference in of_event(&record.event).into_iter().flatten() {
        match reference {
            Reference::Chunk(chunk) => chunks.add(chunk, REFERRED),
            Reference::Object(kind, ObjectRef::Chunk(chunk)) => {
                chunks.add(*chunk, REFERRED | flag(kind));
            }
            Reference::Object(kind, ObjectRef::Inline(blob)) => {
                for chunk in named(kind, blob.0.clone()) {
                    chunks.add(chunk, REFERRED);
                }
            }
        }
    }
}

/// The chunks an object names, in any order; none when the bytes are no object.
pub(super) fn named(kind: Kind, bytes: Bytes) -> Vec<ChunkId> {
    Object::parse(bytes).map(|object| kind.chunks(&object)).unwrap_or_default()
}

/// The kinds of object that a chunk is.
pub(super) fn kinds(flags: Flags) -> impl Iterator<Item = Kind> {
    let all = [Kind::Action, Kind::Descriptor, Kind::Output];
    all.into_iter().filter(move |kind| flags & flag(*kind) != 0)
}

/// Whether it is an object of any kind.
pub(super) const fn is_object(flags: Flags) -> bool {
    flags & (ACTION | DESCRIPTOR | OUTPUT) != 0
}

const fn flag(kind: Kind) -> Flags {
    match kind {
        Kind::Action => ACTION,
        Kind::Descriptor => DESCRIPTOR,
        Kind::Output => OUTPUT,
    }
}
