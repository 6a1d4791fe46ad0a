//! A generation as the store keeps it: open, closed or gone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::files;
use super::generation::Generation;

/// Whether a generation is open.
#[derive(Debug)]
pub(super) enum State {
    Closed,
    Open(Generation),
    /// Dropped with its files; it never comes back.
    Gone,
}

/// A generation, open or not.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    dir: PathBuf,
    state: RwLock<State>,
    /// Writers that still have something to write into it.
    pins: AtomicUsize,
    /// Payload written into it, kept or not.
    written: AtomicU64,
    /// There is an index beside it.
    indexed: AtomicBool,
    /// The index, if there is one, tells of chunks that are not held here any more.
    outdated: AtomicBool,
}

impl Slot {
    pub(super) fn new(dir: &Path, number: u32) -> Self {
        Self {
            number,
            dir: files::dir_of(dir, number),
            state: RwLock::new(State::Closed),
            pins: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            indexed: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.dir.with_extension(files::INDEX)
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        let mut state = self.lock_state();
        if matches!(*state, State::Open(_))
            && let State::Open(generation) = std::mem::replace(&mut *state, State::Closed)
        {
            generation.close();
        }
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::SeqCst) > 0
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn set_written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.indexed.load(Ordering::SeqCst)
    }

    pub(super) fn set_indexed(&self, indexed: bool) {
        self.indexed.store(indexed, Ordering::SeqCst);
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::SeqCst)
    }

    pub(super) fn set_outdated(&self, outdated: bool) {
        self.outdated.store(outdated, Ordering::SeqCst);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.close();
    }
}

/// Keeps a generation open for writing, even when it's sealed meanwhile.
#[derive(Debug)]
pub(super) struct Pin(Arc<Slot>);

impl Pin {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.pins.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(slot))
    }

    pub(super) fn number(&self) -> u32 {
        self.0.number
    }

    /// Counts payload that was written.
    pub(super) fn wrote(&self, bytes: u64) {
        self.0.written.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::SeqCst);
    }
}
