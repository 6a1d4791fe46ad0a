//! Recordings and replays: ranges of the log that are kept, and what came of running them again.
//!
//! A recording is named by the LSN of the record that began or imported it, a replay by the LSN of
//! the record that began it.

use serde::{Deserialize, Serialize};

use super::hash::ContentHash;
use super::ids::{ChunkId, Lsn};

/// Longest name of a recording, in bytes.
pub const RECORDING_NAME_BYTES_MAX: usize = 256;

/// Longest name of a value in a [`Mismatch`], in bytes; longer ones are cut.
pub const VALUE_NAME_BYTES_MAX: usize = 256;

/// Longest text of a [`ReplayFailure`], in bytes; longer ones are cut.
pub const REPLAY_ERROR_BYTES_MAX: usize = 512;

/// Where a submission stands in a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// The recorded job, by its LSN in the recording.
    pub job: Lsn,
    /// Counted from 0 in the order of the replay.
    pub position: u64,
}

/// An archive that was imported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// Everything of the archive but the content of its chunks, in one chunk.
    pub skeleton: ChunkId,
    /// Its range, in LSNs of the instance it was recorded on.
    pub start: Lsn,
    pub stop: Lsn,
    pub jobs: u64,
    /// Chunks that its jobs and workers refer to, and their size together.
    pub chunks: u64,
    pub bytes: u64,
}

/// A value that came out differently.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mismatch {
    /// The recorded job.
    pub job: Lsn,
    /// The value's name, or its id in hex when it has none. None: every value is the same, and the
    /// output objects themselves differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// None: the recorded output has no such value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<ContentHash>,
    /// None: the output of the replay has no such value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<ContentHash>,
}

/// A job that completed when it was recorded and did not when it was replayed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplayFailure {
    /// The recorded job.
    pub job: Lsn,
    /// Why, for a person.
    pub error: String,
}

/// What comparing some jobs of a replay gave.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verdicts {
    /// Jobs with the same end: completed with the same values, or without a result both times.
    #[serde(default)]
    pub matched: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatched: Vec<Mismatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<ReplayFailure>,
    /// Jobs that have a result now and had none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newly_passing: Vec<Lsn>,
}

impl Verdicts {
    /// Adds these to others.
    pub fn merge_into(mut self, all: &mut Self) {
        all.matched = all.matched.saturating_add(self.matched);
        all.mismatched.append(&mut self.mismatched);
        all.failed.append(&mut self.failed);
        all.newly_passing.append(&mut self.newly_passing);
    }
}
