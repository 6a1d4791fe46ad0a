//! The set of chunks that records refer to.

use crate::domain::{ChunkId, ObjectRef, Record};
use crate::wire::cb::Object;
use crate::wire::references::{Kind, Reference, of_event};

/// What is known of a chunk, one bit each.
pub(super) type Flags = u8;

/// Somebody refers to it.
pub(super) const REFERRED: Flags = 1;
/// It is the bytes of an action, a descriptor, an output: what it names is to be found in it.
pub(super) const ACTION: Flags = 2;
pub(super) const DESCRIPTOR: Flags = 4;
pub(super) const OUTPUT: Flags = 8;

/// Chunks that are not yet sorted in.
const FRESH_LEN_MAX: usize = 4_096;

/// Chunks with what is known of them: 21 bytes for each, and some for those just added.
#[derive(Debug, Default)]
pub(super) struct ChunkSet {
    chunks: Vec<(ChunkId, Flags)>,
    /// How many are in order.
    sorted: usize,
}

impl ChunkSet {
    /// Adds a chunk, or to what is known of it.
    pub(super) fn add(&mut self, chunk: ChunkId, flags: Flags) {
        // Most are added again and again.
        let known = self.chunks.get(..self.sorted).unwrap_or_default();
        if let Ok(at) = known.binary_search_by_key(&chunk, |(chunk, _)| *chunk) {
            if let Some((_, known)) = self.chunks.get_mut(at) {
                *known |= flags;
            }
            return;
        }
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(FRESH_LEN_MAX.max(self.sorted / 4));
        }
        self.chunks.push((chunk, flags));
        if self.chunks.len() - self.sorted >= FRESH_LEN_MAX.max(self.sorted / 4) {
            self.sort();
        }
    }

    /// All of them in order.
    pub(super) fn sort(&mut self) -> &mut [(ChunkId, Flags)] {
        if self.sorted < self.chunks.len() {
            self.chunks.sort_unstable_by_key(|(chunk, _)| *chunk);
            self.chunks.dedup_by(|again, first| {
                let same = again.0 == first.0;
                if same {
                    first.1 |= again.1;
                }
                same
            });
            self.sorted = self.chunks.len();
        }
        &mut self.chunks
    }

    /// Adds what a record refers to, objects inside of it included.
    pub(super) fn note(&mut self, record: &Record) {
        for reference in of_event(&record.event).into_iter().flatten() {
            match reference {
                Reference::Chunk(chunk) => self.add(chunk, REFERRED),
                Reference::Object(kind, ObjectRef::Chunk(chunk)) => {
                    self.add(*chunk, REFERRED | flag(kind));
                }
                Reference::Object(kind, ObjectRef::Inline(blob)) => {
                    self.note_object(kind, blob.0.clone());
                }
            }
        }
    }

    /// Adds what an object names.
    pub(super) fn note_object(&mut self, kind: Kind, bytes: bytes::Bytes) {
        for chunk in named(kind, bytes) {
            self.add(chunk, REFERRED);
        }
    }
}

/// The chunks an object names, in any order; none when the bytes are no object.
pub(super) fn named(kind: Kind, bytes: bytes::Bytes) -> Vec<ChunkId> {
    Object::parse(bytes).map(|object| kind.chunks(&object)).unwrap_or_default()
}

/// The kinds of object that a chunk is.
pub(super) fn kinds(flags: Flags) -> impl Iterator<Item = Kind> {
    let all = [Kind::Action, Kind::Descriptor, Kind::Output];
    all.into_iter().filter(move |kind| flags & flag(*kind) != 0)
}

const fn flag(kind: Kind) -> Flags {
    match kind {
        Kind::Action => ACTION,
        Kind::Descriptor => DESCRIPTOR,
        Kind::Output => OUTPUT,
    }
}
