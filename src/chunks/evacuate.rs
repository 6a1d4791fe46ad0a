//! Copying what is held of a generation into the newest one.

use super::collect::Run;
use super::commit::Entry;
use super::generation::{Fact, Manifest};
use super::index::Place;
use super::slot::Pin;
use super::verified::Claimed;
use super::{Error, Store};
use crate::domain::{ChunkId, ContentHash, Timestamp};

/// Chunks looked at with the index locked.
const LOOKS: usize = 1_024;
/// Chunks published with one sync, at most.
const COPIED: usize = 256;

/// Copies whose pieces are written, and who keeps others off them until they are published.
#[derive(Default)]
struct Copies {
    entries: Vec<Entry>,
    bytes: u64,
    guards: Vec<(Claimed, Pin)>,
}

impl Store {
    /// Copies every chunk that is held in a settled generation, as far as no upload has its name.
    pub(super) fn empty(&self, number: u32, run: &mut Run<'_>) -> Result<(), Error> {
        let mut copies = Copies::default();
        let mut last = None;
        loop {
            let mut here = Vec::new();
            let before = last;
            for (id, held) in self.index().after(last).take(LOOKS) {
                last = Some(id);
                if held.place.generation == number {
                    here.push((id, held.place, held.wanted));
                }
            }
            for (id, place, wanted) in here {
                if run.is_over() {
                    break;
                }
                self.copy(id, place, wanted, &mut copies, run)?;
                let full = copies.bytes >= self.inner.options.group_bytes as u64;
                if full || copies.entries.len() >= COPIED {
                    let bytes = copies.bytes;
                    self.publish_copies(&mut copies, run)?;
                    // Large ones have waited on their way.
                    run.copied(bytes.min(self.inner.options.group_bytes as u64));
                }
            }
            if last == before || run.is_over() {
                return self.publish_copies(&mut copies, run);
            }
        }
    }

    fn publish_copies(&self, copies: &mut Copies, run: &mut Run<'_>) -> Result<(), Error> {
        let done = std::mem::take(copies);
        self.commit(&done.entries)?;
        run.done.bytes_copied += done.bytes;
        Ok(())
    }

    /// Writes the pieces of a chunk into the newest generation, and checks them on the way: what
    /// isn't what it's called is told and taken out instead.
    fn copy(
        &self,
        id: ChunkId,
        place: Place,
        wanted: Timestamp,
        copies: &mut Copies,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let Some(claimed) = Claimed::try_new(self, id) else { return Ok(()) };
        if self.place(&id) != Some(place) {
            return Ok(());
        }
        let manifest = Manifest { wanted, ..place.manifest };
        let pin = self.pin()?;
        pin.wrote(manifest.bytes);
        let group = (self.inner.options.group_bytes / manifest.piece_bytes as usize).max(1);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = Vec::new();
        let mut first = 0;
        while first < manifest.pieces {
            let count = u32::try_from(group).unwrap_or(u32::MAX).min(manifest.pieces - first);
            buffer.clear();
            for index in first..first + count {
                // A failure here doesn't poison the store.
                let generations = &self.inner.generations;
                let piece = generations.with(place.generation, |open| open.piece(&id, index))?;
                let piece = piece.flatten().unwrap_or_default();
                if piece.len() as u64 != manifest.piece_len(index) {
                    // Looked at once more, which takes it out.
                    let _told = self.piece(&id, place, index);
                    self.check()?;
                    return self.discard(&id, &pin, first);
                }
                buffer.extend_from_slice(&piece);
            }
            hasher.update(&buffer);
            self.with(pin.number(), |generation| {
                generation.write_pieces(&id, first, &buffer, manifest.piece_bytes)
            })?;
            first += count;
            let more = first < manifest.pieces;
            // A reader may have found it damaged; then an upload is waiting for the name.
            if more && (run.copied(buffer.len() as u64) || self.place(&id) != Some(place)) {
                return self.discard(&id, &pin, first);
            }
        }
        let actual = ChunkId(ContentHash::from_blake3(&hasher.finalize()));
        if actual != id {
            let what = format!("its content hashes to {actual}");
            let _told = self.damaged(&id, place, 0, what);
            self.check()?;
            return self.discard(&id, &pin, first);
        }
        copies.entries.push((pin.number(), id, Fact::Held(manifest)));
        copies.bytes += manifest.bytes;
        copies.guards.push((claimed, pin));
        Ok(())
    }

    /// Removes the pieces of a copy that comes to nothing.
    fn discard(&self, id: &ChunkId, pin: &Pin, pieces: u32) -> Result<(), Error> {
        self.with(pin.number(), |generation| generation.remove_pieces(id, 0, pieces))
    }
}
