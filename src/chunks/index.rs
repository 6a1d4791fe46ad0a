//! Which chunks are held, and where: built from the manifests at open.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use super::generation::Manifest;
use crate::domain::{ChunkId, Timestamp};

/// Where a held chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) generation: u32,
    pub(super) manifest: Manifest,
}

/// A held chunk.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) place: Place,
    /// When it was wanted, as far as that is durable.
    pub(super) wanted: Timestamp,
    /// The turn at which it was used last; 0 before this start.
    turn: AtomicU64,
}

impl Held {
    /// Whether it was used at this turn or later.
    pub(super) fn is_used_since(&self, turn: u64) -> bool {
        self.turn.load(Ordering::SeqCst) >= turn
    }
}

/// What is held in one generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Usage {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// All held chunks with their totals. In order, so that a collection can look at a few at a time.
#[derive(Debug, Default)]
pub(super) struct Index {
    held: BTreeMap<ChunkId, Held>,
    usage: BTreeMap<u32, Usage>,
}

impl Index {
    pub(super) fn get(&self, id: &ChunkId) -> Option<Place> {
        self.held.get(id).map(|held| held.place)
    }

    pub(super) fn held(&self, id: &ChunkId) -> Option<&Held> {
        self.held.get(id)
    }

    /// Looks for a chunk in order to use it: a collection that began before this turn leaves it.
    pub(super) fn look(&self, id: &ChunkId, turn: u64) -> Option<&Held> {
        let held = self.held.get(id)?;
        held.turn.fetch_max(turn, Ordering::SeqCst);
        Some(held)
    }

    /// Adds a chunk that is used at this turn, or moves one, which is no use of it.
    pub(super) fn insert(&mut self, id: ChunkId, place: Place, turn: u64) {
        let new = Held { place, wanted: place.manifest.wanted, turn: AtomicU64::new(turn) };
        if let Some(old) = self.held.get_mut(&id) {
            let before = std::mem::replace(old, new);
            old.wanted = old.wanted.max(before.wanted);
            old.turn = before.turn;
            self.less(before.place);
        } else {
            self.held.insert(id, new);
        }
        let usage = self.usage.entry(place.generation).or_default();
        usage.count += 1;
        usage.bytes += place.manifest.bytes;
    }

    /// Remembers when a chunk was wanted.
    pub(super) fn want(&mut self, id: &ChunkId, at: Timestamp) {
        if let Some(held) = self.held.get_mut(id) {
            held.wanted = held.wanted.max(at);
        }
    }

    /// Drops a chunk if it is still at `place`.
    pub(super) fn remove(&mut self, id: &ChunkId, place: Place) -> bool {
        if self.get(id) != Some(place) {
            return false;
        }
        self.held.remove(id);
        self.less(place);
        true
    }

    fn less(&mut self, place: Place) {
        if let Some(usage) = self.usage.get_mut(&place.generation) {
            usage.count = usage.count.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(place.manifest.bytes);
            if usage.count == 0 {
                self.usage.remove(&place.generation);
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.held.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.usage.values().map(|usage| usage.bytes).sum()
    }

    /// What is held in one generation.
    pub(super) fn usage(&self, generation: u32) -> Usage {
        self.usage.get(&generation).copied().unwrap_or_default()
    }

    pub(super) fn ids(&self) -> Vec<ChunkId> {
        self.held.keys().copied().collect()
    }

    /// The chunks after a name, in order.
    pub(super) fn after(&self, id: Option<ChunkId>) -> impl Iterator<Item = (ChunkId, &Held)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.held.range((from, Bound::Unbounded)).map(|(id, held)| (*id, held))
    }
}
