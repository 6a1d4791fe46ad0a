//! The routes of recordings and replays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::files::file_pieces;
use super::{Client, Error, Pieces};
use crate::domain::{ContentHash, Lsn, QueueId, WorkerId};

/// A recording that begins.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StartedRecording {
    pub recording: Lsn,
    pub start_lsn: Lsn,
}

/// What a recording holds when it was stopped or imported.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TakenRecording {
    pub recording: Lsn,
    /// Absent after an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_lsn: Option<Lsn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_lsn: Option<Lsn>,
    pub jobs: u64,
    pub chunks: u64,
    pub bytes: u64,
}

/// A recording.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recording {
    pub recording: Lsn,
    pub name: Option<String>,
    /// `recording`, `settling` or `complete`.
    pub state: String,
    pub imported: bool,
    pub start_lsn: Lsn,
    pub stop_lsn: Option<Lsn>,
    pub jobs: u64,
    pub open_jobs: u64,
    pub started_at: Option<String>,
    pub stopped_at: Option<String>,
    pub imported_at: Option<String>,
    /// Only of one that was asked for by itself, like the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Vec<WorkerId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A page of the list of recordings.
#[derive(Clone, Debug, Deserialize)]
pub struct Recordings {
    pub recordings: Vec<Recording>,
    /// What comes before the next page; none at the end.
    #[serde(default)]
    pub next: Option<Lsn>,
}

/// Which recorded jobs to run again, and how. What is absent has the service's default.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayPlan {
    /// None: as fast as the jobs run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub worker_map: BTreeMap<WorkerId, WorkerId>,
    /// LSNs as numbers, functions as texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u64>,
}

/// A replay that begins.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct StartedReplay {
    pub replay: Lsn,
    pub queue: QueueId,
    pub total: u64,
}

/// A value that came out differently.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Mismatch {
    /// The recorded job.
    pub lsn: Lsn,
    /// The value's name or id. None: the output objects themselves.
    pub value: Option<String>,
    /// None: there was no such value.
    pub recorded: Option<ContentHash>,
    /// None: there is no such value now.
    pub replayed: Option<ContentHash>,
}

/// A job that had a result and has none now.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct NewFailure {
    /// The recorded job.
    pub lsn: Lsn,
    pub error: String,
}

/// A replay, and what came of it so far.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Replay {
    pub replay: Lsn,
    pub recording: Lsn,
    pub queue: QueueId,
    /// `running` or `done`.
    pub state: String,
    pub total: u64,
    pub matched: u64,
    pub mismatched: Vec<Mismatch>,
    pub failed: Vec<NewFailure>,
    pub newly_passing: Vec<Lsn>,
    /// Why it ended before all its jobs had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub started_at: String,
    #[serde(default)]
    pub ended_at: Option<String>,
}

impl Replay {
    /// Whether nothing of it is to come.
    pub fn is_over(&self) -> bool {
        self.state == "done"
    }

    /// Jobs with at least one value that differs.
    pub fn mismatched_jobs(&self) -> u64 {
        count_jobs(&self.mismatched)
    }

    /// Jobs that were compared so far.
    pub fn compared(&self) -> u64 {
        let lists = self.failed.len() + self.newly_passing.len();
        self.matched + self.mismatched_jobs() + lists as u64
    }

    /// Whether it is over, and all that had a result has the same again.
    pub fn is_good(&self) -> bool {
        let same = self.mismatched.is_empty() && self.failed.is_empty();
        self.is_over() && same && self.reason.is_none()
    }
}

/// How many jobs these are about. What is about one job stands together; a value that comes again
/// is that of another run of the same recorded job.
pub fn count_jobs(mismatched: &[Mismatch]) -> u64 {
    let mut jobs = 0;
    for values in mismatched.chunk_by(|one, next| one.lsn == next.lsn) {
        let mut seen = BTreeSet::new();
        jobs += 1;
        for found in values {
            if !seen.insert(&found.value) {
                jobs += 1;
                seen = BTreeSet::from([&found.value]);
            }
        }
    }
    jobs
}

/// A replay in the list.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReplaySummary {
    pub replay: Lsn,
    pub recording: Lsn,
    pub queue: QueueId,
    pub state: String,
    pub total: u64,
    pub matched: u64,
    pub mismatched_count: u64,
    pub failed_count: u64,
    pub newly_passing_count: u64,
}

/// The list of replays.
#[derive(Clone, Debug, Deserialize)]
pub struct Replays {
    pub replays: Vec<ReplaySummary>,
}

impl Client {
    /// Begins a recording.
    pub async fn start_recording(&self, name: Option<&str>) -> Result<StartedRecording, Error> {
        let body = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
        self.post("/compute/record/start", &body).await
    }

    /// Stops the recording under way.
    pub async fn stop_recording(&self) -> Result<TakenRecording, Error> {
        self.json(self.request(Method::POST, "/compute/record/stop")).await
    }

    /// Recordings in the order they were made or imported.
    pub async fn recordings(&self, after: Option<Lsn>, limit: usize) -> Result<Recordings, Error> {
        let after = after.unwrap_or(Lsn::ZERO);
        self.get(&format!("/compute/record?after={after}&limit={limit}")).await
    }

    /// A recording and what is in it.
    pub async fn recording(&self, recording: Lsn) -> Result<Recording, Error> {
        self.get(&format!("/compute/record/{recording}")).await
    }

    /// Forgets a recording.
    pub async fn delete_recording(&self, recording: Lsn) -> Result<Value, Error> {
        self.json(self.request(Method::DELETE, &format!("/compute/record/{recording}"))).await
    }

    /// The archive of a recording, in pieces. Waits for its jobs that have not ended.
    pub async fn archive(&self, recording: Lsn) -> Result<Pieces, Error> {
        let request = self
            .request(Method::GET, &format!("/compute/record/{recording}/archive"))
            .header(ACCEPT, "application/octet-stream");
        self.pieces(request).await
    }

    /// Takes an archive in. `sent` hears how many bytes more have gone out.
    pub async fn import_archive(
        &self,
        path: &Path,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<TakenRecording, Error> {
        let (length, pieces) = file_pieces(path, sent).await?;
        let request = self
            .request(Method::POST, "/compute/record/import")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, length)
            .body(pieces);
        self.json(request).await
    }

    /// Begins a replay of a recording.
    pub async fn start_replay(
        &self,
        recording: Lsn,
        plan: &ReplayPlan,
    ) -> Result<StartedReplay, Error> {
        let path = format!("/compute/record/{recording}/replay");
        self.json(self.request(Method::POST, &path).json(plan)).await
    }

    /// A replay and what came of it so far.
    pub async fn replay(&self, replay: Lsn) -> Result<Replay, Error> {
        self.get(&format!("/compute/replays/{replay}")).await
    }

    /// Every replay.
    pub async fn replays(&self) -> Result<Replays, Error> {
        self.get("/compute/replays").await
    }

    /// Ends a replay.
    pub async fn cancel_replay(&self, replay: Lsn) -> Result<Replay, Error> {
        self.json(self.request(Method::DELETE, &format!("/compute/replays/{replay}"))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_counted_each_time_it_ran() {
        let found = |lsn, value: &str| Mismatch {
            lsn: Lsn(lsn),
            value: Some(value.to_owned()),
            recorded: None,
            replayed: None,
        };
        assert_eq!(count_jobs(&[]), 0);
        assert_eq!(count_jobs(&[found(1, "a"), found(1, "b"), found(2, "a")]), 2);
        let twice = [found(1, "a"), found(1, "b"), found(1, "a"), found(1, "b")];
        assert_eq!(count_jobs(&twice), 2);
    }
}
