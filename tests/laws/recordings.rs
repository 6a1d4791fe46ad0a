//! Recordings, told naively, and commands on them with what the model says must come of each.

use ledgerun::domain::recording::RECORDING_NAME_BYTES_MAX;
use ledgerun::domain::{
    Answer, ChunkId, Command, Event, Imported, Lsn, NewImport, NewWorker, Rejection,
};
use ledgerun::effects::effects_of;
use ledgerun::views::{RecordingRow, RecordingState};

use super::bench::Bench;
use super::history::{self, Import};
use super::model::Model;

/// A range of records.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) start: Lsn,
    pub(crate) stop: Option<Lsn>,
    /// Set for an archive: how many jobs it says it has.
    imported: Option<u64>,
    settled: Option<Lsn>,
    deleted: bool,
}

impl Model {
    /// Jobs that were submitted while it was made, as how many there are and those that are open.
    fn jobs_of(&self, recording: &Recording) -> (u64, Vec<Lsn>) {
        let end = recording.stop.unwrap_or(Lsn(u64::MAX));
        let jobs = self.jobs.range(recording.start..=end);
        let open = jobs.clone().filter(|(_, job)| job.end.is_none()).map(|(lsn, _)| *lsn);
        (jobs.count() as u64, open.collect())
    }

    /// Whichever have stopped and have no open job are complete from that record on.
    fn settle(&mut self) {
        let mut recordings = std::mem::take(&mut self.recordings);
        for recording in recordings.values_mut().filter(|found| found.settled.is_none()) {
            let Some(stop) = recording.stop else { continue };
            let (_, open) = self.jobs_of(recording);
            if open.is_empty() {
                let jobs = self.jobs.range(recording.start..=stop);
                let ends = jobs.filter_map(|(_, job)| job.end.map(|(_, by)| by));
                recording.settled = Some(ends.fold(stop, Lsn::max));
            }
        }
        self.recordings = recordings;
    }

    /// One that was not deleted, as queries must show it.
    pub(crate) fn recording(&self, id: Lsn) -> Option<RecordingRow> {
        let found = self.recordings.get(&id).filter(|found| !found.deleted)?;
        let (jobs, open) = self.jobs_of(found);
        let imported = found.imported.is_some();
        // Of what was complete nothing opens again.
        let open = if found.settled.is_some() || imported { 0 } else { open.len() as u64 };
        Some(RecordingRow {
            recording: id,
            state: match (found.stop, found.settled) {
                (None, _) => RecordingState::Recording,
                (_, None) => RecordingState::Settling,
                _ => RecordingState::Settled,
            },
            imported,
            start: found.start,
            stop: found.stop,
            jobs: found.imported.unwrap_or(jobs),
            open,
            settled: found.settled,
        })
    }

    pub(crate) fn active_recording(&self) -> Option<Lsn> {
        self.recordings.iter().find(|(_, found)| found.stop.is_none()).map(|(id, _)| *id)
    }
}

/// A name of that length, or none.
fn name(named: bool) -> Option<String> {
    named.then(|| "n".repeat(RECORDING_NAME_BYTES_MAX))
}

/// What is known of an archive with so many jobs.
pub(crate) fn archive(jobs: u64) -> Imported {
    Imported {
        skeleton: ChunkId::of(b"skeleton"),
        start: Lsn(1_000),
        stop: Lsn(1_000 + 5 * jobs),
        jobs,
        chunks: 3 * jobs,
        bytes: 300 * jobs,
    }
}

impl Bench {
    /// One that was made or imported, deleted or not, or one that never was.
    pub(crate) fn pick_recording(&self, number: usize) -> Lsn {
        let known: Vec<Lsn> = self.model.recordings.keys().copied().collect();
        if number == history::NOBODY || known.is_empty() {
            return Lsn(self.log.len() as u64 + 1);
        }
        known[number % known.len()]
    }

    /// Before anything else happens.
    pub(crate) fn settle_recordings(&mut self) {
        self.model.settle();
    }

    pub(crate) fn start_recording(&mut self, named: bool) {
        let command = Command::StartRecording { name: name(named) };
        if let Some(recording) = self.model.active_recording() {
            let wrong = Rejection::RecordingActive { recording };
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!((answer, records.len()), (Answer::Done, 1));
        assert_eq!(effects_of(&records[0]).count(), 0);
        let start = records[0].lsn;
        let recording =
            Recording { start, stop: None, imported: None, settled: None, deleted: false };
        self.model.recordings.insert(start, recording);
    }

    pub(crate) fn stop_recording(&mut self) {
        let Some(recording) = self.model.active_recording() else {
            let refused = self.execute(&Command::StopRecording).unwrap_err();
            assert_eq!(refused, Rejection::NotRecording);
            return;
        };
        let (records, answer) = self.execute(&Command::StopRecording).unwrap();
        assert_eq!((answer, records.len()), (Answer::RecordingStopped { recording }, 1));
        self.model.recordings.get_mut(&recording).unwrap().stop = Some(records[0].lsn);
    }

    /// Workers that are not known come with it, in the same append; each once.
    pub(crate) fn import_recording(&mut self, import: &Import) {
        let workers: Vec<NewWorker> =
            import.workers.iter().map(|ix| history::worker(*ix)).collect();
        let archive = archive(import.jobs);
        let new = NewImport { name: name(true), archive: archive.clone(), workers };
        let (records, answer) = self.execute(&Command::ImportRecording(new.clone())).unwrap();
        let (last, before) = records.split_last().unwrap();
        assert_eq!(answer, Answer::RecordingImported { recording: last.lsn });
        assert_eq!(
            last.event,
            Event::RecordingImported { name: new.name, archive: archive.clone() }
        );
        let mut brought = Vec::new();
        for new in new.workers {
            if self.model.workers.iter().all(|(id, ..)| *id != new.worker) {
                brought.push(new.worker);
                let functions = new.functions.into_iter().map(|function| function.name).collect();
                self.model.workers.push((new.worker, new.host, functions));
            }
        }
        let registered: Vec<_> = before
            .iter()
            .map(|record| match record.event {
                Event::WorkerRegistered { worker, .. } => worker,
                ref other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(registered, brought);
        let recording = Recording {
            start: archive.start,
            stop: Some(archive.stop),
            imported: Some(archive.jobs),
            settled: Some(archive.stop),
            deleted: false,
        };
        self.model.recordings.insert(last.lsn, recording);
    }

    pub(crate) fn delete_recording(&mut self, recording: Lsn) {
        let command = Command::DeleteRecording { recording };
        let replay = self.model.replay_of(recording);
        let wrong = match self.model.recording(recording) {
            None => Some(Rejection::UnknownRecording(recording)),
            Some(row) if row.stop.is_none() => Some(Rejection::RecordingActive { recording }),
            Some(_) => replay.map(|replay| Rejection::RecordingInUse { recording, replay }),
        };
        if let Some(wrong) = wrong {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!((answer, records.len()), (Answer::Done, 1));
        self.model.recordings.get_mut(&recording).unwrap().deleted = true;
    }

    /// The views know the recordings of the model and no other.
    pub(crate) fn compare_recordings(&self) {
        let ids = self.model.recordings.keys();
        let expected: Vec<_> = ids.clone().filter_map(|id| self.model.recording(*id)).collect();
        assert_eq!(self.staging.recordings().collect::<Vec<_>>(), expected);
        assert_eq!(self.staging.active_recording(), self.model.active_recording());
        for id in ids {
            assert_eq!(self.staging.recording(*id), self.model.recording(*id));
            assert_eq!(self.staging.replay_of_recording(*id), self.model.replay_of(*id));
        }
    }
}
