//! Which of the records that were folded into a state can still be asked for by their LSN, in that
//! state or any later one.
//!
//! What is gone never comes back, so whatever a later state needs from before is needed by this one.

use std::collections::{BTreeMap, BTreeSet};

use super::Views;
use super::state::{Execution, Job};
use super::table::Table;
use crate::domain::event::Subject;
use crate::domain::{Event, Lsn, QueueId, Record, WorkerId};

/// What is needed of the records up to one LSN. The large tables are shared with the views they come
/// from.
pub struct Kept {
    lsn: Lsn,
    jobs: Table<Lsn, Job>,
    executions: Table<Lsn, Execution>,
    /// The newest registration of each worker, with what was declared after it.
    workers: BTreeMap<WorkerId, Lsn>,
    queues: BTreeSet<QueueId>,
    recordings: BTreeSet<Lsn>,
    replays: BTreeSet<Lsn>,
    /// Records that only links lead to.
    linked: BTreeSet<Lsn>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "what is needed of the records up to {}", self.lsn)
    }
}

impl Views {
    /// What is needed of the records up to here. Links are to be followed from
    /// [`Views::chains`] before it is asked.
    pub fn kept(&self) -> Kept {
        let workers = self.workers.all().iter();
        let actions = self.executions.iter().map(|(_, execution)| execution.action_at);
        Kept {
            lsn: self.lsn,
            workers: workers.map(|worker| (worker.id, worker.registered)).collect(),
            queues: self.queues(None).map(|queue| queue.queue).collect(),
            recordings: self.recordings().map(|recording| recording.recording).collect(),
            replays: self.replays().map(|replay| replay.replay).collect(),
            // Of a job that is gone, when another goes on with its execution.
            linked: actions.filter(|job| self.jobs.get(*job).is_none()).collect(),
            jobs: self.jobs.clone(),
            executions: self.executions.clone(),
        }
    }

    /// From where links must be followed backwards to find what [`Kept`] can't tell from a record
    /// itself: a job that was rescheduled has left executions behind that no view knows any more, and
    /// an execution may have been opened by such a job that is gone itself.
    pub fn chains(&self) -> impl Iterator<Item = Lsn> + '_ {
        let touched = self.jobs.iter().filter(|(id, job)| job.tail != *id);
        let submitted = |id: Lsn| self.jobs.get(id).is_some() || self.retired.contains(id);
        let reopened = self.executions.iter().map(|(id, _)| id).filter(move |id| !submitted(*id));
        touched.map(|(_, job)| job.tail).chain(reopened)
    }
}

impl Kept {
    /// A record that following the links has come to.
    pub fn link(&mut self, record: Lsn) {
        self.linked.insert(record);
    }

    /// Whether a record up to this state stays readable.
    pub fn has(&self, record: &Record) -> bool {
        let lsn = record.lsn;
        let needed = match record.event.subject() {
            Subject::Worker(worker) => {
                self.workers.get(&worker).is_some_and(|registered| lsn >= *registered)
            }
            Subject::Job(job) => self.jobs.get(job).is_some(),
            Subject::Execution(execution) => self.executions.get(execution).is_some(),
            Subject::Queue(queue) => self.queues.contains(&queue),
            Subject::Recording(recording) => self.recordings.contains(&recording),
            Subject::Replay(replay) => self.replays.contains(&replay),
            Subject::Itself => self.has_opened(lsn, &record.event),
        };
        needed || self.linked.contains(&lsn)
    }

    /// Whether something that a record opened is still there.
    fn has_opened(&self, lsn: Lsn, event: &Event) -> bool {
        match event {
            Event::JobSubmitted { .. } => {
                self.jobs.get(lsn).is_some() || self.executions.get(lsn).is_some()
            }
            Event::RecordingStarted { .. } | Event::RecordingImported { .. } => {
                self.recordings.contains(&lsn)
            }
            Event::ReplayStarted { .. } => self.replays.contains(&lsn),
            _ => false,
        }
    }

    /// How many jobs and executions there are, a measure of how much is kept.
    pub const fn rows(&self) -> usize {
        self.jobs.len() + self.executions.len()
    }
}
