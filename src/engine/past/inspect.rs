//! Looking at checkpoints without using or deleting any.

use std::path::{Path, PathBuf};

use super::checkpoints::{Name, is_of, names};
use super::file;
use crate::domain::{Lsn, sentence};
use crate::eventlog::LogReader;

/// A file among the checkpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub state: FoundState,
}

/// What a file among the checkpoints is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundState {
    /// The state at this LSN, whole and of this log.
    Sound(Lsn),
    /// Of no use, and why.
    Unusable(String),
    /// What a stop left of one that was being written.
    Unfinished,
}

/// Reads every checkpoint in `dir` in full. Without a log nobody can tell of which log they are, so
/// only that they are whole is told.
pub fn inspect(dir: &Path, log: Option<&dyn LogReader>) -> Vec<Found> {
    let look = |name| match name {
        Name::Unfinished(path) => Found { path, state: FoundState::Unfinished },
        Name::Of(lsn, path) => {
            let head = file::load(&path).map(|(head, _)| head);
            let head = head.and_then(|head| log.map_or(Ok(head), |log| is_of(head, lsn, log)));
            let state = match head {
                Ok(head) => FoundState::Sound(head.lsn),
                Err(unusable) => FoundState::Unusable(sentence(&unusable)),
            };
            Found { path, state }
        }
    };
    let mut found: Vec<Found> = names(dir).unwrap_or_default().into_iter().map(look).collect();
    found.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    found
}
