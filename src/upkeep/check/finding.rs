//! What a check found, and what to do about it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::domain::{ChunkId, Lsn};

/// How much something matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Nothing is lost: it is left over, or can be made again.
    Harmless,
    /// Something is lost or damaged; the service starts all the same.
    Damage,
    /// The service does not start.
    Fatal,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// A stable word for programs.
    pub kind: &'static str,
    pub weight: Weight,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<ChunkId>,
    /// What is wrong, for a person.
    pub error: String,
    /// What follows from it.
    pub means: &'static str,
    /// What the operator can do.
    pub remedy: String,
    /// Whether it was mended.
    pub repaired: bool,
}

const RESTORE: &str = "keep the directory as it is for examination and restore it from a backup";
const UPLOAD: &str = "upload it again, or restore the directory from a backup";
const SETTLE: &str = "nothing: it is removed by --repair, or with the next start";

/// What a running service tells of itself.
const OF_SERVICE: [&str; 8] =
    ["base", "record", "gap", "chain", "fold", "digest", "missing_chunk", "damaged_chunk"];

impl Finding {
    /// Of a kind that a running service tells; one that it doesn't is taken for `record`.
    pub fn of_service(kind: &str, error: String, lsn: Option<Lsn>, chunk: Option<ChunkId>) -> Self {
        let kind = OF_SERVICE.into_iter().find(|known| *known == kind).unwrap_or("record");
        Self::of(kind, error).about(lsn, chunk)
    }

    /// Of a part of a backup.
    pub fn of_backup(folder: &Path, error: String) -> Self {
        Self::of("backup", error).at(folder)
    }

    /// Of a known kind, with what that kind means.
    pub(super) fn of(kind: &'static str, error: impl Into<String>) -> Self {
        let (weight, means, remedy) = words(kind);
        Self {
            kind,
            weight,
            path: None,
            lsn: None,
            chunk: None,
            error: error.into(),
            means,
            remedy: remedy.to_owned(),
            repaired: false,
        }
    }

    #[must_use]
    pub(super) fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    #[must_use]
    pub(super) const fn about(mut self, lsn: Option<Lsn>, chunk: Option<ChunkId>) -> Self {
        self.lsn = lsn;
        self.chunk = chunk;
        self
    }

    #[must_use]
    pub(super) fn remedy(mut self, remedy: String) -> Self {
        self.remedy = remedy;
        self
    }
}

/// Weight, meaning and remedy of each kind.
fn words(kind: &str) -> (Weight, &'static str, &'static str) {
    use Weight::{Damage, Fatal, Harmless};
    match kind {
        "too_new" => (
            Fatal,
            "a newer version of the program wrote it",
            "use that version; nothing was changed",
        ),
        "log" => (Fatal, "no record can be read", RESTORE),
        "base" => (
            Fatal,
            "the state that the log begins with, or a record that is kept from before it, is lost",
            RESTORE,
        ),
        "record" | "gap" => (Fatal, "what happened there is not known any more", RESTORE),
        "chain" | "fold" => (Fatal, "records were changed, exchanged or lost before it", RESTORE),
        "digest" => (Fatal, "the same records gave two states", RESTORE),
        "lost_tail" | "other_history" | "high_water_mark" => (
            Fatal,
            "what was acknowledged may be lost",
            "restore the directory from a backup, or start once with --accept-lost-history to go \
             on with what is left",
        ),
        "no_mark" => (
            Harmless,
            "it can't be told whether the end of the log is lost",
            "nothing: the next start makes it anew",
        ),
        "generation" => (Fatal, "none of its chunks can be read", RESTORE),
        "chunk_index" => {
            (Harmless, "it can be made again", "nothing: the next start makes it anew")
        }
        "damaged_chunk" => (Damage, "its content is lost", UPLOAD),
        "missing_chunk" => (Damage, "a job, a worker or a recording lacks a part", UPLOAD),
        "unknown_references" => (
            Damage,
            "it can't be told which chunks are needed",
            "mend what is wrong with the log and the chunks first",
        ),
        "blob" => (
            Damage,
            "the storage engine keeps data where a power cut can take it away",
            "make a backup and restore it into a new directory",
        ),
        "backup" => (
            Damage,
            "it can't be restored",
            "keep it, and take another one into another folder now",
        ),
        "checkpoint" => (Harmless, "looking back, or a start, takes longer", SETTLE),
        _ => (Harmless, "it takes room and nothing else", SETTLE),
    }
}
