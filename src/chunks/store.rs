//! The store itself: queries, and the way from verified content to a held chunk.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::claims::Claims;
use super::commit::{Commits, Entry, Group};
use super::generation::{Fact, Generation, UNKNOWN};
use super::generations::Generations;
use super::hold::Turns;
use super::index::{Index, Place};
use super::options::{Options, Put, Stats};
use super::slot::Pin;
use super::verified::Verified;
use super::writer::{Spool, Writer};
use super::{Batch, Error};
use crate::clock::{Clock, System};
use crate::domain::{ChunkId, sentence};

/// A handle of the chunk store. All its clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: Options,
    pub(super) claims: Claims,
    pub(super) spool_dir: PathBuf,
    pub(super) generations: Generations,
    pub(super) turns: Arc<Turns>,
    pub(super) clock: Time,
    /// Held by a collection: one at a time.
    pub(super) collecting: Mutex<()>,
    index: RwLock<Index>,
    commits: Commits,
    poison: OnceLock<String>,
}

/// Where the store gets time from.
pub(super) struct Time(Arc<dyn Clock>);

impl std::ops::Deref for Time {
    type Target = dyn Clock;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // So that the next start needn't open the generations that were sealed since the last one.
        if self.poison.get().is_none() {
            self.write_indexes();
        }
    }
}

impl Inner {
    pub(super) fn write_indexes(&self) {
        self.generations.write_indexes(&|number, id, fact| {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.held(id).is_some_and(|held| match fact {
                Fact::Held(manifest) => {
                    held.place == Place { generation: number, manifest: *manifest }
                }
                Fact::Wanted(at) => held.wanted == *at && held.place.manifest.wanted < *at,
            })
        });
    }
}

impl Store {
    /// Opens the store below `dir` (`<data>/chunks`), creating it when there is none. Reads what
    /// all generations say that they hold. One process at a time.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::open_with(dir, options, Arc::new(System))
    }

    /// The same with another clock.
    pub fn open_with(dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let failed = |source| Error::Io { operation: "prepare the chunk directory", source };
        fs::create_dir_all(dir).map_err(failed)?;
        let spool_dir = dir.join("spool");
        if spool_dir.exists() {
            // Uploads that a stop cut off.
            fs::remove_dir_all(&spool_dir).map_err(failed)?;
        }
        fs::create_dir(&spool_dir).map_err(failed)?;
        let mut index = Index::default();
        let mut wants = Vec::new();
        let generations = Generations::open(dir, &options, clock.now(), |generation, id, fact| {
            match fact {
                Fact::Held(manifest) => index.insert(id, Place { generation, manifest }, 0),
                // Of a chunk that may have been copied to a later generation.
                Fact::Wanted(at) => wants.push((id, at)),
            }
        })?;
        for (id, at) in &wants {
            index.want(id, *at);
        }
        let timeless = index.after(None).filter(|(_, held)| held.wanted == UNKNOWN);
        let timeless: Vec<_> = timeless.map(|(id, _)| id).collect();
        let inner = Inner {
            options,
            claims: Claims::default(),
            spool_dir,
            generations,
            turns: Arc::default(),
            clock: Time(clock),
            collecting: Mutex::default(),
            index: RwLock::new(index),
            commits: Commits::default(),
            poison: OnceLock::new(),
        };
        let store = Self { inner: Arc::new(inner) };
        // Of an older version: nobody knows when they were wanted, so it was now.
        store.touch(&timeless)?;
        Ok(store)
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.inner.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.inner.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a chunk is held. That may have changed when this returns: see [`Self::want`].
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.place(id).is_some()
    }

    /// Which of `ids` are not held, in their order, each once; without the promise that the others
    /// stay: see [`Self::want`].
    pub fn missing(&self, ids: &[ChunkId]) -> Vec<ChunkId> {
        let index = self.index();
        let mut seen = HashSet::new();
        let missing = ids.iter().filter(|id| index.get(id).is_none() && seen.insert(**id));
        missing.copied().collect()
    }

    /// Length of a held chunk, in bytes.
    pub fn len(&self, id: &ChunkId) -> Option<u64> {
        self.place(id).map(|place| place.manifest.bytes)
    }

    /// Totals. Looks at the files' sizes.
    pub fn stats(&self) -> Stats {
        let index = self.index();
        let (count, bytes) = (index.count(), index.bytes());
        drop(index);
        Stats { count, bytes, disk_bytes: self.inner.generations.disk_bytes() }
    }

    /// Names of all held chunks, in order.
    pub fn ids(&self) -> Vec<ChunkId> {
        self.index().ids()
    }

    /// Fails when an earlier failure poisoned the store.
    pub fn check(&self) -> Result<(), Error> {
        self.inner.poison.get().map_or(Ok(()), |why| Err(Error::Poisoned(why.clone())))
    }

    /// Checks that `bytes` hash to `id` and keeps them; durable when this returns.
    pub fn put(&self, id: ChunkId, bytes: &[u8]) -> Result<Put, Error> {
        self.insert(Verified::check(self, id, bytes)?)
    }

    /// Keeps `bytes` under the name they hash to; durable when this returns.
    pub fn put_unnamed(&self, bytes: &[u8]) -> Result<ChunkId, Error> {
        let verified = Verified::of(self, ChunkId::of(bytes), bytes);
        let id = verified.id();
        self.insert(verified).map(|_| id)
    }

    /// Starts a batch: many chunks with one sync.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// Starts an upload of a chunk whose name is known.
    pub fn writer(&self, id: ChunkId) -> Result<Writer, Error> {
        self.check()?;
        Ok(Writer::new(self.clone(), id))
    }

    /// Starts an upload of a chunk that is to be named by its content.
    pub fn spool(&self) -> Result<Spool, Error> {
        self.check()?;
        Ok(Spool::new(self.clone()))
    }

    pub(super) fn place(&self, id: &ChunkId) -> Option<Place> {
        self.index().get(id)
    }

    /// Uses a generation that can't be dropped meanwhile; any failure poisons the store.
    pub(super) fn with<T>(
        &self,
        generation: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = self.with_if_there(generation, action)?;
        done.ok_or_else(|| {
            let gone = format!("generation {generation} is gone");
            Error::Database { operation: "use a pinned generation", source: gone.into() }
        })
    }

    /// Uses a generation unless it was dropped; any failure poisons the store.
    pub(super) fn with_if_there<T>(
        &self,
        generation: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.check()?;
        self.poisoning(self.inner.generations.with(generation, action))
    }

    /// The same, but that something stored there is damaged poisons nothing: it leaves nothing unknown,
    /// and is for the caller to tell by [`Error::is_damage`].
    pub(super) fn with_damage<T>(
        &self,
        generation: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.check()?;
        match self.inner.generations.with(generation, action) {
            Err(error) if error.is_damage() => Err(error),
            done => self.poisoning(done),
        }
    }

    /// Writes pieces into a generation that can't be dropped meanwhile. When the database refuses them
    /// for a damaged page that is in the way, nothing is unknown, and another generation takes what
    /// comes next.
    pub(super) fn write(
        &self,
        generation: u32,
        action: impl FnOnce(&Generation) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut refused = None;
        self.with(generation, |open| {
            if let Err(error) = action(open) {
                refused = Some(error.into_rotten()?);
            }
            Ok(())
        })?;
        let Some(rotten) = refused else { return Ok(()) };
        tracing::error!(generation, error = sentence(&rotten), "a page of chunks is damaged");
        self.poisoning(self.inner.generations.seal_damaged(generation))?;
        Err(rotten)
    }

    /// Remembers the first failure of the database: from then on nobody knows what is durable.
    pub(super) fn poisoning<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(e) = &result {
            let text = sentence(e);
            tracing::error!(error = text, "the chunk store is poisoned");
            // Only the first failure counts.
            let _ = self.inner.poison.set(text);
        }
        result
    }

    /// Pins the generation that grows.
    pub(super) fn pin(&self) -> Result<Pin, Error> {
        self.check()?;
        let (pin, sealed) = self.poisoning(self.inner.generations.pin_active())?;
        if sealed {
            // Of those before: the one just sealed may still have its last uploads to take.
            self.inner.write_indexes();
        }
        Ok(pin)
    }

    /// Makes one verified upload durable and visible.
    pub(super) fn insert(&self, verified: Verified<'_>) -> Result<Put, Error> {
        let mut stale = Vec::new();
        if self.look(&verified.id(), &mut stale) {
            self.check()?;
            self.touch(&stale)?;
            return Ok(Put::Held);
        }
        self.insert_all(vec![verified], stale)?;
        Ok(Put::Stored)
    }

    /// Makes verified uploads durable with one sync, and visible; also that the chunks in `stale`
    /// were wanted.
    pub(super) fn insert_all(
        &self,
        mut uploads: Vec<Verified<'_>>,
        mut stale: Vec<ChunkId>,
    ) -> Result<(), Error> {
        // All take names in the same order, so that no two wait for each other.
        uploads.sort_unstable_by_key(Verified::id);
        let mut entries = Vec::with_capacity(uploads.len());
        let mut placed = Vec::with_capacity(uploads.len());
        let mut elsewhere = Vec::new();
        let mut present = Vec::new();
        for upload in uploads {
            if self.look(&upload.id(), &mut stale) {
                // Named until the end, like those that are placed.
                present.push(upload);
                continue;
            }
            match upload.place()? {
                Ok(done) => {
                    entries.push(done.entry);
                    placed.push(done);
                }
                Err(id) => elsewhere.push(id),
            }
        }
        self.commit(&entries)?;
        drop(placed);
        self.touch(&stale)?;
        drop(present);
        for id in elsewhere {
            // Another upload of the same content had priority and is about to be published.
            self.inner.claims.wait_verified(&id);
            self.check()?;
            if !self.contains(&id) {
                return Err(Error::Missing(id));
            }
        }
        Ok(())
    }

    pub(super) fn commit(&self, entries: &[Entry]) -> Result<(), Error> {
        self.check()?;
        if entries.is_empty() {
            return Ok(());
        }
        self.inner.commits.run(entries, |group| self.sync(group));
        self.check()
    }

    /// Writes the facts of a group, makes them durable and publishes them.
    fn sync(&self, group: &Group) {
        for (generation, facts) in group {
            if let Err(error) = self.with(*generation, |open| open.commit(facts)) {
                // Some of them may be written. After the next start others go elsewhere.
                if error.into_rotten().is_ok() {
                    drop(self.inner.generations.seal_damaged(*generation));
                }
                return;
            }
            let turn = self.inner.turns.take();
            let mut index = self.index_mut();
            for (id, fact) in facts {
                match fact {
                    Fact::Held(manifest) => {
                        let place = Place { generation: *generation, manifest: *manifest };
                        index.insert(*id, place, turn);
                    }
                    Fact::Wanted(at) => index.want(id, *at),
                }
            }
        }
    }
}
