//! Many chunks, one sync.

use super::hold::Hold;
use super::options::Put;
use super::verified::Verified;
use super::{Error, Store};
use crate::domain::ChunkId;

/// Chunks that are kept with one sync, at [`Batch::commit`].
///
/// A batch holds at most one group of bytes in memory. When it gets more it commits what it has so
/// far: chunks name their own content, so one that is visible early does no harm. A batch that is
/// dropped forgets what it has not committed.
#[derive(Debug)]
#[must_use = "nothing is kept without commit"]
pub struct Batch {
    store: Store,
    waiting: Vec<Verified<'static>>,
    waiting_bytes: usize,
    /// Held chunks of which it is to be made durable that they were wanted.
    stale: Vec<ChunkId>,
    /// What was found present must still be there at the commit.
    _hold: Hold,
}

/// Most uploads that wait in a batch, whatever their size.
const WAITING_MAX: usize = 4_096;

impl Batch {
    pub(super) fn new(store: Store) -> Self {
        let hold = store.hold();
        Self { store, waiting: Vec::new(), waiting_bytes: 0, stale: Vec::new(), _hold: hold }
    }

    /// Adds a chunk after checking that `bytes` hash to `id`.
    pub fn put(&mut self, id: ChunkId, bytes: &[u8]) -> Result<Put, Error> {
        let store = self.store.clone();
        self.add(Verified::check(&store, id, bytes)?)
    }

    /// Adds bytes under the name they hash to.
    pub fn put_unnamed(&mut self, bytes: &[u8]) -> Result<ChunkId, Error> {
        let store = self.store.clone();
        let verified = Verified::of(&store, ChunkId::of(bytes), bytes);
        let id = verified.id();
        self.add(verified).map(|_| id)
    }

    /// Adds an upload that was streamed and verified.
    pub fn add(&mut self, verified: Verified<'_>) -> Result<Put, Error> {
        let id = verified.id();
        self.store.check()?;
        if self.store.look(&id, &mut self.stale)
            || self.waiting.iter().any(|other| other.id() == id)
        {
            return Ok(Put::Held);
        }
        let bytes = verified.bytes_in_memory();
        if bytes > self.store.inner.options.group_bytes {
            return self.store.insert(verified);
        }
        if self.waiting_bytes + bytes > self.store.inner.options.group_bytes
            || self.waiting.len() >= WAITING_MAX
        {
            self.flush()?;
        }
        self.waiting_bytes += bytes;
        self.waiting.push(verified.into_owned());
        Ok(Put::Stored)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.waiting_bytes = 0;
        let stale = std::mem::take(&mut self.stale);
        self.store.insert_all(std::mem::take(&mut self.waiting), stale)
    }

    /// Returns when all chunks of the batch are durable and visible.
    pub fn commit(mut self) -> Result<(), Error> {
        self.flush()
    }
}
