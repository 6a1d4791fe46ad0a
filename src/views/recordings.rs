//! Recordings: which there are, and whether they are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Views;
use super::apply::{Illegal, ensure};
use super::keys::Keys;
use crate::domain::{Event, Lsn, Record};

/// A recording that was made and not deleted.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
struct Recording {
    /// The newest record about it.
    tail: Lsn,
    /// Its range, in its own LSNs; of one under way the end is open.
    start: Lsn,
    stop: Option<Lsn>,
    imported: bool,
    jobs: u64,
    /// Those of its jobs that have not ended. Of use while it isn't settled.
    open: Keys<Lsn>,
    /// The record by which it was complete: stopped, and the last of its jobs had ended.
    settled: Option<Lsn>,
}

impl Recording {
    fn state(&self) -> RecordingState {
        match (self.stop, self.settled) {
            (None, _) => RecordingState::Recording,
            (Some(_), None) => RecordingState::Settling,
            (Some(_), Some(_)) => RecordingState::Settled,
        }
    }

    fn settle(&mut self, lsn: Lsn) -> bool {
        let complete = self.stop.is_some() && self.open.is_empty();
        if complete {
            self.settled = Some(lsn);
        }
        complete
    }
}

/// All recordings. At most one is under way, so no job belongs to two.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct Recordings {
    list: BTreeMap<Lsn, Recording>,
    active: Option<Lsn>,
    /// Those of this instance that are not complete.
    unsettled: BTreeSet<Lsn>,
}

impl Recordings {
    pub(super) fn tail(&self, id: Lsn) -> Option<Lsn> {
        self.list.get(&id).map(|recording| recording.tail)
    }

    fn active_mut(&mut self) -> Option<&mut Recording> {
        self.list.get_mut(&self.active?)
    }

    /// A job was submitted.
    pub(super) fn admit(&mut self) {
        if let Some(recording) = self.active_mut() {
            recording.jobs += 1;
        }
    }

    /// The incomplete recording that a job belongs to.
    fn of(&mut self, job: Lsn) -> Option<(Lsn, &mut Recording)> {
        let id = *self.unsettled.range(..=job).next_back()?;
        let found = self.list.get_mut(&id)?;
        found.stop.is_none_or(|stop| job <= stop).then_some((id, found))
    }

    /// A job is open now.
    pub(super) fn open(&mut self, job: Lsn) {
        if let Some((_, recording)) = self.of(job) {
            recording.open.insert(job);
        }
    }

    /// A job ended by the record `lsn`.
    pub(super) fn close(&mut self, job: Lsn, lsn: Lsn) {
        let Some((id, recording)) = self.of(job) else { return };
        recording.open.remove(job);
        if recording.settle(lsn) {
            self.unsettled.remove(&id);
        }
    }

    /// Whether a recording is complete.
    pub(super) fn is_settled(&self, id: Lsn) -> bool {
        let state = self.list.get(&id).map(Recording::state);
        state == Some(RecordingState::Settled)
    }

    fn start(&mut self, lsn: Lsn) -> Result<(), Illegal> {
        ensure(self.active.is_none(), "another recording is under way")?;
        let recording = Recording {
            tail: lsn,
            start: lsn,
            stop: None,
            imported: false,
            jobs: 0,
            open: Keys::default(),
            settled: None,
        };
        self.list.insert(lsn, recording);
        self.active = Some(lsn);
        self.unsettled.insert(lsn);
        Ok(())
    }

    fn stop(&mut self, lsn: Lsn, id: Lsn) -> Result<(), Illegal> {
        ensure(self.active == Some(id), "the recording is not under way")?;
        let recording = self.active_mut().ok_or(Illegal("no such recording"))?;
        recording.stop = Some(lsn);
        recording.tail = lsn;
        if recording.settle(lsn) {
            self.unsettled.remove(&id);
        }
        self.active = None;
        Ok(())
    }

    fn delete(&mut self, id: Lsn) -> Result<(), Illegal> {
        ensure(self.active != Some(id), "the recording is under way")?;
        self.list.remove(&id).ok_or(Illegal("no such recording"))?;
        self.unsettled.remove(&id);
        Ok(())
    }
}

/// Where a recording is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordingState {
    /// Under way.
    Recording,
    /// Stopped; some of its jobs have not ended.
    Settling,
    /// Complete, and the same for ever.
    Settled,
}

impl RecordingState {
    /// The word used in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Settling => "settling",
            Self::Settled => "complete",
        }
    }
}

/// A recording as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingRow {
    /// Its name: the record that began or imported it, which has the rest.
    pub recording: Lsn,
    pub state: RecordingState,
    /// From an archive: `start` and `stop` are LSNs of another instance.
    pub imported: bool,
    pub start: Lsn,
    /// None while it is under way.
    pub stop: Option<Lsn>,
    pub jobs: u64,
    /// Its jobs that have not ended.
    pub open: u64,
    /// Up to which record the log tells of it, once it is complete.
    pub settled: Option<Lsn>,
}

impl Views {
    /// The transitions of recordings.
    pub(super) fn recording_transition(&mut self, record: &Record) -> Result<(), Illegal> {
        let lsn = record.lsn;
        match &record.event {
            Event::RecordingStarted { .. } => self.recordings.start(lsn),
            Event::RecordingStopped { recording } => self.recordings.stop(lsn, *recording),
            Event::RecordingImported { archive, .. } => {
                let recording = Recording {
                    tail: lsn,
                    start: archive.start,
                    stop: Some(archive.stop),
                    imported: true,
                    jobs: archive.jobs,
                    open: Keys::default(),
                    settled: Some(archive.stop),
                };
                self.recordings.list.insert(lsn, recording);
                Ok(())
            }
            Event::RecordingDeleted { recording } => {
                let used = self.replay_of_recording(*recording);
                ensure(used.is_none(), "a replay of the recording is running")?;
                self.recordings.delete(*recording)
            }
            _ => Err(Illegal("it is not about a recording")),
        }
    }

    fn recording_row(id: Lsn, found: &Recording) -> RecordingRow {
        RecordingRow {
            recording: id,
            state: found.state(),
            imported: found.imported,
            start: found.start,
            stop: found.stop,
            jobs: found.jobs,
            open: found.open.len() as u64,
            settled: found.settled,
        }
    }

    /// A recording that was made and not deleted.
    pub fn recording(&self, id: Lsn) -> Option<RecordingRow> {
        self.recordings.list.get(&id).map(|found| Self::recording_row(id, found))
    }

    /// All recordings, in the order they were made or imported.
    pub fn recordings(&self) -> impl Iterator<Item = RecordingRow> + '_ {
        self.recordings.list.iter().map(|(id, found)| Self::recording_row(*id, found))
    }

    /// The recording under way.
    pub const fn active_recording(&self) -> Option<Lsn> {
        self.recordings.active
    }
}

/// Recordings in full.
impl Display for Recordings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (id, recording) in &self.list {
            let Recording { tail, start, stop, imported, jobs, open, settled } = recording;
            let origin = if *imported { "imported" } else { "made here" };
            write!(f, "recording {id} {origin}, {} from {start}", recording.state().name())?;
            write!(f, " to {stop:?} and {settled:?}, {jobs} jobs, open {open:?}")?;
            writeln!(f, ", tail {tail}")?;
        }
        // `active` and `unsettled` follow from these.
        Ok(())
    }
}
