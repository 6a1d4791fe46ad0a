//! The rules for names that become paths: whatever a descriptor says, unpacking it stays inside the
//! worker's folder and no two files meet.

use std::collections::BTreeSet;

use crate::wire::schema::shown;

/// Longest component and longest path that file systems take, in bytes.
const COMPONENT_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 1_024;
/// Most components of a path. Each may be a folder to note and to make, so paths of nothing but
/// slashes would cost hundreds of times their bytes.
const COMPONENTS_MAX: usize = 64;

/// Files that the service itself puts into an attempt's folder, and its folders for data.
const RESERVED: [&str; 4] = ["Build.action", "Build.output", "Inputs", "Outputs"];

/// Says what is wrong with a path, if anything.
pub(super) fn check(path: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{} {what}", shown(path)));
    if path.is_empty() {
        return wrong("is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("{} is longer than {PATH_BYTES_MAX} bytes", shown(path)));
    }
    if path.contains('\0') {
        return wrong("contains NUL");
    }
    if path.contains('\\') {
        return wrong("contains a backslash; components are separated by /");
    }
    if path.starts_with('/') {
        return wrong("is absolute; names are relative to the worker's folder");
    }
    if has_drive(path) {
        return wrong("starts with a drive letter; names are relative to the worker's folder");
    }
    if path.split('/').count() > COMPONENTS_MAX {
        return Err(format!("{} has more than {COMPONENTS_MAX} components", shown(path)));
    }
    for component in path.split('/') {
        match component {
            "" => return wrong("has an empty component"),
            ".." => return wrong("contains .. and could leave the worker's folder"),
            "." => return wrong("contains the component \".\""),
            _ if component.len() > COMPONENT_BYTES_MAX => {
                return Err(format!(
                    "{} has a component longer than {COMPONENT_BYTES_MAX} bytes",
                    shown(path)
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_drive(path: &str) -> bool {
    let mut chars = path.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':')
}

/// The files and folders of one descriptor.
#[derive(Default)]
pub(super) struct Paths<'a> {
    files: BTreeSet<&'a str>,
    /// Folders that files are in, and those that were asked for.
    folders: BTreeSet<&'a str>,
    asked: BTreeSet<&'a str>,
}

impl<'a> Paths<'a> {
    pub(super) fn add_file(&mut self, path: &'a str) -> Result<(), String> {
        check(path)?;
        let top = path.split('/').next().unwrap_or(path);
        if RESERVED.contains(&top) {
            return Err(format!("{} is where the service puts its own files", shown(path)));
        }
        if self.folders.contains(path) {
            return Err(format!("{} is also the folder of another file", shown(path)));
        }
        if !self.files.insert(path) {
            return Err(format!("{} is there twice", shown(path)));
        }
        self.add_folders(path)
    }

    pub(super) fn add_dir(&mut self, path: &'a str) -> Result<(), String> {
        check(path)?;
        if !self.asked.insert(path) {
            return Err(format!("{} is there twice", shown(path)));
        }
        if self.files.contains(path) {
            return Err(format!("{} is also a file", shown(path)));
        }
        self.folders.insert(path);
        self.add_folders(path)
    }

    /// Notes every folder above `path`; none of them may be a file.
    fn add_folders(&mut self, path: &'a str) -> Result<(), String> {
        for (at, _) in path.match_indices('/') {
            let folder = path.get(..at).unwrap_or(path);
            if self.files.contains(folder) {
                return Err(format!("{} is inside of the file {}", shown(path), shown(folder)));
            }
            self.folders.insert(folder);
        }
        Ok(())
    }
}
