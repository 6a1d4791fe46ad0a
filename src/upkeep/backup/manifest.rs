//! The manifest of a backup: which files make it up, and what they hold. It is written last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, is_known};
use crate::domain::{ContentHash, Lsn};
use crate::durable;

const NAME: &str = "manifest";

/// What is in a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Chain hash of record 1 in hex, which no other instance has; none when there is no record.
    pub origin: Option<String>,
    /// The newest record, with its chain hash in hex.
    pub lsn: Lsn,
    pub chain: String,
    /// Of the state at that record, and by which rules it was folded.
    pub digest: ContentHash,
    pub layout: u32,
    /// When it was taken last, RFC 3339.
    pub taken_at: String,
    /// How often something was added.
    pub runs: u64,
    /// Chunks that the service listed and could not give.
    pub lost: u64,
    /// In the order in which they are read.
    pub parts: Vec<Part>,
}

/// A file of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the folder.
    pub name: String,
    pub kind: PartKind,
    pub bytes: u64,
    /// BLAKE3-256 of the file, in hex.
    pub hash: String,
    /// Of records: the first and the last. Of a base state: the record it ends with, as the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Lsn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Lsn>,
}

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// The state that the log begins with, and the records kept from before it.
    Base,
    /// Records.
    Log,
    /// Chunks.
    Chunks,
    /// Names and lengths of the chunks in the file of chunks before it.
    List,
    /// Names and lengths of the chunks that the service held when the backup was taken last.
    Held,
}

/// What every manifest says, whatever a newer one says beside that.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

impl Manifest {
    fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// The manifest in a folder; none when there is none.
    pub fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = Self::path(dir);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        let damaged = |offset, what: &str| Error::Damaged {
            path: path.clone(),
            offset,
            what: what.to_owned(),
        };
        // The text, a line feed, 64 digits, a line feed.
        let at = bytes.len().checked_sub(66).ok_or_else(|| damaged(0, "it breaks off"))?;
        let (text, end) = bytes.split_at(at);
        if end != format!("\n{}\n", blake3::hash(text).to_hex()).as_bytes() {
            return Err(damaged(at as u64, "the hash in its last line does not fit the rest"));
        }
        let malformed = |error: serde_json::Error| damaged(0, &error.to_string());
        let Version { format } = serde_json::from_slice(text).map_err(malformed)?;
        if !is_known(format) {
            return Err(Error::TooNew { path: dir.to_owned(), found: format });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(malformed)?;
        let plain = |part: &Part| !part.name.contains(['/', '\0']) && !part.name.starts_with('.');
        if !manifest.parts.iter().all(plain) {
            return Err(damaged(0, "a part lies outside of the folder"));
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest of a folder: afterwards it is this one, durably, or still the one before.
    pub(super) fn store(&self, dir: &Path) -> Result<(), Error> {
        let path = Self::path(dir);
        let failed = |source| Error::io("write", &path, source);
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        let end = format!("\n{}\n", blake3::hash(&bytes).to_hex());
        bytes.extend_from_slice(end.as_bytes());
        durable::write_atomically(&path, &bytes).map_err(failed)
    }

    /// The record that its state ends with, [`Lsn::ZERO`] when it begins with the first.
    pub(super) fn base(&self) -> Lsn {
        self.of(PartKind::Base).find_map(|part| part.last).unwrap_or(Lsn::ZERO)
    }

    /// The files of a kind, in order.
    pub(super) fn of(&self, kind: PartKind) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.kind == kind)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}
