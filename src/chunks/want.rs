//! Asking for chunks with the promise that those that are there stay for a while.

use std::collections::BTreeSet;

use super::commit::Entry;
use super::generation::Fact;
use super::hold::Hold;
use super::{Error, Store};
use crate::domain::{ChunkId, Timestamp};

/// Names looked up with the index locked.
const LOOKS: usize = 1_024;
/// Wants made durable with one sync.
const WANTS: usize = 8_192;

impl Store {
    /// Keeps what is uploaded or found present from now on, until the result is dropped.
    pub fn hold(&self) -> Hold {
        self.inner.turns.hold()
    }

    /// Which of `ids` are not held, in their order, each once. Those that are stay as long as the
    /// [`Hold`], and for [`super::Options::grace`] from now: that much is durable on return.
    pub fn want(&self, ids: &[ChunkId]) -> Result<(Vec<ChunkId>, Hold), Error> {
        let hold = self.hold();
        let mut stale = Vec::new();
        let missing = self.look_all(ids, &mut stale);
        self.touch(&stale)?;
        Ok((missing, hold))
    }

    /// The first half of [`Self::want`], which never waits for the disk: adds those chunks to
    /// `stale` that need [`Self::touch`] before anybody is told that they are there. Take a
    /// [`Hold`] before.
    pub fn look_all(&self, ids: &[ChunkId], stale: &mut Vec<ChunkId>) -> Vec<ChunkId> {
        let mut missing = Vec::new();
        for group in ids.chunks(LOOKS) {
            let before = self.stale_before();
            let index = self.index();
            let turn = self.inner.turns.take();
            for id in group {
                match index.look(id, turn) {
                    None => missing.push(*id),
                    Some(held) if held.wanted < before => stale.push(*id),
                    Some(_) => {}
                }
            }
        }
        if missing.len() > 1 {
            let mut seen = BTreeSet::new();
            missing.retain(|id| seen.insert(*id));
        }
        missing
    }

    /// The second half of [`Self::want`]: makes it durable that these chunks were wanted now, with
    /// one sync.
    pub fn touch(&self, stale: &[ChunkId]) -> Result<(), Error> {
        let now = self.now();
        let wants: Vec<_> = stale.iter().map(|id| (*id, now)).collect();
        self.write_wants(&wants)
    }

    /// Makes it durable that chunks were wanted at certain times.
    pub(super) fn write_wants(&self, wants: &[(ChunkId, Timestamp)]) -> Result<(), Error> {
        for group in wants.chunks(WANTS) {
            let pin = self.pin()?;
            let entry = |(id, at): &(ChunkId, Timestamp)| (pin.number(), *id, Fact::Wanted(*at));
            let entries: Vec<Entry> = group.iter().map(entry).collect();
            self.commit(&entries)?;
        }
        Ok(())
    }

    /// Whether a chunk is held; if it is, a collection that has begun leaves it, and it's added to
    /// `stale` like in [`Self::look_all`].
    pub(super) fn look(&self, id: &ChunkId, stale: &mut Vec<ChunkId>) -> bool {
        let before = self.stale_before();
        let index = self.index();
        let Some(held) = index.look(id, self.inner.turns.take()) else { return false };
        if held.wanted < before {
            stale.push(*id);
        }
        true
    }

    /// A want that is durably older than this must be made durable anew.
    fn stale_before(&self) -> Timestamp {
        let options = &self.inner.options;
        if options.grace.0 == 0 {
            // Nothing is promised beyond the hold.
            return Timestamp(i64::MIN);
        }
        let slack = i64::try_from(options.slack().0).unwrap_or(i64::MAX).saturating_mul(1_000);
        Timestamp(self.now().0.saturating_sub(slack))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}
