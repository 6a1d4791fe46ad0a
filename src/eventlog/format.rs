//! The versions of what is in a data directory, in a file of its own: a program that is too old finds
//! out before it opens, and so changes, a database.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, migrate};
use crate::durable;

const NAME: &str = "format";
const MAGIC: &str = "ledgerun data directory";

/// The parts of a data directory that can't be made again, with the newest version of each that this
/// program reads.
const KNOWN: [(&str, u32); 2] = [("log", migrate::SCHEMA), ("chunks", 1)];

/// Fails when a newer program wrote the directory. Changes nothing. A file that is missing or damaged
/// says nothing.
pub(super) fn refuse_newer(root: &Path) -> Result<(), Error> {
    let path = root.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(()),
        Err(error) => return Err(Error::storage("read", &path, error)),
    };
    for (part, found) in parts(&text) {
        let known = KNOWN.iter().find(|(name, _)| *name == part).map_or(0, |(_, known)| *known);
        if found > known {
            let (path, part) = (root.to_owned(), part.to_owned());
            return Err(Error::NewerPart { path, part, found, known });
        }
    }
    Ok(())
}

fn parts(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let (head, rest) = text.split_once('\n').unwrap_or_default();
    let lines = if head == MAGIC { rest.lines() } else { "".lines() };
    lines.filter_map(|line| {
        let (part, version) = line.split_once(' ')?;
        Some((part, version.parse().ok()?))
    })
}

/// Notes what this program writes. Before a database is brought to its version, so that no older
/// program opens it from then on.
pub(super) fn note(root: &Path) {
    let path = root.join(NAME);
    let lines = KNOWN.iter().map(|(part, version)| format!("{part} {version}\n"));
    let text: String = std::iter::once(format!("{MAGIC}\n")).chain(lines).collect();
    if fs::read_to_string(&path).is_ok_and(|noted| noted == text) {
        return;
    }
    // On a full disk the service starts all the same; the database has its version inside, too.
    if let Err(error) = durable::write_atomically(&path, text.as_bytes()) {
        tracing::warn!(path = %path.display(), %error, "cannot note the format of the data directory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_newer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let says = |text: &str| {
            fs::write(dir.path().join(NAME), text).unwrap();
            refuse_newer(dir.path())
        };
        refuse_newer(dir.path()).unwrap();
        note(dir.path());
        refuse_newer(dir.path()).unwrap();
        for fine in ["", "nothing", "ledgerun data directory\nlog 1\nchunks 1\nmoons 0\n"] {
            says(fine).unwrap();
        }
        for (newer, part) in
            [("log 9999", "log"), ("log 1\nchunks 2", "chunks"), ("moons 1", "moons")]
        {
            let refused = says(&format!("{MAGIC}\n{newer}\n")).unwrap_err();
            assert_eq!(refused.kind(), crate::eventlog::Kind::Damaged);
            assert!(refused.to_string().contains(&format!("{part} of format")), "{refused}");
        }
    }
}
