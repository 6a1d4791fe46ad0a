//! Writing a log anew without its oldest records, beside the one that is in use.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::guard::{self, Guarded};
use super::open::{self, Database};
use super::reader::Generation;
use crate::domain::{ContentHash, Lsn};
use crate::durable::{self, Barrier};
use crate::eventlog::codec::{Chain, HEADER_BYTES};
use crate::eventlog::compact::{Base, Names, PIECE_BYTES, kept};
use crate::eventlog::error::Source;
use crate::eventlog::frame::{Entry, Packer};
use crate::eventlog::hwm::{HighWater, Mark};
use crate::eventlog::{Damage, DataDir, Error, LogReader, migrate};

/// Bytes that are handed to the storage engine at once.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// A log on its way to take the place of the one in use ([`crate::eventlog::EventLog::adopt`]). When
/// it is dropped before, nothing of it stays.
///
/// It is written in this order: the base state, the records kept from before it, the head, and then
/// the records after it, as often as there are more.
pub struct Rewrite {
    dir: Arc<DataDir>,
    names: Names,
    database: Option<Guarded<Database>>,
    adopted: bool,
    /// The record that the base state ends with.
    start: Mark,
    /// The last record copied.
    last: Mark,
    batch: Batch,
    pieces: Pieces,
    kept: kept::Packer,
    frames: Packer,
}

/// Entries of one tree.
#[derive(Default)]
struct Batch {
    tree: Tree,
    entries: ::sled::Batch,
    bytes: usize,
}

/// The body of the base state on its way into the database.
#[derive(Default)]
struct Pieces {
    piece: Vec<u8>,
    count: u32,
    bytes: u64,
    hasher: blake3::Hasher,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Tree {
    #[default]
    Base,
    Kept,
    Events,
}

impl Rewrite {
    /// Begins one of the log in `dir` whose base state ends with the record `start`, which has the
    /// chain hash `chain`.
    pub fn begin(dir: &Arc<DataDir>, start: Lsn, chain: Chain) -> Result<Self, Error> {
        let names = Names::of(dir.root());
        if names.old().exists() {
            let why: Source = "the log from before the last time is still being read".into();
            return Err(Error::storage("rewrite", &dir.log(), why));
        }
        let start = Mark { lsn: start, chain };
        let database = open::create_at(&names.next())?;
        Ok(Self {
            dir: Arc::clone(dir),
            names,
            database: Some(database),
            adopted: false,
            start,
            last: start,
            batch: Batch::default(),
            pieces: Pieces::default(),
            kept: kept::Packer::default(),
            frames: Packer::default(),
        })
    }

    /// Where it lies until it is adopted.
    fn path(&self) -> PathBuf {
        self.names.next()
    }

    fn database(&self) -> Result<&Guarded<Database>, Error> {
        self.database.as_ref().ok_or(Error::Poisoned)
    }

    fn failed(&self, source: impl Into<Source>) -> Error {
        Error::storage("write", &self.path(), source)
    }

    /// Takes the encoded base state, in as many parts as it comes.
    pub fn body(&mut self) -> impl Write + '_ {
        Body(self)
    }

    /// Keeps a record from before. They come in the order of their LSNs, after the base state.
    pub fn keep(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), Error> {
        let pack = self.kept.push(lsn, value);
        self.put_pack(pack)
    }

    /// Says what the base state is, when it and what is kept from before it are written.
    pub fn seal(&mut self, layout: u32, digest: ContentHash) -> Result<Base, Error> {
        let piece = std::mem::take(&mut self.pieces.piece);
        if !piece.is_empty() {
            self.put_piece(piece)?;
        }
        let pack = self.kept.take();
        self.put_pack(pack)?;
        self.apply()?;
        let (kept, kept_hash) = self.kept.sum();
        let base = Base {
            lsn: self.start.lsn,
            chain: self.start.chain,
            layout,
            digest,
            bytes: self.pieces.bytes,
            hash: *self.pieces.hasher.finalize().as_bytes(),
            kept,
            kept_hash,
        };
        let database = self.database()?;
        let written = guard::catching(|| {
            let meta = database.db.open_tree(migrate::META)?;
            meta.insert(migrate::BASE_KEY, base.to_bytes())?;
            durable::flush(&database.db)
        });
        written.map_err(|panic| self.failed(panic))?.map_err(|error| self.failed(error))?;
        if let Some(database) = &mut self.database {
            database.head = Some(base);
        }
        Ok(base)
    }

    /// The last record copied.
    pub const fn last(&self) -> Lsn {
        self.last.lsn
    }

    /// Copies the records after the last one copied, up to `to`. Each must follow the one before.
    pub fn copy(&mut self, log: &dyn LogReader, to: Lsn) -> Result<(), Error> {
        for value in log.scan_values(self.last.lsn.next(), to) {
            let (lsn, value) = value?;
            self.last = follow(self.last, lsn, &value).map_err(|damage| self.damaged(damage))?;
            let full = self.frames.push(lsn, &value);
            self.put_frames(full)?;
        }
        if self.last.lsn < to {
            return Err(self.damaged(Damage::LostHistory { last: self.last.lsn, mark: to }));
        }
        let rest = self.frames.take();
        self.put_frames(rest)?;
        self.apply()
    }

    fn damaged(&self, damage: Damage) -> Error {
        Error::damaged(&self.dir.log(), damage)
    }

    fn put_pack(&mut self, pack: Option<Entry>) -> Result<(), Error> {
        let Some((first, pack)) = pack else { return Ok(()) };
        self.insert(Tree::Kept, &first.to_key(), kept::stored(pack))
    }

    fn put_frames(&mut self, frames: Vec<Entry>) -> Result<(), Error> {
        for (first, frame) in frames {
            self.insert(Tree::Events, &first.to_key(), frame)?;
        }
        Ok(())
    }

    fn put_piece(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        self.pieces.bytes += piece.len() as u64;
        self.pieces.hasher.update(&piece);
        let key = self.pieces.count.to_be_bytes();
        self.pieces.count += 1;
        self.insert(Tree::Base, &key, piece)
    }

    fn insert(&mut self, tree: Tree, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        if self.batch.tree != tree || self.batch.bytes >= BATCH_BYTES_MAX {
            self.apply()?;
            self.batch.tree = tree;
        }
        self.batch.bytes += value.len();
        self.batch.entries.insert(key, value);
        Ok(())
    }

    fn apply(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        if batch.bytes == 0 {
            return Ok(());
        }
        let database = self.database()?;
        let tree = match batch.tree {
            Tree::Events => &database.events,
            Tree::Base => &database.base,
            Tree::Kept => &database.kept,
        };
        let applied = guard::catching(|| tree.apply_batch(batch.entries));
        applied.map_err(|panic| self.failed(panic))?.map_err(|error| self.failed(error))
    }

    /// Makes all of it durable, opens it anew, as after a start, and reads it, for as long as `go_on`
    /// says so after each record.
    pub fn check(&mut self, go_on: &mut dyn FnMut(Lsn) -> bool) -> Result<(), Error> {
        self.sync()?;
        // The engine takes its notes for a fast start when it opens, so that the next start is fast.
        drop(self.database.take());
        let opened = Arc::new(Generation::at(&self.dir, self.path(), open::open_at(&self.path())?));
        opened.check_base()?;
        let mut last = self.start;
        for value in opened.scan_values(self.start.lsn.next(), Lsn(u64::MAX)) {
            let (lsn, value) = value?;
            last = follow(last, lsn, &value).map_err(|damage| self.damaged(damage))?;
            if !go_on(lsn) {
                return Err(Error::NotRewritable);
            }
        }
        if last != self.last {
            let (last, mark) = (last.lsn, self.last.lsn);
            return Err(self.damaged(Damage::LostHistory { last, mark }));
        }
        self.database = Arc::into_inner(opened).map(Generation::into_database);
        Ok(())
    }

    fn sync(&self) -> Result<Barrier, Error> {
        let database = self.database()?;
        let flushed = guard::catching(|| durable::flush(&database.db));
        flushed.map_err(|panic| self.failed(panic))?.map_err(|error| self.failed(error))?;
        Barrier::of(&self.path()).map_err(|error| self.failed(error))
    }

    /// Copies what is left, up to `last`, and makes all of it durable.
    pub(super) fn complete(&mut self, log: &dyn LogReader, last: Mark) -> Result<Barrier, Error> {
        self.copy(log, last.lsn)?;
        if self.last != last {
            return Err(self.damaged(Damage::OtherHistory { lsn: last.lsn }));
        }
        self.sync()
    }

    /// Makes it the log of a directory that has none.
    pub fn found(mut self) -> Result<(), Error> {
        self.sync()?;
        drop(self.database.take());
        let (root, log) = (self.dir.root(), self.dir.log());
        let placed = match log.try_exists() {
            Ok(false) => fs::rename(self.path(), &log).and_then(|()| durable::fsync_dir(root)),
            Ok(true) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) => Err(error),
        };
        placed.map_err(|error| Error::storage("create", &log, error))?;
        self.adopted = true;
        HighWater::create(&self.dir.hwm(), self.last).map(drop)
    }

    pub(super) const fn names(&self) -> &Names {
        &self.names
    }

    /// The database, which is not removed any more.
    pub(super) fn into_database(mut self) -> Option<Guarded<Database>> {
        self.adopted = true;
        self.database.take()
    }

    /// From here on it may be what a start takes, so nothing of it is removed.
    pub(super) const fn leave(&mut self) {
        self.adopted = true;
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        drop(self.database.take());
        if self.adopted {
            return;
        }
        if let Err(error) = self.names.abandon() {
            tracing::warn!(%error, "cannot remove a log that was given up");
        }
    }
}

/// The record at `lsn` must follow `last`.
fn follow(last: Mark, lsn: Lsn, value: &[u8]) -> Result<Mark, Damage> {
    let expected = last.lsn.next();
    if lsn != expected {
        return Err(Damage::Gap { expected, found: lsn });
    }
    let after = value.get(1..HEADER_BYTES);
    if after != Some(last.chain.0.as_slice()) {
        return Err(Damage::Chain(lsn));
    }
    Ok(Mark { lsn, chain: Chain::of(lsn, value) })
}

struct Body<'a>(&'a mut Rewrite);

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.0.pieces.piece.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.0.pieces.piece.extend_from_slice(taken);
        if self.0.pieces.piece.len() == PIECE_BYTES {
            let piece = std::mem::take(&mut self.0.pieces.piece);
            self.0.put_piece(piece).map_err(io::Error::other)?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
