//! How a store is laid out, and what it says about itself.

use crate::domain::Millis;

/// How a store is laid out. The defaults are what was measured to be best.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a piece, the unit of reading. Stored with each chunk, so it may change.
    pub piece_bytes: u32,
    /// Bytes written at once, and the most that an upload keeps in memory.
    pub group_bytes: usize,
    /// Payload after which a generation is sealed and the next one started.
    pub generation_bytes: u64,
    /// Cache of one open generation, in bytes.
    pub cache_bytes: u64,
    /// Segment of a generation's file, in bytes: a power of two. Fixed when it's created.
    pub segment_bytes: usize,
    /// How long a chunk that was uploaded or found present is not collected, whoever refers to it.
    pub grace: Millis,
    /// Payload without use at which the growing generation is sealed before its time, when it is
    /// at least half of what was written there, in bytes.
    pub garbage_bytes: u64,
    /// Most bytes a second that a collection copies; 0 means as fast as it goes.
    pub copy_bytes_per_second: u64,
    /// Leave a chunk that turns out to be damaged where it is, for who only looks.
    pub keep_damaged: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // The engine puts 16 bytes before each.
            piece_bytes: 4_080,
            group_bytes: 4 << 20,
            generation_bytes: 512 << 20,
            cache_bytes: 16 << 20,
            segment_bytes: 2 << 20,
            grace: Millis(24 * 3_600 * 1_000),
            garbage_bytes: 16 << 20,
            copy_bytes_per_second: 16 << 20,
            keep_damaged: false,
        }
    }
}

impl Options {
    /// How old the durable time of a chunk may be before a new want of it is made durable. Chunks
    /// are kept this much longer than promised, so that a want in between needs no sync.
    pub(super) const fn slack(&self) -> Millis {
        Millis(self.grace.0 / 4)
    }

    /// How long after its durable time a chunk stays.
    pub(super) const fn kept(&self) -> Millis {
        Millis(self.grace.0.saturating_add(self.slack().0))
    }
}

/// What became of an upload that was right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It's new, and now held.
    Stored,
    /// It was held already, or another upload of it was faster.
    Held,
}

/// Totals of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Chunks held.
    pub count: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// Size of the files, in bytes.
    pub disk_bytes: u64,
}
