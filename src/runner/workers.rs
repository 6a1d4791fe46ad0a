//! Workers on disk: each is unpacked once, and its files are linked into every attempt's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::content::{Form, write_chunk};
use super::failure::{Stop, failure, unprepared};
use super::local::Control;
use crate::chunks::Store;
use crate::domain::{FailureKind, WorkerId};
use crate::durable;
use crate::wire::cb::Object;
use crate::wire::descriptor::{Descriptor, WorkerFile};

/// The search path of a worker whose descriptor names none.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// Ends the name of a folder that is not unpacked completely.
pub(super) const UNFINISHED: &str = ".unfinished";
/// Workers remembered; beyond that all are forgotten and looked at again.
const KNOWN_MAX: usize = 1_024;

const MODE_EXECUTABLE: u32 = 0o555;
const MODE_FILE: u32 = 0o444;

/// The workers that were used.
#[derive(Debug)]
pub(super) struct Workers {
    root: PathBuf,
    store: Store,
    /// A lock per worker, so that it is unpacked once while others go on.
    known: Mutex<BTreeMap<WorkerId, Arc<Entry>>>,
}

/// A worker once it is unpacked; locked meanwhile.
type Entry = Mutex<Option<Arc<Worker>>>;

/// A worker that is unpacked, and how to make a folder for it.
#[derive(Debug)]
pub(super) struct Worker {
    /// The executable, relative to the folder.
    pub(super) path: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) timeout_ms: Option<u64>,
    /// Folders to make, parents first, relative.
    pub(super) dirs: Vec<PathBuf>,
    pub(super) files: Vec<UnpackedFile>,
}

/// A file of an unpacked worker.
#[derive(Debug)]
pub(super) struct UnpackedFile {
    /// Where it is.
    pub(super) source: PathBuf,
    /// Where it goes, relative to the attempt's folder.
    pub(super) name: PathBuf,
}

impl Workers {
    pub(super) const fn new(root: PathBuf, store: Store) -> Self {
        Self { root, store, known: Mutex::new(BTreeMap::new()) }
    }

    /// The worker, unpacked now if it isn't yet.
    pub(super) fn get(
        &self,
        id: WorkerId,
        descriptor: &Bytes,
        control: &Control,
    ) -> Result<Arc<Worker>, Stop> {
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX && !known.contains_key(&id) {
                known.clear();
            }
            Arc::clone(known.entry(id).or_default())
        };
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = &*entry {
            return Ok(Arc::clone(worker));
        }
        let worker = Arc::new(self.unpack(id, descriptor, control)?);
        *entry = Some(Arc::clone(&worker));
        Ok(worker)
    }

    /// Forgets a worker whose files turned out to be gone.
    pub(super) fn forget(&self, id: WorkerId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn unpack(&self, id: WorkerId, descriptor: &Bytes, control: &Control) -> Result<Worker, Stop> {
        let unusable = |problem: String| {
            failure(
                FailureKind::Launch,
                format!("the descriptor of worker {id} is unusable: {problem}"),
            )
        };
        let object = Object::parse(descriptor.clone()).map_err(|e| unusable(e.to_string()))?;
        let descriptor = Descriptor::parse(object).map_err(|e| unusable(e.to_string()))?;
        let folder = self.root.join(id.to_string());
        if !is_complete(&folder, &descriptor) {
            self.unpack_into(&folder, &descriptor, control)?;
        }
        Ok(plan(&folder, &descriptor))
    }

    /// Unpacks under another name and renames when everything is on the disk, so that a folder of
    /// the final name is complete whatever happened.
    fn unpack_into(
        &self,
        folder: &Path,
        descriptor: &Descriptor,
        control: &Control,
    ) -> Result<(), Stop> {
        let failed = |error: io::Error| unprepared("unpack the worker", &error);
        let mut unfinished = folder.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        super::deleter::delete_tree(&unfinished).map_err(failed)?;
        super::deleter::delete_tree(folder).map_err(failed)?;
        fs::create_dir(&unfinished).map_err(failed)?;
        let mut made = BTreeSet::from([unfinished.clone()]);
        for (file, mode) in files(descriptor) {
            let path = unfinished.join(&file.name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
                made.extend(
                    parent.ancestors().take_while(|dir| *dir != unfinished).map(PathBuf::from),
                );
            }
            let what = format!("the worker's file {}", file.name);
            let written = write_chunk(&self.store, file.hash, &what, &path, Form::Raw, control)?;
            written.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
            written.sync_all().map_err(failed)?;
        }
        for dir in made.iter().rev() {
            durable::fsync_dir(dir).map_err(failed)?;
        }
        fs::rename(&unfinished, folder).map_err(failed)?;
        durable::fsync_dir(&self.root).map_err(failed)?;
        Ok(())
    }
}

fn files(descriptor: &Descriptor) -> impl Iterator<Item = (&WorkerFile, u32)> {
    let executables = descriptor.executables().iter().map(|file| (file, MODE_EXECUTABLE));
    executables.chain(descriptor.files().iter().map(|file| (file, MODE_FILE)))
}

/// Whether an earlier life unpacked the worker, and nobody removed or cut a file since.
fn is_complete(folder: &Path, descriptor: &Descriptor) -> bool {
    files(descriptor).all(|(file, mode)| {
        fs::symlink_metadata(folder.join(&file.name)).is_ok_and(|found| {
            found.is_file()
                && found.len() == file.size
                && found.permissions().mode() & 0o7777 == mode
        })
    })
}

fn plan(folder: &Path, descriptor: &Descriptor) -> Worker {
    let mut dirs = BTreeSet::new();
    let mut add = |dir: &Path| {
        dirs.extend(
            dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()).map(Path::to_path_buf),
        );
    };
    add(Path::new("Inputs"));
    add(Path::new("Outputs"));
    add(&Path::new("Engine/Binaries").join(descriptor.host().to_string()));
    descriptor.dirs().iter().for_each(|dir| add(Path::new(dir)));
    let files: Vec<_> = files(descriptor)
        .map(|(file, _)| UnpackedFile {
            source: folder.join(&file.name),
            name: PathBuf::from(&file.name),
        })
        .collect();
    files.iter().filter_map(|file| file.name.parent()).for_each(&mut add);
    let mut environment = descriptor.environment().to_vec();
    if !environment.iter().any(|(key, _)| key == "PATH") {
        environment.push(("PATH".into(), PATH_DEFAULT.into()));
    }
    Worker {
        path: descriptor.path().to_owned(),
        environment,
        timeout_ms: descriptor.timeout_seconds().map(|seconds| seconds.saturating_mul(1_000)),
        // A parent sorts before what is in it.
        dirs: dirs.into_iter().collect(),
        files,
    }
}
