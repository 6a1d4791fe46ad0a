//! The store itself: options, queries, and the way from verified content to a held chunk.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::claims::Claims;
use super::commit::{Commits, Entry, Group};
use super::generation::Generation;
use super::generations::Generations;
use super::index::{Index, Place};
use super::verified::Verified;
use super::writer::{Spool, Writer};
use super::{Batch, Error, Reader};
use crate::domain::ChunkId;

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            piece_bytes: 4_096,
            group_bytes: 4 << 20,
            generation_bytes: 512 << 20,
            cache_bytes: 16 << 20,
            segment_bytes: 8 << 20,
        }
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
    index: RwLock<Index>,
    commits: Commits,
    poison: OnceLock<String>,
}

impl Store {
    /// Opens the store below `dir` (`<data>/chunks`), creating it when there is none. Reads the
    /// manifests of all generations. One process at a time.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        let failed = |source| Error::Io { operation: "prepare the chunk directory", source };
        fs::create_dir_all(dir).map_err(failed)?;
        let spool_dir = dir.join("spool");
        if spool_dir.exists() {
            // Uploads that a stop cut off.
            fs::remove_dir_all(&spool_dir).map_err(failed)?;
        }
        fs::create_dir(&spool_dir).map_err(failed)?;
        let mut index = Index::default();
        let generations = Generations::open(dir, &options, |generation, id, manifest| {
            index.insert(id, Place { generation, manifest });
        })?;
        let inner = Inner {
            options,
            claims: Claims::default(),
            spool_dir,
            generations,
            index: RwLock::new(index),
            commits: Commits::default(),
            poison: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether a chunk is held.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.place(id).is_some()
    }

    /// Which of `ids` are not held, in their order, each once.
    pub fn missing(&self, ids: &[ChunkId]) -> Vec<ChunkId> {
        let index = self.inner.index.read().unwrap_or_else(PoisonError::into_inner);
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
        let index = self.inner.index.read().unwrap_or_else(PoisonError::into_inner);
        let (count, bytes) = (index.count(), index.bytes());
        drop(index);
        Stats { count, bytes, disk_bytes: self.inner.generations.disk_bytes() }
    }

    /// Names of all held chunks, in order.
    pub fn ids(&self) -> Vec<ChunkId> {
        self.inner.index.read().unwrap_or_else(PoisonError::into_inner).ids()
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

    /// Opens a held chunk for reading.
    pub fn read(&self, id: &ChunkId) -> Result<Reader, Error> {
        self.check()?;
        let place = self.place(id).ok_or(Error::Missing(*id))?;
        Ok(Reader::new(self.clone(), *id, place))
    }

    /// Reads a held chunk in full and checks that it still hashes to its name.
    pub fn verify(&self, id: &ChunkId) -> Result<(), Error> {
        let mut reader = self.read(id)?;
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut reader, &mut hasher)
            .map_err(|e| e.downcast::<Error>().unwrap_or_else(read_failed))?;
        let actual = ChunkId(crate::domain::ContentHash::from_blake3(&hasher.finalize()));
        if actual == *id {
            return Ok(());
        }
        let place = self.place(id).ok_or(Error::Missing(*id))?;
        Err(self.damaged(id, place, 0, format!("its content hashes to {actual}")))
    }

    pub(super) fn place(&self, id: &ChunkId) -> Option<Place> {
        self.inner.index.read().unwrap_or_else(PoisonError::into_inner).get(id)
    }

    /// One piece of a chunk, with the right length.
    pub(super) fn piece(
        &self,
        id: &ChunkId,
        place: Place,
        index: u32,
    ) -> Result<sled::IVec, Error> {
        let piece = self.with(place.generation, |generation| generation.piece(id, index))?;
        let wanted = place.manifest.piece_len(index);
        let what = match piece {
            Some(piece) if piece.len() as u64 == wanted => return Ok(piece),
            Some(piece) => format!("piece {index} has {} bytes instead of {wanted}", piece.len()),
            None => format!("piece {index} is not there"),
        };
        let offset = u64::from(index) * u64::from(place.manifest.piece_bytes);
        Err(self.damaged(id, place, offset, what))
    }

    /// Takes a damaged chunk out, so that it is asked for and uploaded again.
    fn damaged(&self, id: &ChunkId, place: Place, offset: u64, what: String) -> Error {
        tracing::error!(chunk = %id, offset, what, "a held chunk is damaged");
        let mut index = self.inner.index.write().unwrap_or_else(PoisonError::into_inner);
        let removed = index.remove(id, place);
        // Under the lock: nobody uploads it before its old manifest is gone.
        if removed && let Err(e) = self.with(place.generation, |generation| generation.forget(id)) {
            return e;
        }
        Error::Damaged { id: *id, offset, what }
    }

    /// Uses a generation; any failure poisons the store.
    pub(super) fn with<T>(
        &self,
        generation: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check()?;
        self.poisoning(self.inner.generations.with(generation, action))
    }

    /// Remembers the first failure of the database: from then on nobody knows what is durable.
    fn poisoning<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(e) = &result {
            let mut text = e.to_string();
            let mut source = std::error::Error::source(e);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            tracing::error!(error = text, "the chunk store is poisoned");
            // Only the first failure counts.
            let _ = self.inner.poison.set(text);
        }
        result
    }

    /// Pins the generation that grows.
    pub(super) fn pin(&self) -> Result<super::generations::Pin, Error> {
        self.check()?;
        self.poisoning(self.inner.generations.pin_active())
    }

    /// Makes one verified upload durable and visible.
    pub(super) fn insert(&self, verified: Verified<'_>) -> Result<Put, Error> {
        if self.contains(&verified.id()) {
            self.check()?;
            return Ok(Put::Held);
        }
        self.insert_all(vec![verified])?;
        Ok(Put::Stored)
    }

    /// Makes verified uploads durable with one sync, and visible.
    pub(super) fn insert_all(&self, mut uploads: Vec<Verified<'_>>) -> Result<(), Error> {
        // All take names in the same order, so that no two wait for each other.
        uploads.sort_unstable_by_key(Verified::id);
        let mut entries = Vec::with_capacity(uploads.len());
        let mut placed = Vec::with_capacity(uploads.len());
        let mut elsewhere = Vec::new();
        for upload in uploads {
            if self.contains(&upload.id()) {
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

    fn commit(&self, entries: &[Entry]) -> Result<(), Error> {
        self.check()?;
        if entries.is_empty() {
            return Ok(());
        }
        self.inner.commits.run(entries, |group| self.sync(group));
        self.check()
    }

    /// Writes the manifests of a group, makes them durable and publishes them.
    fn sync(&self, group: &Group) {
        for (generation, manifests) in group {
            if self.with(*generation, |open| open.commit(manifests)).is_err() {
                return;
            }
            let mut index = self.inner.index.write().unwrap_or_else(PoisonError::into_inner);
            for (id, manifest) in manifests {
                index.insert(*id, Place { generation: *generation, manifest: *manifest });
            }
        }
    }
}

fn read_failed(source: std::io::Error) -> Error {
    Error::Io { operation: "read a chunk", source }
}
