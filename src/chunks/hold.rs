//! Who keeps chunks from being collected, for as long as they need them.
//!
//! Every use of a chunk takes a *turn* from one counter, and a collection takes one when it begins
//! to look for what is referred to. What was used at that turn or later stays. A [`Hold`] makes a
//! collection that begins while it is there count as begun when the hold was taken; so all that is
//! used under a hold stays, at the price of one number for any number of chunks.
//!
//! Uploads and readers whose pace a client sets use names instead: a hold that lasts for days would
//! keep everything that was used in these days.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ChunkId;

/// The counter of turns, with those who hold one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    last: AtomicU64,
    holds: Mutex<BTreeSet<u64>>,
    names: Mutex<HashMap<ChunkId, usize>>,
}

impl Turns {
    /// A turn later than all before.
    pub(super) fn take(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.take();
        holds.insert(turn);
        Hold(Arc::new(Holding { turns: Arc::clone(self), turn }))
    }

    /// The turn of a collection that begins now: what was used at it or later stays.
    pub(super) fn begin(&self) -> u64 {
        // Under the lock: no hold is between its turn and its place in the set.
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.take();
        holds.first().copied().unwrap_or(now)
    }

    pub(super) fn name(self: &Arc<Self>, id: ChunkId) -> Named {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        *names.entry(id).or_default() += 1;
        Named { turns: Arc::clone(self), id }
    }

    pub(super) fn is_named(&self, id: &ChunkId) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }
}

/// Keeps every chunk that is uploaded, or found present, while it exists from being collected.
///
/// Take it before the first upload or look, and keep it until the command that refers to the
/// chunks is in the writer's queue, or the answer is out. See [`super::Store::begin_collection`]
/// for the other half of the agreement. Cheap to take and to clone.
#[derive(Clone, Debug)]
#[must_use = "it holds until it is dropped"]
pub struct Hold(#[expect(dead_code, reason = "what it does, it does when dropped")] Arc<Holding>);

#[derive(Debug)]
struct Holding {
    turns: Arc<Turns>,
    turn: u64,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut holds = self.turns.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.remove(&self.turn);
    }
}

/// Keeps one chunk from being collected, held already or not.
#[derive(Debug)]
pub(super) struct Named {
    turns: Arc<Turns>,
    id: ChunkId,
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut names = self.turns.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_begins_no_later_than_the_oldest_hold() {
        let turns = Arc::new(Turns::default());
        let used = turns.take();
        assert!(used < turns.begin());
        let first = turns.hold();
        let used = turns.take();
        let second = turns.hold();
        let copy = first.clone();
        drop(first);
        assert!(turns.begin() < used, "a clone holds as well");
        drop(copy);
        let began = turns.begin();
        assert!(began > used && turns.take() > began);
        drop(second);
        assert!(turns.holds.lock().unwrap().is_empty());
    }

    #[test]
    fn a_name_is_held_until_its_last_user_is_gone() {
        let turns = Arc::new(Turns::default());
        let id = ChunkId::of(b"x");
        let (one, two) = (turns.name(id), turns.name(id));
        drop(one);
        assert!(turns.is_named(&id));
        drop(two);
        assert!(!turns.is_named(&id));
    }
}
