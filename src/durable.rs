//! Making bytes survive a power cut: what the log and the chunk store share.
//!
//! sled 0.34 writes with `sync_file_range`, which neither waits for the drive's cache nor commits a
//! file's new size, and it reuses old segments of its file on the strength of such writes. A sync
//! of our own after `flush()` protects what was acknowledged last, but not the order of sled's own
//! rewrites before it. So wherever the file system can, a database's files carry the inode
//! attribute `S` (as after `chattr +S`): then every write of sled is on the disk when it returns.
//! `docs/adr/0002-durable-writes.md` has the measurements.

mod stalled;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, IFlags, StatxFlags, ioctl_getflags, ioctl_setflags, statx};

pub use self::stalled::{flush, waiting};

/// Creates the directory of a sled database, and has everything sled will create in it written
/// through (files inherit the attribute). Call it before opening the database, with every open.
pub fn prepare_database(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    sync_writes(dir)?;
    Ok(())
}

/// The point after which a database's flushed writes are durable.
#[derive(Debug)]
pub struct Barrier {
    db: File,
    write_through: bool,
}

impl Barrier {
    /// Makes an open database in `dir` itself durable (its configuration, its file, its names in
    /// the directory and in the parent) and gets ready to do the same for each commit.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let path = dir.join("db");
        let write_through = sync_writes(dir)? & sync_writes(&path)?;
        File::open(dir.join("conf"))?.sync_all()?;
        let db = File::open(&path)?;
        db.sync_all()?;
        fsync_dir(dir)?;
        if let Some(parent) = dir.parent() {
            fsync_dir(parent)?;
        }
        if !write_through {
            tracing::warn!(
                path = %path.display(),
                "this file system can't write through (no attribute S): acknowledged data is synced, \
                 but a power cut may leave the database unopenable; ext4, xfs and btrfs can"
            );
        }
        Ok(Self { db, write_through })
    }

    /// Whether the file system writes through.
    pub const fn is_write_through(&self) -> bool {
        self.write_through
    }

    /// Returns when everything that a finished `flush()` of the database wrote is durable. After an
    /// error nobody knows what is: never call it again, stop.
    pub fn wait(&self) -> io::Result<()> {
        if is_removed(&self.db)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the database's file was removed"));
        }
        // Written through, it is already, and asking again would flush the drive a second time.
        if self.write_through { Ok(()) } else { self.db.sync_data() }
    }
}

/// Whether a file has no name any more. It still takes every write then, and is gone with its last handle.
pub fn is_removed(file: &File) -> io::Result<bool> {
    // Nothing else is asked for: after somebody asked for its times, the next write changes them on the
    // disk, which takes a quarter of what a sync does.
    let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?;
    Ok(found.stx_nlink == 0)
}

/// Whether something failed for want of disk space.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How long a database handle that was just dropped may still hold the database's lock.
const UNLOCK_TRIES: u32 = 200;
const UNLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens a database whose only possible user is this process, because it holds the data directory.
/// The engine's own lock can still be taken for a moment: by the last threads of a handle that was
/// just dropped, or by a child that has been forked and not replaced its program yet.
pub fn open_unlocked<T, E: fmt::Display>(mut open: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 0..UNLOCK_TRIES {
        match open() {
            Err(error) if error.to_string().contains("WouldBlock") => thread::sleep(UNLOCK_PAUSE),
            result => return result,
        }
    }
    open()
}

/// Sets the attribute `S` on a file or directory: each write to it returns when it is durable, and
/// what is created in a directory inherits it. False where the file system has no such attribute.
pub fn sync_writes(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    // Refusals have many names: no such ioctl (9p, many FUSE), not this flag (tmpfs), not allowed
    // (a file of somebody else). All of them mean "do without".
    let Ok(flags) = ioctl_getflags(&file) else { return Ok(false) };
    if flags.contains(IFlags::SYNC) {
        return Ok(true);
    }
    if ioctl_setflags(&file, flags | IFlags::SYNC).is_err() {
        return Ok(false);
    }
    Ok(ioctl_getflags(&file).is_ok_and(|now| now.contains(IFlags::SYNC)))
}

/// Makes the names in a directory durable.
pub fn fsync_dir(dir: &Path) -> io::Result<()> {
    // The parent of a relative path of one part is spelled "".
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Writes a small file that is there whole or not at all, and durable when this returns.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    fsync_dir(dir)
}

/// Room on the file system of a path, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// What an ordinary user may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Space {
    /// Asks the file system that holds `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        // The width of these fields differs between platforms.
        #[allow(clippy::useless_conversion, reason = "u64 here, u32 elsewhere")]
        let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(stat.fragment_size()));
        Ok(Self { free_bytes: bytes(stat.blocks_available()), total_bytes: bytes(stat.blocks()) })
    }

    /// How much to keep free when nobody said: 1 GiB, or 5 % of the disk where that is less.
    pub fn min_free_default(self) -> u64 {
        (self.total_bytes / 20).min(1 << 30)
    }

    /// Whether new work may still be taken.
    pub fn has_room(self, min_free_bytes: u64) -> bool {
        self.free_bytes >= min_free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_inherit_the_attribute_of_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let able = sync_writes(dir.path()).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        let flags = ioctl_getflags(File::open(&file).unwrap());
        assert_eq!(able, flags.is_ok_and(|flags| flags.contains(IFlags::SYNC)));
        assert_eq!(able, sync_writes(&file).unwrap());
    }

    #[test]
    fn a_file_that_was_removed_is_told_from_one_that_has_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        assert!(!is_removed(&file).unwrap());
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!is_removed(&file).unwrap());
        fs::remove_file(dir.path().join("moved")).unwrap();
        assert!(is_removed(&file).unwrap());
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        write_atomically(&path, b"old and longer").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomically(&dir.path().join("no/such/folder"), b"").is_err());
    }

    #[test]
    fn the_least_free_space_follows_small_disks() {
        let space = |total_bytes| Space { free_bytes: 500, total_bytes };
        assert_eq!(space(1_000).min_free_default(), 50);
        assert_eq!(space(1 << 50).min_free_default(), 1 << 30);
        assert!(space(1_000).has_room(500) && !space(1_000).has_room(501));
        let here = Space::of(Path::new(".")).unwrap();
        assert!(here.total_bytes >= here.free_bytes && here.total_bytes > 0);
    }
}
