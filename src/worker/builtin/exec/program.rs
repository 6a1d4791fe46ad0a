//! Finding the program that a command line names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::worker::Failure;

use super::spec::Spec;

/// Where programs are looked for unless the action or the worker's environment says otherwise.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program that was found.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    path: PathBuf,
    search_path: OsString,
}

/// There is no program to start.
#[derive(Debug)]
pub(super) struct Absent {
    /// For a person.
    pub(super) text: String,
    /// As the system would put it: not there, or there and not executable.
    pub(super) errno: nix::errno::Errno,
}

impl Absent {
    fn missing(text: String) -> Self {
        Self { text, errno: nix::errno::Errno::ENOENT }
    }

    fn refused(text: String) -> Self {
        Self { text, errno: nix::errno::Errno::EACCES }
    }
}

impl Program {
    /// As the action calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What to start.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `PATH`.
    pub(super) fn search_path(&self) -> &OsStr {
        &self.search_path
    }

    /// Why the kernel would not start it.
    pub(super) fn cannot_start(&self, error: &io::Error) -> Failure {
        let name = &self.name;
        let text = match error.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::ENOEXEC) => {
                format!("program {name:?} is neither an executable nor a script with a #! line")
            }
            // The program itself is there, so it is what its first line names.
            Some(nix::errno::Errno::ENOENT) => {
                format!("program {name:?} needs an interpreter that doesn't exist")
            }
            Some(nix::errno::Errno::E2BIG) => {
                format!("program {name:?} can't be started: Argv and Env are too long")
            }
            Some(nix::errno::Errno::EACCES) => format!("program {name:?} may not be executed"),
            // Out of processes, memory or descriptors: not the action's fault.
            _ => {
                return Failure::Io(io::Error::new(
                    error.kind(),
                    format!("cannot start {name:?}: {error}"),
                ));
            }
        };
        Failure::Action(text)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the descriptor's environment is this process's, and the command inherits it"
)]
fn inherited_path() -> Option<OsString> {
    std::env::var_os("PATH").filter(|path| !path.is_empty())
}

/// Finds the program of `spec` for a command that starts in `cwd`.
pub(super) fn find(spec: &Spec, cwd: &Path) -> Result<Program, Absent> {
    let name = spec.argv.first().cloned().unwrap_or_default();
    let search_path = match spec.env.get("PATH") {
        Some(path) => OsString::from(path),
        None => inherited_path().unwrap_or_else(|| DEFAULT_PATH.into()),
    };
    let path = if name.contains('/') {
        // Left relative, so that a script's own idea of its name doesn't tell where it ran.
        judge(&name, &cwd.join(&name))?;
        PathBuf::from(&name)
    } else {
        search(&name, &search_path, cwd)?
    };
    Ok(Program { name, path, search_path })
}

/// The first executable file of that name on the search path.
fn search(name: &str, search_path: &OsStr, cwd: &Path) -> Result<PathBuf, Absent> {
    let candidates = search_path.as_bytes().split(|byte| *byte == b':').map(|folder| {
        // An empty item means the current folder, as in every shell.
        cwd.join(OsStr::from_bytes(folder)).join(name)
    });
    let mut refused = None;
    for candidate in candidates {
        match executable(&candidate) {
            Ok(true) => return Ok(candidate),
            Ok(false) => {
                refused.get_or_insert(candidate);
            }
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(path) => Absent::refused(format!(
            "program {name:?} was found as {} but is not executable",
            path.display()
        )),
        None => Absent::missing(format!(
            "program {name:?} was not found in {}; a file of the action is started as \"./{name}\"",
            search_path.display()
        )),
    })
}

/// Whether there is a file that may be executed; `Err` when there is none at all.
fn executable(path: &Path) -> io::Result<bool> {
    let found = path.metadata()?;
    Ok(found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn judge(name: &str, path: &Path) -> Result<(), Absent> {
    match executable(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Absent::refused(format!(
            "program {name:?} is not executable; name its input in Executable"
        ))),
        Err(error) => Err(Absent::missing(format!("program {name:?} was not found: {error}"))),
    }
}
