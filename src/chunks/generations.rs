//! The generations of a store: one that grows, and sealed ones that are opened to read.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::generation::{Generation, Manifest};
use super::{Error, Options};
use crate::domain::ChunkId;

/// How many sealed generations are kept open for reading.
const SEALED_OPEN_MAX: usize = 2;

/// A generation, open or not.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    dir: PathBuf,
    open: RwLock<Option<Generation>>,
    /// Writers that still have something to write into it.
    pins: AtomicUsize,
    /// Payload written into it, kept or not.
    written: AtomicU64,
}

impl Slot {
    fn close(&self) {
        if let Some(generation) = self.lock_open().take() {
            generation.close();
        }
    }

    fn lock_open(&self) -> std::sync::RwLockWriteGuard<'_, Option<Generation>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
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

/// All generations.
#[derive(Debug)]
pub(super) struct Generations {
    dir: PathBuf,
    options: Options,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    active: Mutex<Arc<Slot>>,
    /// Sealed generations that are open, oldest first. Also held while one is being opened.
    sealed_open: Mutex<VecDeque<Arc<Slot>>>,
}

impl Generations {
    /// Opens the generations below `dir` one after the other, calls `each` with every manifest
    /// (later generations last), and leaves the newest open to grow.
    pub(super) fn open(
        dir: &Path,
        options: &Options,
        mut each: impl FnMut(u32, ChunkId, Manifest),
    ) -> Result<Self, Error> {
        let mut numbers = found(dir)
            .map_err(|source| Error::Io { operation: "list the chunk generations", source })?;
        if numbers.is_empty() {
            numbers.push(1);
        }
        let newest = numbers.last().copied().unwrap_or(1);
        let mut slots = BTreeMap::new();
        let mut active = None;
        for number in numbers {
            let slot = new_slot(dir, number);
            let generation = Generation::open(&slot.dir, options)?;
            let mut bytes = 0;
            generation.manifests(|id, manifest| {
                bytes += manifest.bytes;
                each(number, id, manifest);
            })?;
            slot.written.store(bytes, Ordering::Relaxed);
            if number == newest {
                *slot.lock_open() = Some(generation);
                active = Some(Arc::clone(&slot));
            } else {
                generation.close();
            }
            slots.insert(number, slot);
        }
        let active = active.unwrap_or_else(|| new_slot(dir, newest));
        Ok(Self {
            dir: dir.to_path_buf(),
            options: options.clone(),
            slots: RwLock::new(slots),
            active: Mutex::new(active),
            sealed_open: Mutex::default(),
        })
    }

    /// Where new chunks go. Starts another generation when the newest has reached its size.
    pub(super) fn pin_active(&self) -> Result<Pin, Error> {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.written.load(Ordering::Relaxed) >= self.options.generation_bytes {
            let slot = new_slot(&self.dir, active.number + 1);
            *slot.lock_open() = Some(Generation::open(&slot.dir, &self.options)?);
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            slots.insert(slot.number, Arc::clone(&slot));
            drop(slots);
            let sealed = std::mem::replace(&mut *active, slot);
            let mut open = self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner);
            open.push_back(sealed);
            close_surplus(&mut open, SEALED_OPEN_MAX);
        }
        Ok(Pin::new(&active))
    }

    /// Runs `action` with a generation, opening it when it's closed.
    pub(super) fn with<T>(
        &self,
        number: u32,
        action: impl FnOnce(&Generation) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(&number).map(Arc::clone);
        drop(slots);
        let Some(slot) = slot else {
            let path = dir_of(&self.dir, number);
            return Err(Error::Open { path, source: "there is no such generation".into() });
        };
        loop {
            let open = slot.open.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(generation) = &*open {
                return action(generation);
            }
            drop(open);
            self.open_sealed(&slot)?;
        }
    }

    fn open_sealed(&self, slot: &Arc<Slot>) -> Result<(), Error> {
        let mut open = self.sealed_open.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.open.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        close_surplus(&mut open, SEALED_OPEN_MAX - 1);
        *slot.lock_open() = Some(Generation::open(&slot.dir, &self.options)?);
        open.push_back(Arc::clone(slot));
        Ok(())
    }

    /// Size of all files, in bytes.
    pub(super) fn disk_bytes(&self) -> u64 {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(|slot| files_bytes(&slot.dir)).sum()
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

/// Closes the oldest sealed generations that nobody writes to, down to `keep`.
fn close_surplus(open: &mut VecDeque<Arc<Slot>>, keep: usize) {
    let mut index = 0;
    while open.len() > keep && index < open.len() {
        let idle = open.get(index).is_some_and(|slot| slot.pins.load(Ordering::SeqCst) == 0);
        if !idle {
            index += 1;
        } else if let Some(slot) = open.remove(index) {
            slot.close();
        }
    }
}

fn new_slot(dir: &Path, number: u32) -> Arc<Slot> {
    Arc::new(Slot {
        number,
        dir: dir_of(dir, number),
        open: RwLock::default(),
        pins: AtomicUsize::new(0),
        written: AtomicU64::new(0),
    })
}

fn dir_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("g{number:06}"))
}

fn found(dir: &Path) -> std::io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix('g'));
        numbers.extend(digits.filter(|d| d.len() >= 6).and_then(|d| d.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn files_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
