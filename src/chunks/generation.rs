//! One generation: a sled database of pieces and manifests in a directory of its own.

use std::error::Error as StdError;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Error, Options};
use crate::domain::{ChunkId, ContentHash, Timestamp};
use crate::durable::{self, Barrier};

/// What the database says of one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    pub(super) bytes: u64,
    pub(super) piece_bytes: u32,
    pub(super) pieces: u32,
    /// When it was uploaded or, in a copy, wanted; [`UNKNOWN`] in what older versions wrote.
    pub(super) wanted: Timestamp,
}

/// A time that nobody wrote down.
pub(super) const UNKNOWN: Timestamp = Timestamp(0);

impl Manifest {
    /// Without the time, as older versions wrote it.
    const BYTES_MIN: usize = 16;
    pub(super) const BYTES: usize = 24;

    /// Of a chunk of `bytes` cut into pieces of `piece_bytes`; none when there would be too many.
    pub(super) fn of(bytes: u64, piece_bytes: u32) -> Option<Self> {
        let pieces = u32::try_from(bytes.div_ceil(u64::from(piece_bytes))).ok()?;
        Some(Self { bytes, piece_bytes, pieces, wanted: UNKNOWN })
    }

    pub(super) fn encode(self) -> [u8; Self::BYTES] {
        let mut value = [0; Self::BYTES];
        let (bytes, rest) = value.split_at_mut(8);
        let (piece_bytes, rest) = rest.split_at_mut(4);
        let (pieces, wanted) = rest.split_at_mut(4);
        bytes.copy_from_slice(&self.bytes.to_be_bytes());
        piece_bytes.copy_from_slice(&self.piece_bytes.to_be_bytes());
        pieces.copy_from_slice(&self.pieces.to_be_bytes());
        wanted.copy_from_slice(&self.wanted.0.to_be_bytes());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        if value.len() != Self::BYTES && value.len() != Self::BYTES_MIN {
            return None;
        }
        let (bytes, rest) = value.split_first_chunk()?;
        let (piece_bytes, rest) = rest.split_first_chunk()?;
        let (pieces, rest) = rest.split_first_chunk()?;
        let wanted = rest.try_into().map_or(UNKNOWN, |time| Timestamp(i64::from_be_bytes(time)));
        let (bytes, piece_bytes) = (u64::from_be_bytes(*bytes), u32::from_be_bytes(*piece_bytes));
        let pieces = u32::from_be_bytes(*pieces);
        (piece_bytes > 0 && bytes.div_ceil(u64::from(piece_bytes)) == u64::from(pieces))
            .then_some(Self { bytes, piece_bytes, pieces, wanted })
    }

    /// How long piece `index` must be.
    pub(super) fn piece_len(self, index: u32) -> u64 {
        let from = u64::from(index) * u64::from(self.piece_bytes);
        self.bytes.saturating_sub(from).min(u64::from(self.piece_bytes))
    }
}

/// What a generation says about a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// It is held here.
    Held(Manifest),
    /// It was found present, here or in another generation.
    Wanted(Timestamp),
}

/// Bytes of pieces that may wait for the disk before whoever writes more of them waits, too. The
/// database itself keeps all that comes in memory until it is written, without a bound.
const AHEAD_BYTES_MAX: u64 = 8 << 20;

/// An open generation.
#[derive(Debug)]
pub(super) struct Generation {
    db: sled::Db,
    pieces: sled::Tree,
    manifests: sled::Tree,
    wants: sled::Tree,
    barrier: Barrier,
    /// Bytes of pieces written since all of them were last waited for, roughly.
    ahead_bytes: AtomicU64,
}

impl Generation {
    /// Opens the generation in `dir`, creating it when there is none.
    pub(super) fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        // A handle that is dropped half-way, because the disk failed, panics.
        catch_unwind(|| Self::open_or_panic(dir, options)).unwrap_or_else(|panic| {
            Err(Error::Open { path: dir.to_path_buf(), source: panic_text(&*panic).into() })
        })
    }

    fn open_or_panic(dir: &Path, options: &Options) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: dir.to_path_buf(), source };
        if !dir.exists() {
            // A power cut while a database is being created leaves one that can't be opened, so
            // it's created under another name and gets its own when it is durable.
            let unfinished = dir.with_extension(UNFINISHED);
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).map_err(|e| failed(e.into()))?;
            }
            Self::open_existing(&unfinished, options)?.close();
            fs::rename(&unfinished, dir).map_err(|e| failed(e.into()))?;
            let parent = dir.parent().unwrap_or(Path::new("."));
            durable::fsync_dir(parent).map_err(|e| failed(e.into()))?;
        }
        Self::open_existing(dir, options)
    }

    fn open_existing(dir: &Path, options: &Options) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: dir.to_path_buf(), source };
        durable::prepare_database(dir).map_err(|e| failed(e.into()))?;
        remove_unfinished_snapshots(dir).map_err(|e| failed(e.into()))?;
        let db = match open_sized(dir, options) {
            Err(e) if is_corruption(&*e) => {
                // sled's own snapshot is only a shortcut: without it the log is read in full.
                set_snapshots_aside(dir).map_err(|e| failed(e.into()))?;
                open_sized(dir, options)
            }
            result => result,
        }
        .map_err(failed)?;
        let trees = guard("open the trees of a generation", || {
            Ok((db.open_tree("pieces")?, db.open_tree("manifests")?, db.open_tree("wants")?))
        });
        let (pieces, manifests, wants) = trees.map_err(|e| failed(e.into()))?;
        let barrier = Barrier::of(dir).map_err(|e| failed(e.into()))?;
        Ok(Self { db, pieces, manifests, wants, barrier, ahead_bytes: AtomicU64::new(0) })
    }

    /// Calls `each` with everything it says, manifests first, each kind in the order of names.
    pub(super) fn facts(&self, mut each: impl FnMut(ChunkId, Fact)) -> Result<(), Error> {
        let held: fn(&[u8]) -> Option<Fact> = |value| Manifest::decode(value).map(Fact::Held);
        let wanted: fn(&[u8]) -> Option<Fact> = |value| {
            let time = i64::from_be_bytes(value.try_into().ok()?);
            Some(Fact::Wanted(Timestamp(time)))
        };
        self.call("read the manifests", || {
            for (tree, decode) in [(&self.manifests, held), (&self.wants, wanted)] {
                for entry in tree {
                    let (key, value) = entry?;
                    let id = <[u8; 20]>::try_from(&*key).ok();
                    match id.zip(decode(&value)) {
                        Some((id, fact)) => each(ChunkId(ContentHash(id)), fact),
                        None => {
                            tracing::error!(key = %hex::encode(&key), "ignoring a damaged entry");
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Payload of the chunks that were forgotten here, in bytes.
    pub(super) fn forgotten_bytes(&self) -> Result<u64, Error> {
        let value = self.call("read how much was forgotten", || self.db.get(FORGOTTEN))?;
        let bytes = value.and_then(|value| Some(u64::from_be_bytes((*value).try_into().ok()?)));
        Ok(bytes.unwrap_or(0))
    }

    /// Writes consecutive pieces from `first` on, cut from `bytes`. Not durable yet; but when much has
    /// been written, waits for the disk.
    pub(super) fn write_pieces(
        &self,
        id: &ChunkId,
        first: u32,
        bytes: &[u8],
        piece_bytes: u32,
    ) -> Result<(), Error> {
        self.call("write pieces", || {
            // A leaf splits at 17 entries and each split writes all of them anew: inserted one by
            // one, pieces are written about four times. So the leaves are made with empty values;
            // each ends up with 8 or 9 entries, which is fewer than the 10 updates after which
            // the database would write the whole leaf again.
            if bytes.len() > piece_bytes as usize {
                for (index, _) in (first..).zip(bytes.chunks(piece_bytes as usize)) {
                    self.pieces.insert(piece_key(id, index), &[])?;
                }
            }
            for (index, piece) in (first..).zip(bytes.chunks(piece_bytes as usize)) {
                self.pieces.insert(piece_key(id, index), piece)?;
            }
            Ok(())
        })?;
        let written = bytes.len() as u64;
        if self.ahead_bytes.fetch_add(written, Ordering::Relaxed) + written >= AHEAD_BYTES_MAX {
            self.ahead_bytes.store(0, Ordering::Relaxed);
            self.call("write pieces", || self.db.flush())?;
        }
        Ok(())
    }

    /// Drops the pieces `from..to`. Not durable: after a crash they may be there again, unused.
    pub(super) fn remove_pieces(&self, id: &ChunkId, from: u32, to: u32) -> Result<(), Error> {
        self.call("remove pieces", || {
            for index in from..to {
                self.pieces.remove(piece_key(id, index))?;
            }
            Ok(())
        })
    }

    /// One piece, if it is there.
    pub(super) fn piece(&self, id: &ChunkId, index: u32) -> Result<Option<sled::IVec>, Error> {
        self.call("read a piece", || {
            let key = piece_key(id, index);
            let piece = self.pieces.get(key)?;
            // The engine looks for what may leave its cache at every 64th access to one of 256
            // shares of its pages, whatever their size: so it holds half as many that were
            // accessed twice as often.
            self.pieces.contains_key(key)?;
            Ok(piece)
        })
    }

    /// Writes facts and returns when they, and all pieces written before, are durable.
    pub(super) fn commit(&self, facts: &[(ChunkId, Fact)]) -> Result<(), Error> {
        self.call("commit chunks", || {
            for (id, fact) in facts {
                match fact {
                    Fact::Held(manifest) => {
                        self.manifests.insert(id.0.as_bytes(), manifest.encode().as_slice())?;
                    }
                    Fact::Wanted(at) => {
                        self.wants.insert(id.0.as_bytes(), &at.0.to_be_bytes())?;
                    }
                }
            }
            Ok(())
        })?;
        self.sync()
    }

    /// Takes chunks of so many bytes out of the manifests, durably: then a later upload may write
    /// their pieces anew.
    pub(super) fn forget_all(&self, ids: &[ChunkId], bytes: u64) -> Result<(), Error> {
        let forgotten = self.forgotten_bytes()?.saturating_add(bytes);
        self.call("forget chunks", || {
            for id in ids {
                self.manifests.remove(id.0.as_bytes())?;
            }
            // No manifest tells of them any more, but their space is still taken.
            self.db.insert(FORGOTTEN, &forgotten.to_be_bytes())?;
            Ok(())
        })?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        self.call("flush chunks", || self.db.flush())?;
        self.barrier
            .wait()
            .map_err(|e| Error::Database { operation: "sync chunks", source: e.into() })
    }

    /// Takes a chunk out of the manifests. Not durable.
    pub(super) fn forget(&self, id: &ChunkId) -> Result<(), Error> {
        self.call("forget a chunk", || self.manifests.remove(id.0.as_bytes())).map(drop)
    }

    /// Runs one use of the database, of which any may wait for writes: what leaves the cache must be on
    /// the disk.
    fn call<T>(
        &self,
        operation: &'static str,
        action: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, Error> {
        guard(operation, || durable::waiting(&self.db, action))
    }

    /// Closes it. After a failed write sled panics here: it can't write its last buffer either.
    /// What was committed is durable, so there is nothing to tell anyone.
    pub(super) fn close(self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(self))) {
            tracing::warn!(
                reason = panic_text(&*panic),
                "a chunk generation did not close cleanly"
            );
        }
    }

    /// Number of piece entries, by a full scan. For tests and tools.
    #[cfg(test)]
    pub(super) fn piece_count(&self) -> usize {
        self.pieces.len()
    }
}

fn piece_key(id: &ChunkId, index: u32) -> [u8; 24] {
    let mut key = [0; 24];
    let (name, number) = key.split_at_mut(20);
    name.copy_from_slice(id.0.as_bytes());
    number.copy_from_slice(&index.to_be_bytes());
    key
}

/// Runs one use of the database. sled panics on some kinds of damage; that must end as an error.
fn guard<T>(operation: &'static str, action: impl FnOnce() -> sled::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(Error::Database { operation, source: e.into() }),
        Err(panic) => Err(Error::Database { operation, source: panic_text(&*panic).into() }),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the database panicked: {}", text.as_deref().unwrap_or("without a message"))
}

/// Key of the number of bytes forgotten.
const FORGOTTEN: &str = "forgotten";

/// Bytes of a segment in generations written before they became smaller.
const FORMER_SEGMENT_BYTES: usize = 8 << 20;

/// Extension of the directory of a generation that is being created.
const UNFINISHED: &str = "new";

type OpenError = Box<dyn StdError + Send + Sync>;

/// Opens the database with segments of the size that it has.
fn open_sized(dir: &Path, options: &Options) -> Result<sled::Db, OpenError> {
    match open_unlocked(dir, options, options.segment_bytes) {
        // It isn't even read when it has others.
        Err(e) if matches!(e.downcast_ref(), Some(sled::Error::Unsupported(_))) => {
            open_unlocked(dir, options, FORMER_SEGMENT_BYTES)
        }
        result => result,
    }
}

fn open_unlocked(
    dir: &Path,
    options: &Options,
    segment_bytes: usize,
) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(options.cache_bytes)
        .segment_size(segment_bytes)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(500));
    match catch_unwind(AssertUnwindSafe(|| durable::open_unlocked(|| config.open()))) {
        Ok(result) => result.map_err(Into::into),
        Err(panic) => Err(panic_text(&*panic).into()),
    }
}

fn is_corruption(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(sled::Error::Corruption { .. }))
}

fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for path in snapshots(dir)? {
        if path.extension().is_some_and(|e| e == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn set_snapshots_aside(dir: &Path) -> io::Result<()> {
    for path in snapshots(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::rename(&path, path.with_file_name(format!("aside-{name}")))?;
    }
    Ok(())
}
