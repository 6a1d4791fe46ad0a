//! Who may write the pieces of a chunk that isn't held yet.
//!
//! Pieces are keyed by the chunk's name, so two uploads of one name meet in the same keys, and one
//! of them may be lying about its content or never end. Hence: only one upload per name streams
//! into the database before it's verified. A verified upload never waits for it: it takes the name
//! over, overwrites what the other wrote, and the other goes on without writing.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::slot::Pin;
use crate::domain::ChunkId;

/// What an unverified upload has put into the database so far.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) pin: Pin,
    pub(super) pieces: u32,
    /// Somebody else's verified upload owns the name now: write nothing more.
    pub(super) revoked: bool,
    /// The new owner writes the same keys and clears the rest away: remove nothing.
    pub(super) inherited: bool,
}

pub(super) type Shared = Arc<Mutex<Stream>>;

#[derive(Debug)]
enum Claim {
    Streaming(Shared),
    /// A verified upload is between its first piece and its publication. Only one at a time even
    /// though all of them are equal: writing pieces passes through a state without content.
    Verified,
}

/// The names being written.
#[derive(Debug, Default)]
pub(super) struct Claims {
    names: Mutex<HashMap<ChunkId, Claim>>,
    freed: Condvar,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChunkId, Claim>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an unverified upload stream into the database, unless another one has the name.
    pub(super) fn stream(&self, id: ChunkId, pin: Pin) -> Option<Shared> {
        let mut claims = self.lock();
        if claims.contains_key(&id) {
            return None;
        }
        let shared =
            Arc::new(Mutex::new(Stream { pin, pieces: 0, revoked: false, inherited: false }));
        claims.insert(id, Claim::Streaming(Arc::clone(&shared)));
        Some(shared)
    }

    /// Ends an unverified or published stream.
    pub(super) fn end_stream(&self, id: &ChunkId, shared: &Shared) {
        let mut claims = self.lock();
        if matches!(claims.get(id), Some(Claim::Streaming(current)) if Arc::ptr_eq(current, shared))
        {
            claims.remove(id);
        }
    }

    /// Lets a stream that turned out to be right keep the name until it is published. False when
    /// another verified upload took it over.
    pub(super) fn promote(&self, id: &ChunkId, shared: &Shared) -> bool {
        let mut claims = self.lock();
        let owns =
            matches!(claims.get(id), Some(Claim::Streaming(own)) if Arc::ptr_eq(own, shared));
        if owns {
            claims.insert(*id, Claim::Verified);
        }
        owns
    }

    /// Gives the name to a verified upload that is going to write into `generation`. Waits for
    /// another verified upload to be published, and at most for one group of pieces that an
    /// unverified upload is writing right now; from then on that one writes nothing. Returns how
    /// many pieces it left in `generation`, for the new owner to clear away those it doesn't
    /// overwrite.
    ///
    /// The hold must end soon, whatever any client does: others wait for it. Who takes several
    /// names takes them in ascending order.
    pub(super) fn verified(&self, id: ChunkId, generation: u32) -> u32 {
        let mut claims = self.lock();
        while matches!(claims.get(&id), Some(Claim::Verified)) {
            claims = self.freed.wait(claims).unwrap_or_else(PoisonError::into_inner);
        }
        // The lock on all names is kept meanwhile, so that a third upload can't start to write
        // while the streaming one is still at it.
        let Some(Claim::Streaming(shared)) = claims.insert(id, Claim::Verified) else { return 0 };
        let mut stream = lock(&shared);
        stream.revoked = true;
        stream.inherited = stream.pin.number() == generation;
        if stream.inherited { stream.pieces } else { 0 }
    }

    /// Gives the name to somebody who needn't have it, such as a collection. False when an upload
    /// has it. The same rules as for [`Self::verified`] hold.
    pub(super) fn try_verified(&self, id: ChunkId) -> bool {
        let mut claims = self.lock();
        let free = !claims.contains_key(&id);
        if free {
            claims.insert(id, Claim::Verified);
        }
        free
    }

    /// Waits until no verified upload has the name.
    pub(super) fn wait_verified(&self, id: &ChunkId) {
        let mut claims = self.lock();
        while matches!(claims.get(id), Some(Claim::Verified)) {
            claims = self.freed.wait(claims).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends what [`Self::verified`] or [`Self::promote`] started.
    pub(super) fn end_verified(&self, id: &ChunkId) {
        let mut claims = self.lock();
        if matches!(claims.get(id), Some(Claim::Verified)) {
            claims.remove(id);
            self.freed.notify_all();
        }
    }
}

/// Locks a stream's state; a panic elsewhere can't leave it half changed.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Stream> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
