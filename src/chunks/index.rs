//! Which chunks are held, and where: built from the manifests at open.

use std::collections::HashMap;

use super::generation::Manifest;
use crate::domain::ChunkId;

/// Where a held chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) generation: u32,
    pub(super) manifest: Manifest,
}

/// All held chunks with their totals.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashMap<ChunkId, Place>,
    bytes: u64,
}

impl Index {
    pub(super) fn get(&self, id: &ChunkId) -> Option<Place> {
        self.places.get(id).copied()
    }

    /// Adds or moves a chunk.
    pub(super) fn insert(&mut self, id: ChunkId, place: Place) {
        let before = self.places.insert(id, place).map_or(0, |old| old.manifest.bytes);
        self.bytes = self.bytes - before + place.manifest.bytes;
    }

    /// Drops a chunk if it is still at `place`.
    pub(super) fn remove(&mut self, id: &ChunkId, place: Place) -> bool {
        if self.places.get(id) != Some(&place) {
            return false;
        }
        self.places.remove(id);
        self.bytes -= place.manifest.bytes;
        true
    }

    pub(super) fn count(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn ids(&self) -> Vec<ChunkId> {
        let mut ids: Vec<_> = self.places.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}
