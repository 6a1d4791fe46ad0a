//! The folder an attempt runs in.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::content::{Form, write_chunk};
use super::failure::{Stop, failure, unprepared};
use super::local::{Control, Inner};
use super::workers::{UnpackedFile, Worker};
use crate::domain::{FailureKind, WorkerId};
use crate::wire::action::Action;
use crate::wire::cb::Object;

/// Where the action is, relative to the folder; the worker is told by its command line.
pub(super) const ACTION_FILE: &str = "Build.action";
/// Where the worker leaves its output object: the action's name with another extension.
pub(super) const OUTPUT_FILE: &str = "Build.output";
/// Folder of the inputs, each a compressed buffer named by the hash of its raw content.
pub(super) const INPUTS: &str = "Inputs";
/// Folder of the values the worker makes, named likewise.
pub(super) const OUTPUTS: &str = "Outputs";

/// An action larger than this isn't kept in a folder that waits, in bytes.
const ACTION_KEPT_BYTES_MAX: u64 = 64 << 10;
/// A folder in which more was left behind than this is not worth tidying.
const LEFT_MAX: usize = 256;

/// A folder with a worker's files in it, for one attempt after the other.
///
/// A folder with all that belongs in it is many changes of the file system, so it is kept where a
/// look at it proves that it is as it was made but for entries that can be removed.
#[derive(Debug)]
pub(super) struct Folder {
    /// Absolute; another for each attempt.
    pub(super) path: PathBuf,
    pub(super) worker: WorkerId,
    /// Attempts that ran in it.
    pub(super) uses: u32,
    /// Nobody can have touched it any more, and all in it can be looked at.
    pub(super) keepable: bool,
    /// The folder itself and those in it, parents first.
    dirs: Vec<Dir>,
    files: Vec<(PathBuf, Seen)>,
    /// The file of the last action, which the next one overwrites, and its length.
    action: Option<(Seen, u64)>,
}

#[derive(Debug)]
struct Dir {
    /// Relative to the folder; empty for itself.
    name: PathBuf,
    seen: Seen,
    /// Names of what belongs in it.
    children: BTreeSet<OsString>,
}

/// What an entry has to be to be the same as before.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    place: (u32, u32, u64),
    mode: u16,
    owner: (u32, u32),
    attributes: StatxAttributes,
    /// Length of the list of its extended attributes.
    extended: usize,
    /// Length and last change of a file, in seconds and nanoseconds.
    content: Option<(u64, i64, u32)>,
}

impl Folder {
    /// Makes a new one: the worker's files and the folders it wants.
    pub(super) fn make(path: PathBuf, id: WorkerId, worker: &Worker) -> Result<Self, Stop> {
        let failed = |error: io::Error| unprepared("make the attempt's folder", &error);
        let mut folder = Self {
            path,
            worker: id,
            uses: 0,
            keepable: true,
            dirs: Vec::new(),
            files: Vec::new(),
            action: None,
        };
        fs::create_dir(&folder.path).map_err(failed)?;
        for dir in &worker.dirs {
            fs::create_dir(folder.path.join(dir)).map_err(failed)?;
        }
        for file in &worker.files {
            let linked = link(file, &folder.path).map_err(|error| {
                unprepared(&format!("place the worker's file {}", file.name.display()), &error)
            })?;
            // A copy could be changed for the next attempt without a trace.
            folder.keepable &= linked;
        }
        folder.remember(worker).map_err(failed)?;
        Ok(folder)
    }

    /// Notes what is in it now.
    fn remember(&mut self, worker: &Worker) -> io::Result<()> {
        let root = Path::new("");
        for name in std::iter::once(root).chain(worker.dirs.iter().map(PathBuf::as_path)) {
            let names = worker.dirs.iter().chain(worker.files.iter().map(|file| &file.name));
            let children = names
                .filter(|child| child.parent() == Some(name))
                .filter_map(|child| child.file_name().map(OsString::from))
                .collect();
            let seen = Seen::dir(&self.at(name))?;
            self.dirs.push(Dir { name: name.to_owned(), seen, children });
        }
        for file in &worker.files {
            let seen = Seen::file(&self.path.join(&file.name))?;
            self.files.push((file.name.clone(), seen));
        }
        Ok(())
    }

    /// Adds what is an attempt's own: the action and its inputs.
    pub(super) fn fill(
        &mut self,
        inner: &Inner,
        action: &Bytes,
        control: &Control,
    ) -> Result<(), Stop> {
        self.uses += 1;
        self.write_action(action).map_err(|error| unprepared("write Build.action", &error))?;
        let action = Object::parse(action.clone())
            .map_err(|error| error.to_string())
            .and_then(|object| Action::parse(object).map_err(|error| error.to_string()))
            .map_err(|problem| {
                failure(FailureKind::Launch, format!("the action is unusable: {problem}"))
            })?;
        for chunk in action.chunks() {
            if let Some(cut) = control.is_cut() {
                return Err(Stop::Cut(cut));
            }
            let input = action.inputs().iter().find(|input| input.hash == chunk);
            let what =
                input.map_or_else(|| "an input".into(), |input| format!("input {}", input.name));
            let path = self.path.join(INPUTS).join(chunk.to_string());
            write_chunk(&inner.store, chunk, &what, &path, Form::Buffer, control)?;
        }
        Ok(())
    }

    fn write_action(&mut self, action: &Bytes) -> io::Result<()> {
        let path = self.path.join(ACTION_FILE);
        let length = action.len() as u64;
        if let Some((_, held)) = &mut self.action {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
            let mut file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
            file.write_all(action)?;
            // Never emptied first: ext4 then writes the file to the disk as soon as it is closed.
            if *held > length {
                file.set_len(length)?;
            }
            return Ok(());
        }
        // Never through a file of the worker that has the same name.
        File::create_new(&path)?.write_all(action)?;
        self.action = Some((Seen::dir(&path)?, length));
        Ok(())
    }

    /// Removes what an attempt left, once no process of it is there any more. Folders with
    /// something in them are handed to `lift`. False when the folder can't be used again.
    pub(super) fn tidy(
        &mut self,
        mut lift: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<bool> {
        // Parents first, so that no path leads through what an attempt put in a folder's place.
        for dir in &self.dirs {
            if Seen::dir(&self.at(&dir.name))? != dir.seen {
                return Ok(false);
            }
        }
        for (name, seen) in &self.files {
            if Seen::file(&self.path.join(name))? != *seen {
                return Ok(false);
            }
        }
        self.look_at_action();
        let mut left = 0;
        for dir in &self.dirs {
            let mut found = 0;
            let is_root = dir.name.as_os_str().is_empty();
            for entry in fs::read_dir(self.at(&dir.name))? {
                let entry = entry?;
                let name = entry.file_name();
                if dir.children.contains(&name) {
                    found += 1;
                    continue;
                }
                if is_root && self.action.is_some() && name == ACTION_FILE {
                    continue;
                }
                left += 1;
                if left > LEFT_MAX {
                    return Ok(false);
                }
                let path = entry.path();
                if !entry.file_type()?.is_dir() {
                    fs::remove_file(&path)?;
                } else if fs::remove_dir(&path).is_err() {
                    lift(&path)?;
                }
            }
            if found != dir.children.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn at(&self, name: &Path) -> PathBuf {
        // Joined with nothing it would end in a slash, which follows links.
        if name.as_os_str().is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    /// Keeps the file of the action only where the next one can be written over it.
    fn look_at_action(&mut self) {
        let path = self.path.join(ACTION_FILE);
        self.action = self.action.take().and_then(|(seen, _)| {
            let now = stat(&path).ok()?;
            let same = Seen::new(&path, &now, false).is_ok_and(|now| now == seen);
            // With a second name it would be somebody's, with a large one it takes space.
            let fit = same && now.stx_nlink == 1 && now.stx_size <= ACTION_KEPT_BYTES_MAX;
            fit.then_some((seen, now.stx_size))
        });
    }
}

impl Seen {
    fn dir(path: &Path) -> io::Result<Self> {
        Self::new(path, &stat(path)?, false)
    }

    fn file(path: &Path) -> io::Result<Self> {
        Self::new(path, &stat(path)?, true)
    }

    fn new(path: &Path, found: &rustix::fs::Statx, with_content: bool) -> io::Result<Self> {
        let extended = match rustix::fs::llistxattr_query(path) {
            Err(rustix::io::Errno::NOTSUP) => 0,
            other => other?,
        };
        Ok(Self {
            place: (found.stx_dev_major, found.stx_dev_minor, found.stx_ino),
            mode: found.stx_mode,
            owner: (found.stx_uid, found.stx_gid),
            attributes: found.stx_attributes,
            extended,
            content: with_content.then_some((
                found.stx_size,
                found.stx_mtime.tv_sec,
                found.stx_mtime.tv_nsec,
            )),
        })
    }
}

fn stat(path: &Path) -> io::Result<rustix::fs::Statx> {
    Ok(statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?)
}

/// Links a file of the worker into the folder, or copies it where that is not possible: too many
/// links, or another file system. True when it is a link.
fn link(file: &UnpackedFile, folder: &Path) -> io::Result<bool> {
    let target = folder.join(&file.name);
    match fs::hard_link(&file.source, &target) {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound
                && error.kind() != io::ErrorKind::AlreadyExists =>
        {
            fs::copy(&file.source, &target).map(|_| false)
        }
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests;
