//! The files that a command leaves behind.

use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::worker::{Failure, Job};

/// What the names of output files begin with, so that none can be called like a stream.
const PREFIX: &str = "file/";

/// Patterns of the files to keep.
#[derive(Debug)]
pub(super) struct Outputs(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Outputs {
    /// Reads the patterns: `*` and `?` stay within a folder, `**` does not.
    pub(super) fn parse(patterns: &[String]) -> Result<Self, Failure> {
        patterns.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Gives every file below `work` that a pattern matches as a value, in order of name. A pattern
    /// that matches none gets a warning.
    pub(super) fn collect(&self, job: &mut Job<'_>, work: &Path) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut found = Found::default();
        walk(work, Path::new(""), &mut found)?;
        found.names.sort();
        let mut used = vec![false; self.0.len()];
        for name in found.names {
            let mut wanted = false;
            for (pattern, used) in self.0.iter().zip(&mut used) {
                if pattern.matcher.is_match(&name) {
                    wanted = true;
                    *used = true;
                }
            }
            if wanted {
                keep(job, work, &name)?;
            }
        }
        for (pattern, _) in self.0.iter().zip(used).filter(|(_, used)| !used) {
            job.warning(&format!("Outputs pattern {:?} matches no file", pattern.text));
        }
        for unreadable in found.unreadable {
            let folder = unreadable.display();
            job.warning(&format!("folder {folder} can't be searched for outputs"));
        }
        Ok(())
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| Failure::Action(format!("Outputs pattern {text:?} {why}"));
        let relative = text.strip_prefix("./").unwrap_or(text);
        if relative.starts_with('/') {
            return Err(refuse("is absolute; patterns are relative to the work folder"));
        }
        if relative.split('/').any(|part| part == "..") {
            return Err(refuse("leads out of the work folder"));
        }
        if relative.is_empty() {
            return Err(refuse("is empty"));
        }
        // A folder means what is in it.
        let whole =
            if relative.ends_with('/') { format!("{relative}**") } else { relative.to_owned() };
        let glob = GlobBuilder::new(&whole)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| refuse(&format!("is malformed: {}", error.kind())))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }
}

/// What a walk found.
#[derive(Default)]
struct Found {
    /// Everything that is not a folder, relative to the work folder.
    names: Vec<PathBuf>,
    unreadable: Vec<PathBuf>,
}

/// Lists what is below `work`. Links to folders are not entered: they may lead round in circles or
/// out of the work folder.
fn walk(work: &Path, below: &Path, found: &mut Found) -> Result<(), Failure> {
    let mut open = vec![below.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(work.join(&folder)) {
            Ok(entries) => entries,
            // The command may have taken the permission away; it may not make us fail by it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.unreadable.push(folder);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(name);
            } else {
                found.names.push(name);
            }
        }
    }
    found.unreadable.sort();
    Ok(())
}

/// Gives one file as a value, unless it is none that may be read.
fn keep(job: &mut Job<'_>, work: &Path, name: &Path) -> Result<(), Failure> {
    let Some(text) = name.to_str() else {
        let shown = name.display();
        job.warning(&format!("output {shown} is left out: its name is not UTF-8"));
        return Ok(());
    };
    let path = work.join(name);
    match readable(work, &path) {
        Ok(path) => job.output_file(&format!("{PREFIX}{text}"), &path),
        Err(why) => {
            job.warning(&format!("output {text:?} is left out: {why}"));
            Ok(())
        }
    }
}

/// The regular file that `path` is, or that it links to within the work folder. Nothing else is
/// opened: a pipe or a device could hold up the worker for ever.
fn readable(work: &Path, path: &Path) -> Result<PathBuf, String> {
    let kind = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.file_type());
    let wrong = |error: io::Error| error.to_string();
    let mut path = path.to_owned();
    if kind(&path).map_err(wrong)?.is_symlink() {
        path = path
            .canonicalize()
            .map_err(|error| format!("it is a link that leads nowhere: {error}"))?;
        if !path.starts_with(work) {
            return Err("it is a link that leads out of the work folder".to_owned());
        }
    }
    match kind(&path).map_err(wrong)? {
        kind if kind.is_file() => fs::File::open(&path).map_err(wrong).map(|_| path),
        kind => Err(format!("it is {}, not a regular file", describe(kind))),
    }
}

fn describe(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
