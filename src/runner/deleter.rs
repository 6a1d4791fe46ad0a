//! Deletes the folders of ended attempts in the background.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::monotonic;

/// With more folders waiting than this, whoever brings another deletes it itself, so that a disk
/// can't fill up with what is about to be deleted.
const WAITING_MAX: usize = 512;
/// Folders nested deeper are moved up before they are emptied: workers may nest them without end,
/// but paths and stacks have one.
const DEPTH_MAX: usize = 16;

/// A thread and its work.
#[derive(Debug)]
pub(super) struct Deleter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<PathBuf>,
    /// Taken by the thread and not gone yet.
    busy: bool,
    stopping: bool,
}

impl Deleter {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("deleter".into()).spawn(move || worker.work())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Deletes `folder` soon. Nothing uses it any more.
    pub(super) fn delete(&self, folder: PathBuf) {
        let mut state = self.shared.lock();
        if state.stopping || state.waiting.len() >= WAITING_MAX {
            drop(state);
            delete_or_say(&folder);
            return;
        }
        state.waiting.push_back(folder);
        // The thread looks again by itself before it sleeps.
        if !state.busy && state.waiting.len() == 1 {
            self.shared.changed.notify_all();
        }
    }

    /// Finishes what waits, for at most `limit`, and ends the thread. The next start deletes the
    /// rest.
    pub(super) fn stop(&self, limit: Duration) {
        let begun = monotonic();
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.changed.notify_all();
        while (state.busy || !state.waiting.is_empty()) && begun.elapsed() < limit {
            state = self
                .shared
                .changed
                .wait_timeout(state, limit.saturating_sub(begun.elapsed()))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.waiting.clear();
        drop(state);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _it_panicked_and_said_so = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(folder) = state.waiting.pop_front() {
                state.busy = true;
                drop(state);
                delete_or_say(&folder);
                state = self.lock();
                state.busy = false;
            } else if state.stopping {
                self.changed.notify_all();
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn delete_or_say(folder: &Path) {
    if let Err(error) = delete_tree(folder) {
        tracing::warn!(folder = %folder.display(), %error, "cannot delete an attempt's folder");
    }
}

/// Deletes `root` and everything in it, whatever a process of ours may have made of it: links are
/// removed and not followed, closed folders are opened first, depth has no limit. A missing
/// folder is fine. Nobody else changes the tree meanwhile.
pub(super) fn delete_tree(root: &Path) -> io::Result<()> {
    match fs::symlink_metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(root),
        Ok(_) => {}
    }
    let mut moved_up = 0_u64;
    // Folders to empty, parents below their children; the flag says that a folder was emptied.
    let mut stack = vec![(root.to_path_buf(), 0, false)];
    while let Some((folder, depth, emptied)) = stack.pop() {
        if emptied {
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    // Something was moved up into it meanwhile.
                    stack.push((folder, depth, false));
                }
                other => other?,
            }
            continue;
        }
        stack.push((folder.clone(), depth, true));
        for entry in open_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if !entry.file_type()?.is_dir() {
                fs::remove_file(&path)?;
            } else if depth + 1 < DEPTH_MAX {
                // Most are empty, and then there is no need to look.
                if fs::remove_dir(&path).is_err() {
                    stack.push((path, depth + 1, false));
                }
            } else {
                let lifted = loop {
                    moved_up += 1;
                    let free = root.join(format!("moved-up-{moved_up}"));
                    if fs::symlink_metadata(&free).is_err() {
                        break free;
                    }
                };
                // A folder that is moved must be writable itself, for its `..`.
                unlock(&path)?;
                fs::rename(&path, &lifted)?;
            }
        }
    }
    Ok(())
}

/// Lists a folder, making it readable and writable for us where it isn't.
fn open_dir(folder: &Path) -> io::Result<fs::ReadDir> {
    let mode = fs::symlink_metadata(folder)?.permissions().mode();
    if mode & 0o700 != 0o700 {
        unlock(folder)?;
    }
    fs::read_dir(folder)
}

fn unlock(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_removed_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), b"x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = inside.path().join("attempt");
        fs::create_dir(&root).unwrap();
        symlink(outside.path(), root.join("link")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        delete_tree(&root).unwrap();
        assert!(!root.exists());
        assert!(outside.path().join("keep").exists());
    }

    #[test]
    fn a_root_that_is_a_link_loses_only_the_link() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), b"x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = inside.path().join("attempt");
        symlink(outside.path(), &root).unwrap();
        delete_tree(&root).unwrap();
        assert!(fs::symlink_metadata(&root).is_err());
        assert!(outside.path().join("keep").exists());
    }

    #[test]
    fn folders_nested_deeper_than_a_path_can_name_are_deleted() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("attempt");
        fs::create_dir(&root).unwrap();
        // 3,000 levels, built from the inside out, each with a file.
        let name = "n".repeat(100);
        for level in 0..3_000 {
            let next = root.join("next");
            fs::create_dir(&next).unwrap();
            fs::write(next.join("file"), b"x").unwrap();
            if level > 0 {
                fs::rename(root.join(&name), next.join(&name)).unwrap();
            }
            fs::rename(&next, root.join(&name)).unwrap();
        }
        delete_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn closed_folders_are_opened_and_special_files_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("attempt");
        let closed = root.join("a/b");
        fs::create_dir_all(&closed).unwrap();
        nix::unistd::mkfifo(&closed.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(root.join("a"), Permissions::from_mode(0o500)).unwrap();
        delete_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn what_waits_is_gone_after_a_stop() {
        let temporary = tempfile::tempdir().unwrap();
        let deleter = Deleter::start().unwrap();
        for number in 0..50 {
            let folder = temporary.path().join(number.to_string());
            fs::create_dir_all(folder.join("a/b")).unwrap();
            deleter.delete(folder);
        }
        deleter.stop(Duration::from_secs(30));
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}
