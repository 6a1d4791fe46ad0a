//! The generations of a store: one that grows, and sealed ones that are opened to read.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::files;
use super::generation::{Fact, Generation, UNKNOWN};
use super::sealed::{self, Contents};
use super::slot::{Pin, Slot, State};
use super::{Error, Options};
use crate::domain::{ChunkId, Timestamp};

/// How many sealed generations are kept open for reading.
const SEALED_OPEN_MAX: usize = 2;

/// All generations.
#[derive(Debug)]
pub(super) struct Generations {
    dir: PathBuf,
    options: Options,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    active: Mutex<Arc<Slot>>,
    /// Sealed generations that are open, oldest first. Also held while one is being opened.
    sealed_open: Mutex<VecDeque<Arc<Slot>>>,
    /// Held while indexes are written or a generation is dropped.
    indexing: Mutex<()>,
}

impl Generations {
    /// Opens the store's directory: calls `each` with everything that the generations say (later
    /// ones last), and leaves the newest open to grow. Sealed ones are opened only when their index
    /// can't be used; `now` is when their chunks were wanted if they don't say.
    pub(super) fn open(
        dir: &Path,
        options: &Options,
        now: Timestamp,
        mut each: impl FnMut(u32, ChunkId, Fact),
    ) -> Result<Self, Error> {
        let failed = |source| Error::Io { operation: "list the chunk generations", source };
        let mut numbers = files::tidy(dir).map_err(failed)?;
        if numbers.is_empty() {
            numbers.push(1);
        }
        let newest = numbers.pop().unwrap_or(1);
        let mut slots = BTreeMap::new();
        for number in numbers {
            let slot = Arc::new(Slot::new(dir, number));
            let contents = sealed_contents(&slot, options, now)?;
            slot.set_written(contents.written);
            contents.facts.into_iter().for_each(|(id, fact)| each(number, id, fact));
            slots.insert(number, slot);
        }
        let active = Arc::new(Slot::new(dir, newest));
        // It may grow again, after which an index would tell of the past.
        sealed::remove(&active.index_path()).map_err(failed)?;
        let generation = Generation::open(active.dir(), options)?;
        let mut bytes = 0;
        let told = generation.facts(|id, fact| {
            bytes += bytes_of(&fact);
            each(newest, id, fact);
        });
        let forgotten = told.and_then(|()| generation.forgotten_bytes());
        active.set_written(bytes.saturating_add(in_opening(&active, forgotten)?));
        *active.lock_state() = State::Open(generation);
        slots.insert(newest, Arc::clone(&active));
        Ok(Self {
            dir: dir.to_path_buf(),
            options: options.clone(),
            slots: RwLock::new(slots),
            active: Mutex::new(active),
            sealed_open: Mutex::default(),
            indexing: Mutex::default(),
        })
    }

    /// Where new chunks go. Starts another generation when the newest has reached its size; then
    /// the second value is true.
    pub(super) fn pin_active(&self) -> Result<(Pin, bool), Error> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let full = active.written() >= self.options.generation_bytes;
        if full {
            self.seal(&mut active)?;
        }
        Ok((Pin::new(&active), full))
    }

    /// Starts another generation if the newest is mostly garbage. `live` is what is held of it, in
    /// bytes.
    pub(super) fn seal_garbage(&self, live: impl Fn(u32) -> u64) -> Result<bool, Error> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let written = active.written();
        let garbage = written.saturating_sub(live(active.number));
        let wasteful = garbage >= self.options.garbage_bytes.max(1) && garbage >= written / 2;
        if wasteful {
            self.seal(&mut active)?;
        }
        Ok(wasteful)
    }

    /// Starts another generation if this one, of which something is damaged, is the newest.
    pub(super) fn seal_damaged(&self, number: u32) -> Result<(), Error> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.number == number { self.seal(&mut active) } else { Ok(()) }
    }

    fn seal(&self, active: &mut Arc<Slot>) -> Result<(), Error> {
        let slot = Arc::new(Slot::new(&self.dir, active.number + 1));
        *slot.lock_state() = State::Open(Generation::open(slot.dir(), &self.options)?);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(slot.number, Arc::clone(&slot));
        drop(slots);
        let sealed = std::mem::replace(active, slot);
        let mut open = self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(sealed);
        close_surplus(&mut open, SEALED_OPEN_MAX);
        Ok(())
    }

    fn slot(&self, number: u32) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&number).map(Arc::clone)
    }

    /// Runs `action` with a generation, opening it when it's closed. None when it is gone.
    pub(super) fn with<T>(
        &self,
        number: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(slot) = self.slot(number) else { return Ok(None) };
        loop {
            match &*slot.state() {
                State::Open(generation) => return action(generation).map(Some),
                State::Gone => return Ok(None),
                State::Closed => {}
            }
            self.open_sealed(&slot)?;
        }
    }

    fn open_sealed(&self, slot: &Arc<Slot>) -> Result<(), Error> {
        let mut open = self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*slot.state(), State::Closed) {
            return Ok(());
        }
        close_surplus(&mut open, SEALED_OPEN_MAX - 1);
        *slot.lock_state() = State::Open(Generation::open(slot.dir(), &self.options)?);
        open.push_back(Arc::clone(slot));
        Ok(())
    }

    /// Sealed generations that nobody writes to any more, oldest first.
    pub(super) fn settled(&self) -> Vec<Arc<Slot>> {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner).number;
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = slots.values().filter(|slot| slot.number != active && !slot.is_pinned());
        sealed.map(Arc::clone).collect()
    }

    /// What a settled generation says, by its index or else by itself.
    pub(super) fn contents(&self, slot: &Slot) -> Result<Contents, Error> {
        if slot.is_indexed() {
            match sealed::read(&slot.index_path(), slot.number) {
                Ok(contents) => return Ok(contents),
                Err(error) => warn_unusable(slot, &error),
            }
        }
        let mut facts = Vec::new();
        self.with(slot.number, |generation| generation.facts(|id, fact| facts.push((id, fact))))?;
        Ok(Contents { written: slot.written(), facts })
    }

    /// Writes the indexes of settled generations that have none, or an outdated one; `is_current`
    /// says which facts still count.
    ///
    /// A failure is only told: the index can be made later, at the latest by the next start.
    pub(super) fn write_indexes(&self, is_current: &dyn Fn(u32, &ChunkId, &Fact) -> bool) {
        let _one = self.indexing.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in self.settled() {
            if slot.is_indexed() && !slot.is_outdated() {
                continue;
            }
            // What becomes outdated from here on is seen next time.
            slot.set_outdated(false);
            let mut contents = match self.contents(&slot) {
                Ok(contents) => contents,
                Err(error) => {
                    slot.set_outdated(true);
                    warn_unwritten(&slot, &error);
                    continue;
                }
            };
            contents.facts.retain(|(id, fact)| is_current(slot.number, id, fact));
            match sealed::write(&slot.index_path(), slot.number, &contents) {
                Ok(()) => slot.set_indexed(true),
                Err(error) => {
                    slot.set_outdated(true);
                    warn_unwritten(&slot, &error);
                }
            }
        }
    }

    /// Notes that a chunk of a generation is not held any more. True when its index is what tells;
    /// false when its manifest must go.
    pub(super) fn outdate_index(&self, number: u32) -> bool {
        let Some(slot) = self.slot(number) else { return true };
        let indexed = slot.is_indexed();
        slot.set_outdated(true);
        indexed
    }

    /// Takes the index of a generation away, since a manifest of it was dropped.
    pub(super) fn remove_index(&self, number: u32) {
        let Some(slot) = self.slot(number) else { return };
        if slot.is_indexed() {
            slot.set_outdated(true);
            slot.set_indexed(false);
            if let Err(error) = sealed::remove(&slot.index_path()) {
                tracing::warn!(%error, "cannot remove the index of a generation");
            }
        }
    }

    /// Drops a settled generation of which nothing is held. Whoever reads from it in this moment
    /// ends the piece first, and finds it gone with the next one.
    pub(super) fn drop_settled(&self, slot: &Arc<Slot>) -> Result<(), Error> {
        let _one = self.indexing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.number != slot.number);
        let state = std::mem::replace(&mut *slot.lock_state(), State::Gone);
        drop(open);
        if let State::Open(generation) = state {
            generation.close();
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.remove(&slot.number);
        drop(slots);
        files::remove_generation(slot.dir(), &slot.index_path())
            .map_err(|source| Error::Io { operation: "remove a chunk generation", source })
    }

    /// Size of all files, in bytes.
    pub(super) fn disk_bytes(&self) -> u64 {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| files::bytes(slot.dir())).sum()
    }

    #[cfg(test)]
    pub(super) fn sealed_open(&self) -> usize {
        self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// What a sealed generation says when a store is opened. Makes the index when it has none.
fn sealed_contents(slot: &Slot, options: &Options, now: Timestamp) -> Result<Contents, Error> {
    match sealed::read(&slot.index_path(), slot.number) {
        Ok(contents) => {
            slot.set_indexed(true);
            return Ok(contents);
        }
        Err(error) => warn_unusable(slot, &error),
    }
    let generation = Generation::open(slot.dir(), options)?;
    let mut contents = Contents::default();
    let told = generation.facts(|id, mut fact| {
        contents.written += bytes_of(&fact);
        if let Fact::Held(manifest) = &mut fact
            && manifest.wanted == UNKNOWN
        {
            manifest.wanted = now;
        }
        contents.facts.push((id, fact));
    });
    let forgotten = told.and_then(|()| generation.forgotten_bytes());
    contents.written = contents.written.saturating_add(in_opening(slot, forgotten)?);
    generation.close();
    match sealed::write(&slot.index_path(), slot.number, &contents) {
        Ok(()) => slot.set_indexed(true),
        Err(error) => warn_unwritten(slot, &error),
    }
    Ok(contents)
}

/// Says of which generation it is that something can't be read, when a store is opened.
fn in_opening<T>(slot: &Slot, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|error| Error::Open { path: slot.dir().to_path_buf(), source: error.into() })
}

fn warn_unwritten(slot: &Slot, error: &(dyn std::error::Error + 'static)) {
    let path = slot.index_path();
    tracing::warn!(path = %path.display(), error, "cannot write the index of a chunk generation");
}

fn warn_unusable(slot: &Slot, error: &sealed::Unusable) {
    let path = slot.index_path();
    let error: &(dyn std::error::Error + 'static) = error;
    tracing::warn!(path = %path.display(), error, "making the index of a chunk generation anew");
}

fn bytes_of(fact: &Fact) -> u64 {
    match fact {
        Fact::Held(manifest) => manifest.bytes,
        Fact::Wanted(_) => 0,
    }
}

/// Closes the oldest sealed generations that nobody writes to, down to `keep`.
fn close_surplus(open: &mut VecDeque<Arc<Slot>>, keep: usize) {
    let mut index = 0;
    while open.len() > keep && index < open.len() {
        let idle = open.get(index).is_some_and(|slot| !slot.is_pinned());
        if !idle {
            index += 1;
        } else if let Some(slot) = open.remove(index) {
            slot.close();
        }
    }
}
