//! The names in a store's directory.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;

/// Extension of a generation's index.
pub(super) const INDEX: &str = "index";
/// Extension of the directory of a generation that is being removed.
const DEAD: &str = "dead";

pub(super) fn dir_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("g{number:06}"))
}

/// The number that a directory's name says.
fn number_of(name: &OsStr) -> Option<u32> {
    let digits = name.to_str()?.strip_prefix('g')?;
    digits.parse().ok().filter(|_| digits.len() >= 6)
}

/// Numbers of the generations in ascending order. Nothing is changed; without a directory there are
/// none.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(number_of(&entry?.file_name()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Numbers of the generations in ascending order. Removes what a stop left of others.
pub(super) fn tidy(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        let number = path.file_stem().and_then(number_of);
        match (extension, number) {
            (None, Some(number)) => numbers.push(number),
            (Some(DEAD), Some(_)) => fs::remove_dir_all(&path)?,
            (Some(INDEX), Some(_)) if !path.with_extension("").exists() => fs::remove_file(&path)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a closed generation. Once it has another name, no crash brings it back.
pub(super) fn remove_generation(dir: &Path, index: &Path) -> io::Result<()> {
    let dead = dir.with_extension(DEAD);
    fs::rename(dir, &dead)?;
    durable::fsync_dir(dir.parent().unwrap_or(Path::new(".")))?;
    match fs::remove_file(index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir_all(&dead)
}

/// Size of the files in a generation's directory, in bytes.
pub(super) fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}
