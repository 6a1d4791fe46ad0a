//! What an `Exec` action asks for: the `Exec` constant, checked.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::worker::{Failure, Job};

/// The `Exec` constant. Unknown fields are refused, so that a misspelt one is noticed.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// The command line; the first item names the program.
    pub(super) argv: Vec<String>,
    /// Variables on top of the worker's own environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// Folder to start in, relative to the work folder; empty: the work folder.
    #[serde(default)]
    pub(super) cwd: String,
    /// The input that is standard input; absent: nothing.
    pub(super) stdin: Option<String>,
    /// Patterns of files to keep, relative to the work folder.
    #[serde(default)]
    pub(super) outputs: Vec<String>,
    /// Inputs to mark executable.
    #[serde(default)]
    pub(super) executable: Vec<String>,
}

impl Spec {
    /// Refuses what could not be run.
    pub(super) fn check(&self, job: &Job<'_>) -> Result<(), Failure> {
        let refuse = |text: String| Err(Failure::Action(text));
        match self.argv.first() {
            None => return refuse("Argv is empty; its first item names the program".to_owned()),
            Some(program) if program.is_empty() => {
                return refuse("Argv[0] is empty; it names the program".to_owned());
            }
            Some(_) => {}
        }
        if let Some(index) = self.argv.iter().position(|argument| argument.contains('\0')) {
            return refuse(format!("Argv[{index}] contains a NUL character"));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return refuse(format!("Env {name:?} is no environment variable"));
            }
        }
        let declared = |name: &String| job.inputs().iter().any(|input| &input.name == name);
        if let Some(name) = self.stdin.iter().find(|name| !declared(name)) {
            return refuse(format!("Stdin {name:?} is not an input"));
        }
        if let Some(name) = self.executable.iter().find(|name| !declared(name)) {
            return refuse(format!("Executable {name:?} is not an input"));
        }
        Ok(())
    }
}

/// A path that stays below the folder that it is relative to.
#[derive(Debug)]
pub(super) struct RelativePath(PathBuf);

impl RelativePath {
    /// Checks `text`; `what` names it in the error.
    pub(super) fn parse(what: &str, text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| Err(Failure::Action(format!("{what} {text:?} {why}")));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.contains('\0') {
            return refuse("contains a NUL character");
        }
        if text.ends_with('/') {
            return refuse("ends with a slash");
        }
        let path = Path::new(text);
        let mut clean = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => clean.push(part),
                Component::CurDir => {}
                Component::ParentDir => return refuse("leads out of the work folder"),
                Component::RootDir | Component::Prefix(_) => {
                    return refuse("is absolute; paths are relative to the work folder");
                }
            }
        }
        if clean.as_os_str().is_empty() {
            return refuse("names no file");
        }
        Ok(Self(clean))
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }
}
