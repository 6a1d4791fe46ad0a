//! The folders of attempts: where they are, and which wait for the next attempt.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deleter::Deleter;
use super::failure::Stop;
use super::folder::Folder;
use super::local::StartError;
use super::workers::{UNFINISHED, Worker};
use crate::clock::{Entropy, System};
use crate::domain::{AttemptRef, WorkerId};

/// Name of the folder, in the runner's directory, of the attempts' folders.
const RUN: &str = "run";
/// Name of the folder, in that directory, of what is about to be deleted.
const TRASH: &str = "trash";
/// Name of the folder, in that directory, of unpacked workers.
pub(super) const WORKERS: &str = "workers";

/// Attempts that run in one folder before it is made anew.
const USES_MAX: u32 = 500;

/// The folders of one runner.
#[derive(Debug)]
pub(super) struct Folders {
    run: PathBuf,
    trash: PathBuf,
    /// Those that are tidy, the one used last at the end.
    idle: Mutex<VecDeque<Folder>>,
    idle_max: usize,
    deleter: Deleter,
}

impl Folders {
    /// Makes the folders of `data_dir`, which is absolute and without links, and has leftovers of
    /// an earlier life deleted: its idle folders too, of which nobody knows what is in them.
    pub(super) fn prepare(data_dir: &Path, idle_max: usize) -> Result<Self, StartError> {
        let failed = |path: &Path, source| StartError::Folder { path: path.into(), source };
        let deleter = Deleter::start().map_err(StartError::Thread)?;
        let (run, trash) = (data_dir.join(RUN), data_dir.join(TRASH));
        fs::create_dir_all(&trash).map_err(|source| failed(&trash, source))?;
        // Renamed first: what comes next may want the names while the deleter is still at it.
        let discard = |path: &Path| {
            let mut random = [0; 8];
            System.fill(&mut random);
            fs::rename(path, trash.join(hex::encode(random))).map_err(|source| failed(path, source))
        };
        if fs::symlink_metadata(&run).is_ok() {
            discard(&run)?;
        }
        fs::create_dir(&run).map_err(|source| failed(&run, source))?;
        let workers = data_dir.join(WORKERS);
        fs::create_dir_all(&workers).map_err(|source| failed(&workers, source))?;
        for entry in fs::read_dir(&workers).map_err(|source| failed(&workers, source))? {
            let entry = entry.map_err(|source| failed(&workers, source))?;
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                discard(&entry.path())?;
            }
        }
        for entry in fs::read_dir(&trash).map_err(|source| failed(&trash, source))? {
            deleter.delete(entry.map_err(|source| failed(&trash, source))?.path());
        }
        Ok(Self { run, trash, idle: Mutex::default(), idle_max, deleter })
    }

    /// Where all of them are; absolute.
    pub(super) fn root(&self) -> &Path {
        &self.run
    }

    /// Where an attempt runs. The name is never used again, so a path that was kept somewhere
    /// never leads to another attempt.
    pub(super) fn path(&self, attempt: AttemptRef) -> PathBuf {
        self.run.join(format!("{}-{}", attempt.execution, attempt.attempt))
    }

    /// A folder at the attempt's path, with the worker's files in it and nothing else but what
    /// [`Folder::fill`] replaces.
    pub(super) fn take(
        &self,
        attempt: AttemptRef,
        id: WorkerId,
        worker: &Worker,
    ) -> Result<Folder, Stop> {
        let path = self.path(attempt);
        while let Some(mut folder) = self.idle_of(id) {
            match fs::rename(&folder.path, &path) {
                Ok(()) => {
                    folder.path = path;
                    return Ok(folder);
                }
                Err(_) => self.deleter.delete(folder.path),
            }
        }
        Folder::make(path, id, worker)
    }

    fn idle_of(&self, worker: WorkerId) -> Option<Folder> {
        let mut idle = self.lock();
        let at = idle.iter().rposition(|folder| folder.worker == worker)?;
        idle.remove(at)
    }

    /// Keeps the folder of an ended attempt for the next, or deletes it.
    pub(super) fn give_back(&self, mut folder: Folder) {
        let mut lifted = 0;
        let name = folder.path.file_name().unwrap_or_default().to_owned();
        let lift = |path: &Path| {
            lifted += 1;
            let mut name = name.clone();
            name.push(format!("-{lifted}"));
            let target = self.trash.join(name);
            fs::rename(path, &target)?;
            self.deleter.delete(target);
            Ok(())
        };
        // An error means that something in it can't be looked at or removed as it is.
        let keep = folder.keepable && folder.uses < USES_MAX && folder.tidy(lift).unwrap_or(false);
        if !keep {
            self.deleter.delete(folder.path);
            return;
        }
        let mut idle = self.lock();
        idle.push_back(folder);
        let surplus = if idle.len() > self.idle_max { idle.pop_front() } else { None };
        drop(idle);
        if let Some(folder) = surplus {
            self.deleter.delete(folder.path);
        }
    }

    /// Deletes whatever is at the path of an attempt.
    pub(super) fn discard(&self, attempt: AttemptRef) {
        self.deleter.delete(self.path(attempt));
    }

    /// Deletes all idle folders and what waits to be, for at most `limit`. Nothing runs any more.
    pub(super) fn stop(&self, limit: Duration) {
        for folder in self.lock().drain(..) {
            self.deleter.delete(folder.path);
        }
        self.deleter.stop(limit);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Folder>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
