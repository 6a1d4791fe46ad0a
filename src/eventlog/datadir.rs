//! The data directory: who has it, what is where, and room on its disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Error;
use crate::durable::{self, Space};

/// Size of the file that is given up to open a full disk again: even opening has to write.
pub const BALLAST_BYTES: u64 = 64 << 20;

/// A data directory that this process has for itself until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// Held: the lock goes with it, even after `kill -9`.
    lock: File,
}

/// Unlocking by name and not only by closing: whoever has the same file open for a moment, such as a
/// child that has been forked and not replaced its program yet, would keep a lock that is only closed.
impl Drop for DataDir {
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(path = %self.root.display(), %error, "cannot unlock the data directory");
        }
    }
}

impl DataDir {
    /// Takes `root`, creating it where needed. Fails with [`Error::InUse`] when a process has it, and
    /// with [`Error::NewerPart`], before anything is changed, when a newer program wrote it.
    pub fn lock(root: &Path) -> Result<Self, Error> {
        let failed = |doing, path: &Path, error: io::Error| Error::storage(doing, path, error);
        fs::create_dir_all(root).map_err(|e| failed("create data directory", root, e))?;
        // Absolute, so that what we print and hand to workers holds in any working directory.
        let root = root.canonicalize().map_err(|e| failed("find data directory", root, e))?;
        super::format::refuse_newer(&root)?;
        let path = root.join("LOCK");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| failed("open lock file", &path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only to tell the operator; its owner may be writing it just now.
                let _ = (&mut lock).take(16).read_to_string(&mut pid);
                return Err(Error::InUse { path: root, pid: pid.trim().parse().ok() });
            }
            Err(fs::TryLockError::Error(e)) => return Err(failed("lock", &path, e)),
        }
        // A full disk must not keep the service from starting, so this may fail.
        let pid = format!("{:<10}\n", std::process::id());
        if let Err(error) = lock.set_len(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0)) {
            tracing::warn!(path = %path.display(), %error, "cannot note the process id");
        }
        Ok(Self { root, lock })
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the directory is still there under its name: neither removed nor moved nor replaced.
    pub fn is_in_place(&self) -> bool {
        match (self.lock.metadata(), fs::metadata(self.root.join("LOCK"))) {
            (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
            (_, Err(error)) => {
                // Other errors are of the disk, whose failures others notice.
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            (Err(_), Ok(_)) => true,
        }
    }

    /// The log's database.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The chunk store.
    pub fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// Checkpoints of past states.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The high-water file.
    pub(super) fn hwm(&self) -> PathBuf {
        self.root.join("hwm")
    }

    /// Where appended records are durable first.
    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Room on its disk. New work is refused when [`Space::has_room`] says so.
    pub fn space(&self) -> Result<Space, Error> {
        Space::of(&self.root)
            .map_err(|error| Error::storage("ask for free space of", &self.root, error))
    }

    /// Notes the versions of what this program writes into it.
    pub(super) fn note_format(&self) {
        super::format::note(&self.root);
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Whether the ballast is there in full.
    pub fn has_ballast(&self) -> bool {
        fs::metadata(self.ballast()).is_ok_and(|meta| meta.len() == BALLAST_BYTES)
    }

    /// Gives up the ballast. False when there was none.
    pub fn drop_ballast(&self) -> bool {
        fs::remove_file(self.ballast()).is_ok() && durable::fsync_dir(&self.root).is_ok()
    }

    /// Puts the ballast back where twice its size is free. Failing to is no error: the next call
    /// tries again.
    pub fn keep_ballast(&self) {
        let room = Space::of(&self.root).is_ok_and(|space| space.has_room(2 * BALLAST_BYTES));
        if !room || self.has_ballast() {
            return;
        }
        let path = self.ballast();
        if let Err(error) = fill(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot set disk space aside");
            let _ = fs::remove_file(&path);
        }
    }
}

/// Reserves blocks; where the file system can't, writes them.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let length = i64::try_from(BALLAST_BYTES).unwrap_or(i64::MAX);
    let mode = nix::fcntl::FallocateFlags::empty();
    match nix::fcntl::fallocate(&file, mode, 0, length) {
        Ok(()) => {}
        Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {
            io::copy(&mut io::repeat(0).take(BALLAST_BYTES), &mut file)?;
            file.flush()?;
        }
        Err(errno) => return Err(errno.into()),
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventlog::Kind;

    #[test]
    fn a_second_owner_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path()).unwrap();
        let refused = DataDir::lock(dir.path()).unwrap_err();
        assert_eq!(refused.kind(), Kind::InUse);
        let text = refused.to_string();
        assert!(text.contains(&format!("already running (pid {})", std::process::id())), "{text}");
        drop(first);
        DataDir::lock(dir.path()).unwrap();
    }

    #[test]
    fn it_is_free_at_once_though_a_child_still_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path()).unwrap();
        let inherited = first.lock.try_clone().unwrap();
        drop(first);
        DataDir::lock(dir.path()).unwrap();
        drop(inherited);
    }

    #[test]
    fn a_directory_that_is_gone_or_another_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let data = DataDir::lock(&here).unwrap();
        assert!(data.is_in_place());
        fs::rename(&here, &there).unwrap();
        assert!(!data.is_in_place());
        let other = DataDir::lock(&here).unwrap();
        assert!(!data.is_in_place() && other.is_in_place());
        drop(other);
        fs::remove_dir_all(&here).unwrap();
        fs::rename(&there, &here).unwrap();
        assert!(data.is_in_place());
        fs::remove_file(here.join("LOCK")).unwrap();
        assert!(!data.is_in_place());
    }

    #[test]
    fn the_ballast_comes_back_after_it_was_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::lock(dir.path()).unwrap();
        assert!(!data.has_ballast() && !data.drop_ballast());
        data.keep_ballast();
        assert!(data.has_ballast());
        assert!(data.drop_ballast() && !data.has_ballast());
    }
}
