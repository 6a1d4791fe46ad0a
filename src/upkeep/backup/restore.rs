//! From a backup to a data directory: whole, or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::base::{self, Content};
use super::container::{MISSING, Piece};
use super::manifest::{Manifest, PartKind};
use super::parts::{Follower, Sink, Stop, read_chunks, read_list, read_log};
use super::{Error, Listener, Progress};
use crate::chunks::{self, Batch, Store, Writer};
use crate::domain::{ChunkId, ContentHash, Lsn};
use crate::durable;
use crate::engine::{Opening, PastOptions};
use crate::eventlog::compact::Base;
use crate::eventlog::{DataDir, EventLog as _, OpenOptions, Rewrite, SledLog};
use crate::views::LAYOUT;

/// Records that are made durable at once.
const RECORDS_LEN: usize = 8_192;

/// What was restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Restored {
    pub lsn: Lsn,
    pub records: u64,
    pub chunks: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
    /// Of the state that the records fold to.
    pub digest: ContentHash,
}

/// Makes a data directory at `target`, which is empty or absent, of the backup in `backup`: as it was
/// when it was taken last, or at the record `at`. Every hash is compared. When this fails there is no
/// such directory.
pub fn restore(
    backup: &Path,
    target: &Path,
    at: Option<Lsn>,
    listener: Listener<'_>,
) -> Result<Restored, Error> {
    let manifest = Manifest::load(backup)?.ok_or_else(|| {
        Error::Refused(format!("{} is no backup: it has no manifest", backup.display()))
    })?;
    let last = at.unwrap_or(manifest.lsn);
    if last > manifest.lsn {
        let why = format!("the backup reaches to record {}, not to {last}", manifest.lsn);
        return Err(Error::Refused(why));
    }
    if last < manifest.base() {
        let why = format!(
            "the backup begins with the state at record {}, so what was at {last} is not in it",
            manifest.base()
        );
        return Err(Error::Refused(why));
    }
    let target = absolute(target)?;
    refuse_used(&target)?;
    let (parent, name) = target
        .parent()
        .zip(target.file_name())
        .ok_or_else(|| Error::Refused(format!("{} can't be replaced", target.display())))?;
    fs::create_dir_all(parent).map_err(|source| Error::io("create", parent, source))?;
    let prefix = format!(".{}.restoring-", name.to_string_lossy());
    remove_unfinished(parent, &prefix)?;
    // Removed when this fails.
    let made = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(parent)
        .map_err(|source| Error::io("create a folder in", parent, source))?;
    let restored = {
        let dir = Arc::new(DataDir::lock(made.path())?);
        let mut restoring = Restoring {
            backup,
            manifest: &manifest,
            dir: &dir,
            told: Progress {
                records_total: last.0 - manifest.base().0,
                bytes_total: manifest.of(PartKind::Chunks).map(|part| part.bytes).sum(),
                ..Progress::default()
            },
            listener,
        };
        let (chunks, bytes) = restoring.chunks(at.is_some())?;
        let (digest, records) = restoring.log(last)?;
        if at.is_none() && manifest.layout == LAYOUT && digest != manifest.digest {
            let what = format!("its records fold to {digest} instead of {}", manifest.digest);
            return Err(Error::Damaged { path: backup.to_owned(), offset: 0, what });
        }
        Restored { lsn: last, records, chunks, bytes, digest }
    };
    // A directory without content may be replaced by a rename.
    fs::set_permissions(made.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .and_then(|()| durable::fsync_dir(made.path()))
        .and_then(|()| fs::rename(made.path(), &target))
        .and_then(|()| durable::fsync_dir(parent))
        .map_err(|source| Error::io("put the restored directory at", &target, source))?;
    // Nothing of that name is left to be removed.
    let _ = made.keep();
    Ok(restored)
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::io("find", path, source))
}

fn refuse_used(target: &Path) -> Result<(), Error> {
    let first = match fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::io("list", target, source)),
        Ok(mut entries) => entries.next(),
    };
    if first.is_none() {
        return Ok(());
    }
    let target = target.display();
    let why = format!("{target} is not empty; a backup is restored into a new directory");
    Err(Error::Refused(why))
}

/// Removes what killed restores of the same directory left. One that is under way holds its lock.
fn remove_unfinished(parent: &Path, prefix: &str) -> Result<(), Error> {
    let entries = fs::read_dir(parent).map_err(|source| Error::io("list", parent, source))?;
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = DataDir::lock(&path) else { continue };
        fs::remove_dir_all(&path).map_err(|source| Error::io("remove", &path, source))?;
        drop(lock);
    }
    Ok(())
}

struct Restoring<'a> {
    backup: &'a Path,
    manifest: &'a Manifest,
    dir: &'a Arc<DataDir>,
    told: Progress,
    listener: Listener<'a>,
}

impl Restoring<'_> {
    /// Restores chunks: those that were held when the backup was taken last, or every one that ever
    /// was. Their number and bytes.
    fn chunks(&mut self, all: bool) -> Result<(u64, u64), Error> {
        let store = Store::open(&self.dir.chunks(), chunks::Options::default())?;
        let mut held = Vec::new();
        for part in self.manifest.of(PartKind::Held) {
            held.extend(read_list(self.backup, part)?);
        }
        held.retain(|(_, bytes)| *bytes != MISSING);
        held.sort_unstable();
        let mut filling = Filling {
            wanted: (!all).then_some(held.as_slice()),
            batch: store.batch(),
            store: &store,
            open: None,
        };
        for part in self.manifest.of(PartKind::Chunks) {
            read_chunks(self.backup, part, &mut filling)?;
            self.told.bytes += part.bytes;
            self.tell()?;
        }
        // They are read to be whole; that they are what they were is known by their hashes.
        for part in self.manifest.of(PartKind::List) {
            read_list(self.backup, part)?;
        }
        filling.batch.commit()?;
        if let Some((id, _)) = held.iter().find(|(id, _)| !store.contains(id)) {
            let what = format!("chunk {id} is in none of its files");
            return Err(Error::Damaged { path: self.backup.to_owned(), offset: 0, what });
        }
        let stats = store.stats();
        Ok((stats.count, stats.bytes))
    }

    /// Restores what the log begins with: what its first record follows, and how many records are
    /// kept from before it.
    fn base(&self) -> Result<(Follower, u64), Error> {
        let mut next: Option<Rewrite> = None;
        let mut wanted: Option<Base> = None;
        let start = base::read(self.backup, self.manifest, &mut |content| {
            match (content, &mut next) {
                (Content::Head(base), none) => {
                    *none = Some(Rewrite::begin(self.dir, base.lsn, base.chain)?);
                    wanted = Some(base);
                }
                (Content::State(part), Some(next)) => {
                    let failed = |source| Error::io("write", self.dir.root(), source);
                    next.body().write_all(part).map_err(failed)?;
                }
                (Content::Kept(values), Some(next)) => {
                    for (lsn, value) in &values {
                        next.keep(*lsn, value)?;
                    }
                }
                // The head comes first.
                (_, None) => {}
            }
            Ok(())
        })?;
        let (Some(mut next), Some(base)) = (next, wanted) else { return Ok((start, 0)) };
        if next.seal(base.layout, base.digest)? != base {
            let what = "its base state was not written as it was".to_owned();
            return Err(Error::Damaged { path: self.backup.to_owned(), offset: 0, what });
        }
        next.found()?;
        Ok((start, base.kept))
    }

    /// Restores the log up to `last`; the digest of what it folds to, and how many records it has.
    fn log(&mut self, last: Lsn) -> Result<(ContentHash, u64), Error> {
        let (start, kept) = self.base()?;
        let mut log = SledLog::open(self.dir, OpenOptions::default(), |_| Ok::<_, Error>(()))?;
        let mut waiting: Vec<(Lsn, Bytes)> = Vec::with_capacity(RECORDS_LEN);
        let (backup, manifest) = (self.backup, self.manifest);
        read_log(backup, manifest, start, &mut |values| {
            waiting.extend(values.into_iter().filter(|(lsn, _)| *lsn <= last));
            if waiting.len() >= RECORDS_LEN {
                log.append_values(&waiting).map_err(Error::from)?;
                self.told.records += waiting.len() as u64;
                waiting.clear();
                self.tell()?;
            }
            // Up to the end, when it is the newest that is wanted: then its hash is compared, too.
            if log.last() >= last && last < manifest.lsn { Err(Stop::Enough) } else { Ok(()) }
        })?;
        log.append_values(&waiting)?;
        log.sync_mark()?;
        drop(log);
        // Once more from the disk, as a start will.
        let mut opening = Opening::begin(&PastOptions::default());
        let log = SledLog::open_with(self.dir, OpenOptions::default(), &mut opening)?;
        if log.last() != last {
            let why = format!("{} records were written instead of {last}", log.last());
            return Err(Error::Refused(why));
        }
        Ok((opening.done().digest(), kept + last.0 - manifest.base().0))
    }

    fn tell(&mut self) -> Result<(), Error> {
        let stopped = || Error::Refused("the restore was stopped".to_owned());
        if (self.listener)(self.told) { Ok(()) } else { Err(stopped()) }
    }
}

/// Chunks on their way into a store.
struct Filling<'a> {
    /// In order; none: all.
    wanted: Option<&'a [(ChunkId, u64)]>,
    batch: Batch,
    store: &'a Store,
    open: Option<Writer>,
}

impl Sink for Filling<'_> {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), Error> {
        if piece.offset == 0 {
            let is_wanted = self
                .wanted
                .is_none_or(|wanted| wanted.binary_search_by_key(&piece.id, |(id, _)| *id).is_ok());
            self.open = is_wanted.then(|| self.store.writer(piece.id)).transpose()?;
        }
        if let Some(open) = &mut self.open {
            open.write(piece.bytes)?;
        }
        Ok(())
    }

    fn end(&mut self, _: ChunkId, whole: bool) -> Result<(), Error> {
        // Nothing is kept of one that is not whole.
        if let Some(open) = self.open.take().filter(|_| whole) {
            self.batch.add(open.verify()?)?;
        }
        Ok(())
    }
}
