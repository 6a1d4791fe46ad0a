//! Collecting chunks that nobody refers to, and giving their space back.
//!
//! Deleting from a sled database frees nothing; only removing all of it does. So a chunk is first
//! forgotten, and a generation of which little is left is emptied into the newest one and removed.
//! `docs/adr/0008-chunk-collection.md` says why no step can lose a chunk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::generation::{Fact, Generation};
use super::index::Place;
use super::slot::Slot;
use super::verified::Claimed;
use super::{Error, Store};
use crate::clock::monotonic;
use crate::domain::{ChunkId, Timestamp};
use crate::durable::Space;

/// Chunks looked at with the index locked.
const LOOKS: usize = 1_024;
/// Chunks forgotten with one sync. Uploads of the same names wait for it.
const FORGOTTEN: usize = 256;
/// Longest pause without looking at the stop flag.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// When a collection began: what was used later stays.
#[derive(Clone, Copy, Debug)]
#[must_use = "a collection needs it"]
pub struct Mark {
    at: Timestamp,
    turn: u64,
}

/// What a collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Chunks that are not held any more.
    pub chunks: u64,
    /// Their content, in bytes.
    pub bytes: u64,
    /// Generations that were removed.
    pub generations_dropped: u64,
    /// Content that was copied out of them before, in bytes.
    pub bytes_copied: u64,
    /// Size of all files before and after, in bytes.
    pub disk_before: u64,
    pub disk_after: u64,
    /// Whether it ended because it was told to.
    pub stopped: bool,
}

/// A collection that runs.
pub(super) struct Run<'a> {
    pub(super) stop: &'a dyn Fn() -> bool,
    pub(super) done: Collected,
    pub(super) pace: Pace,
}

impl Run<'_> {
    /// Whether to end now.
    pub(super) fn is_over(&mut self) -> bool {
        self.done.stopped |= (self.stop)();
        self.done.stopped
    }

    /// Waits until so many more bytes may have been copied. True when it's to end meanwhile.
    pub(super) fn copied(&mut self, bytes: u64) -> bool {
        self.pace.bytes += bytes;
        loop {
            if self.is_over() {
                return true;
            }
            let pause = self.pace.ahead().min(PAUSE_MAX);
            if pause.is_zero() {
                return false;
            }
            thread::sleep(pause);
        }
    }
}

/// Bytes against time.
pub(super) struct Pace {
    bytes_per_second: u64,
    began: Instant,
    bytes: u64,
}

impl Pace {
    /// How long to wait.
    fn ahead(&self) -> Duration {
        let millis = self.bytes.saturating_mul(1_000).checked_div(self.bytes_per_second);
        Duration::from_millis(millis.unwrap_or(0)).saturating_sub(self.began.elapsed())
    }
}

impl Store {
    /// Begins a collection. What is uploaded, found present by [`Self::want`] or an upload, or
    /// kept by a [`super::Hold`] from now on stays, whatever is said to be referred to.
    ///
    /// Agreement: who is about to refer to chunks holds them until the command that does is queued
    /// for the writer. Who collects calls this first, **then waits until everything that was queued
    /// before is published**, and only then looks up what is referred to. So a reference is seen,
    /// or its hold was there when the collection began, or its chunks were used after that.
    pub fn begin_collection(&self) -> Mark {
        Mark { at: self.now(), turn: self.inner.turns.begin() }
    }

    /// Forgets every chunk that is not `live` and was not wanted within the grace before `mark`,
    /// and gives space back. `live` must be true for all that is referred to; it is asked with
    /// nothing locked. `stop` is asked often; what was done until then stands.
    ///
    /// Uploads and reads go on meanwhile. One collection runs at a time; others wait.
    pub fn collect(
        &self,
        mark: Mark,
        live: &dyn Fn(&ChunkId) -> bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Collected, Error> {
        let _one = self.inner.collecting.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let bytes_per_second = self.inner.options.copy_bytes_per_second;
        let pace = Pace { bytes_per_second, began: monotonic(), bytes: 0 };
        let mut run = Run { stop, done: Collected::default(), pace };
        run.done.disk_before = self.inner.generations.disk_bytes();
        self.forget_unwanted(mark, live, &mut run)?;
        let generations = &self.inner.generations;
        if !run.is_over() {
            let live = |number| self.index().usage(number).bytes;
            self.poisoning(generations.seal_garbage(live))?;
            // A generation is emptied by its index, and dropped ones need none.
            self.drop_empty(&mut run)?;
            self.inner.write_indexes();
            self.empty_wasteful(&mut run)?;
        }
        self.inner.write_indexes();
        run.done.disk_after = generations.disk_bytes();
        Ok(run.done)
    }

    fn forget_unwanted(
        &self,
        mark: Mark,
        live: &dyn Fn(&ChunkId) -> bool,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let kept = self.inner.options.kept();
        let mut last = None;
        loop {
            let mut unwanted = Vec::new();
            let before = last;
            for (id, held) in self.index().after(last).take(LOOKS) {
                last = Some(id);
                if held.wanted.after(kept) <= mark.at && !held.is_used_since(mark.turn) {
                    unwanted.push(id);
                }
            }
            if last == before {
                return Ok(());
            }
            unwanted.retain(|id| !live(id));
            for group in unwanted.chunks(FORGOTTEN) {
                if run.is_over() {
                    return Ok(());
                }
                self.forget_group(mark, group, run)?;
            }
            if run.is_over() {
                return Ok(());
            }
        }
    }

    /// Forgets chunks that nobody has used meanwhile.
    fn forget_group(&self, mark: Mark, ids: &[ChunkId], run: &mut Run<'_>) -> Result<(), Error> {
        // With the names claimed, no upload writes the pieces or the manifest anew before the old
        // manifest is durably gone.
        let claimed: Vec<(ChunkId, Claimed)> =
            ids.iter().filter_map(|id| Some((*id, Claimed::try_new(self, *id)?))).collect();
        let mut forgotten: BTreeMap<u32, (u64, Vec<ChunkId>)> = BTreeMap::new();
        let mut index = self.index_mut();
        for (id, _) in &claimed {
            let Some(held) = index.held(id) else { continue };
            let place = held.place;
            if !held.is_used_since(mark.turn)
                && !self.inner.turns.is_named(id)
                && index.remove(id, place)
            {
                run.done.chunks += 1;
                run.done.bytes += place.manifest.bytes;
                let (bytes, ids) = forgotten.entry(place.generation).or_default();
                *bytes += place.manifest.bytes;
                ids.push(*id);
            }
        }
        drop(index);
        for (number, (bytes, ids)) in forgotten {
            // Nothing is written into a sealed generation any more. So what a crash brings back
            // there is garbage, but whole; and its index is written anew when all is done.
            if !self.inner.generations.outdate_index(number) {
                let forget = |generation: &Generation| generation.forget_all(&ids, bytes);
                self.with_if_there(number, forget)?;
            }
        }
        Ok(())
    }

    /// Drops settled generations of which nothing is held.
    fn drop_empty(&self, run: &mut Run<'_>) -> Result<(), Error> {
        for slot in self.inner.generations.settled() {
            if run.is_over() {
                break;
            }
            if self.index().usage(slot.number).count == 0 {
                let dropped = self.drop_generation(&slot, run);
                self.unless_poisoned(&slot, dropped)?;
            }
        }
        Ok(())
    }

    /// Empties and drops settled generations of which at most half is held, smallest first.
    fn empty_wasteful(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let mut wasteful: Vec<(u64, Arc<Slot>)> = Vec::new();
        for slot in self.inner.generations.settled() {
            let live = self.index().usage(slot.number).bytes;
            if live <= slot.written() / 2 {
                wasteful.push((live, slot));
            }
        }
        wasteful.sort_unstable_by_key(|(live, slot)| (*live, slot.number));
        for (live, slot) in wasteful {
            if run.is_over() {
                break;
            }
            if !has_room(slot.dir(), live) {
                tracing::warn!(
                    generation = slot.number,
                    live_bytes = live,
                    "not enough free space to empty a chunk generation"
                );
                break;
            }
            let emptied = self.empty(slot.number, run);
            self.unless_poisoned(&slot, emptied)?;
            if self.index().usage(slot.number).count == 0 {
                let dropped = self.drop_generation(&slot, run);
                self.unless_poisoned(&slot, dropped)?;
            }
        }
        Ok(())
    }

    /// What is wrong with one old generation must neither stop the service nor keep the others
    /// from being collected.
    fn unless_poisoned(&self, slot: &Slot, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = result {
            self.check()?;
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(generation = slot.number, error, "cannot empty a chunk generation");
        }
        Ok(())
    }

    fn drop_generation(&self, slot: &Arc<Slot>, run: &mut Run<'_>) -> Result<(), Error> {
        self.save_wants(slot)?;
        self.inner.generations.drop_settled(slot)?;
        run.done.generations_dropped += 1;
        tracing::debug!(generation = slot.number, "dropped a chunk generation");
        Ok(())
    }

    /// Writes down anew what only this generation says about chunks of others.
    fn save_wants(&self, slot: &Slot) -> Result<(), Error> {
        let contents = self.inner.generations.contents(slot)?;
        let (kept, now) = (self.inner.options.kept(), self.now());
        let mut wants = Vec::new();
        for (id, fact) in contents.facts {
            let Fact::Wanted(at) = fact else { continue };
            let index = self.index();
            let Some(held) = index.held(&id) else { continue };
            let Place { manifest, .. } = held.place;
            if held.wanted == at && manifest.wanted < at && at.after(kept) > now {
                wants.push((id, at));
            }
        }
        self.write_wants(&wants)
    }
}

/// Whether a copy of so many bytes fits without bringing the disk near its end, where a failed
/// write would poison the store.
fn has_room(dir: &Path, bytes: u64) -> bool {
    let spare = 64 << 20;
    let needed = bytes.saturating_mul(3).saturating_add(spare);
    Space::of(dir).is_ok_and(|space| space.free_bytes >= needed)
}
