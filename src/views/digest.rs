//! One hash of a whole state, to compare two folds of the same log.

use std::hash::Hasher;

use super::Published;
use crate::domain::ContentHash;

/// Feeds everything that derives [`std::hash::Hash`] to BLAKE3. Numbers go in as little-endian of
/// fixed width, so that the digest is the same on every machine.
pub(super) struct Digest {
    hasher: blake3::Hasher,
    /// BLAKE3 is slow on many small pieces.
    pending: Vec<u8>,
}

const PENDING_BYTES_MAX: usize = 64 << 10;

impl Digest {
    /// The digest of `state`.
    pub(super) fn of(state: &impl std::hash::Hash) -> ContentHash {
        let mut digest = Self { hasher: blake3::Hasher::new(), pending: Vec::new() };
        state.hash(&mut digest);
        digest.hasher.update(&digest.pending);
        ContentHash::from_blake3(&digest.hasher.finalize())
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty => $wide:ty,)*) => {$(
        fn $method(&mut self, number: $number) {
            self.write(&(number as $wide).to_le_bytes());
        }
    )*};
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PENDING_BYTES_MAX {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
    }

    /// Not used: the digest is longer than 64 bits. See [`Digest::of`].
    fn finish(&self) -> u64 {
        let hash = self.hasher.clone().update(&self.pending).finalize();
        hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    numbers! {
        write_u16: u16 => u16,
        write_u32: u32 => u32,
        write_u64: u64 => u64,
        write_u128: u128 => u128,
        write_usize: usize => u64,
        write_i16: i16 => i16,
        write_i32: i32 => i32,
        write_i64: i64 => i64,
        write_i128: i128 => i128,
        write_isize: isize => i64,
    }
}

impl Published {
    /// A hash of each part by itself, with the part's name: together they cover what
    /// [`Published::digest`] does, and tell where two states differ.
    pub fn parts(&self) -> Vec<(&'static str, ContentHash)> {
        let views = &self.views;
        let offers = views.offers();
        vec![
            ("position", Digest::of(&(views.lsn, views.at))),
            ("workers", Digest::of(&(&views.workers, &views.functions, &views.runners))),
            ("jobs", Digest::of(&(&views.jobs, &views.retired))),
            ("executions", Digest::of(&(&views.executions, views.held_units))),
            ("queues", Digest::of(&views.queues)),
            ("recordings", Digest::of(&views.recordings)),
            ("replays", Digest::of(&views.replays)),
            ("wants", Digest::of(&(&views.wants, &offers.live, &views.under_way))),
            ("order of work", Digest::of(&(&views.order, &views.waiting))),
            ("reusable results", Digest::of(&offers.reusable)),
            ("lists", Digest::of(&self.lists())),
            // Whatever is added later is at least in this.
            ("rest", self.digest()),
        ]
    }
}
