//! What is held at one moment, for whoever reads the whole log and must not be overtaken meanwhile.

use std::collections::BTreeSet;

use super::state::{Execution, Job};
use super::table::Table;
use super::{RecordingRow, ReplayRow, Views};
use crate::domain::Lsn;

/// Jobs, executions, registrations, recordings and running replays at one LSN. The large tables are
/// shared with the views they come from.
#[derive(Clone)]
pub struct Held {
    lsn: Lsn,
    jobs: Table<Lsn, Job>,
    executions: Table<Lsn, Execution>,
    registrations: BTreeSet<Lsn>,
    recordings: Vec<RecordingRow>,
    replays: Vec<ReplayRow>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs held at {}", self.jobs.len(), self.lsn)
    }
}

impl Views {
    /// What is held now.
    pub fn held(&self) -> Held {
        let active = self.workers.all().iter().filter(|worker| !worker.retired);
        Held {
            lsn: self.lsn,
            jobs: self.jobs.clone(),
            executions: self.executions.clone(),
            registrations: active.map(|worker| worker.registered).collect(),
            recordings: self.recordings().collect(),
            replays: self.running_replays().collect(),
        }
    }
}

impl Held {
    /// The last record folded.
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether a job was submitted and not retired.
    pub fn has_job(&self, job: Lsn) -> bool {
        self.jobs.get(job).is_some()
    }

    /// Whether a job that is not retired refers to an execution.
    pub fn has_execution(&self, execution: Lsn) -> bool {
        self.executions.get(execution).is_some()
    }

    /// Whether a record is the newest registration of a worker that takes jobs.
    pub fn has_registration(&self, lsn: Lsn) -> bool {
        self.registrations.contains(&lsn)
    }

    /// Recordings that are not deleted, in the order they were made or imported.
    pub fn recordings(&self) -> &[RecordingRow] {
        &self.recordings
    }

    /// A recording that is not deleted.
    pub fn recording(&self, id: Lsn) -> Option<&RecordingRow> {
        let at = self.recordings.binary_search_by_key(&id, |row| row.recording).ok()?;
        self.recordings.get(at)
    }

    /// Replays that run, in the order they began.
    pub fn replays(&self) -> &[ReplayRow] {
        &self.replays
    }
}
