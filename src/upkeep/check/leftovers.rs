//! What a stop in the middle of something leaves in a data directory: of no use to anybody.

use std::fs;
use std::path::{Path, PathBuf};

use crate::eventlog::DataDir;

/// All of it, in order.
pub(super) fn find(dir: &DataDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    among(dir.root(), &mut found, |name, _| {
        // Opening the log removes it, too, unless it is the log.
        let unfinished = name == "log.next" && dir.log().exists();
        name == "log.new" || unfinished || is_new(name)
    });
    among(&dir.log(), &mut found, |name, _| is_of_engine(name));
    among(&dir.checkpoints(), &mut found, |name, _| is_new(name));
    let chunks = dir.chunks();
    among(&chunks, &mut found, |name, path| match path.extension().and_then(|e| e.to_str()) {
        Some("new" | "dead") => name.starts_with('g'),
        Some("index") => !path.with_extension("").exists(),
        _ => is_new(name),
    });
    among(&chunks.join("spool"), &mut found, |_, _| true);
    let mut generations = Vec::new();
    among(&chunks, &mut generations, |name, path| name.starts_with('g') && path.is_dir());
    for generation in generations {
        among(&generation, &mut found, |name, _| is_of_engine(name));
    }
    found.sort_unstable();
    found
}

/// What a stop in the middle of compacting the log leaves beside the log that opening it has settled
/// on, in the order in which it may be removed.
pub(super) fn replaced(dir: &DataDir) -> Vec<PathBuf> {
    let paths = ["log.swap", "log.old"].map(|name| dir.root().join(name));
    paths.into_iter().filter(|path| path.exists()).collect()
}

/// A small file that was being written.
fn is_new(name: &str) -> bool {
    name.starts_with(".new-")
}

/// A snapshot of the storage engine that was not finished, or that it could not read.
fn is_of_engine(name: &str) -> bool {
    let unfinished = name.starts_with("snap.") && name.ends_with(".generating");
    unfinished || name.starts_with("unread-snap.") || name.starts_with("aside-snap.")
}

fn among(dir: &Path, found: &mut Vec<PathBuf>, is_one: impl Fn(&str, &Path) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(|name| is_one(name, &path)) {
            found.push(path);
        }
    }
}

/// Removes one; true when it is gone.
pub(super) fn remove(path: &Path) -> bool {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.is_ok()
        || !path.exists()
}
