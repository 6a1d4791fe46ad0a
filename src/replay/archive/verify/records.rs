//! The records of an archive.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::{Known, RESULTS_LEN_MAX, WORKERS_LEN_MAX};
use crate::domain::{ActionId, ContentHash, Event, Lsn, ObjectRef, Outcome, Record, Run, WorkerId};
use crate::eventlog::codec;
use crate::replay::archive::{CHUNKS_LEN_MAX, Head, Reason};
use crate::replay::flagged::{Flagged, Flags};
use crate::replay::references::{ChunkSet, note};
use crate::wire::cb::Object;
use crate::wire::references::Kind;

/// Of an execution: a job got its result; a record has it.
const WANTED: Flags = 1;
const GIVEN: Flags = 2;

/// Checks one record after another. Memory is some bits for each record, and what is known of
/// workers, chunks and executions from before the recording.
#[derive(Debug)]
pub(super) struct Records {
    head: Head,
    jobs: u64,
    /// The record of each worker's last registration.
    registered: BTreeMap<WorkerId, Lsn>,
    /// Workers of jobs.
    used: BTreeSet<WorkerId>,
    chunks: ChunkSet,
    /// Executions opened in the range.
    wanted: Bits,
    given: Bits,
    /// Executions opened elsewhere.
    outside: Flagged<Lsn>,
}

/// One bit for each record of the range. Grows with what is read.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, index: u64) {
        let word = usize::try_from(index / 64).unwrap_or(usize::MAX);
        if word >= self.0.len() {
            self.0.resize(word.saturating_add(1), 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (index % 64);
        }
    }

    /// The first that is set here and not there.
    fn first_beyond(&self, other: &Self) -> Option<u64> {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        let mut words = (0_u64..).zip(self.0.iter().zip(others));
        words.find_map(|(at, (word, other))| {
            let beyond = word & !other;
            (beyond != 0).then(|| at * 64 + u64::from(beyond.trailing_zeros()))
        })
    }
}

impl Records {
    pub(super) fn new(head: &Head) -> Self {
        Self {
            head: head.clone(),
            jobs: 0,
            registered: BTreeMap::new(),
            used: BTreeSet::new(),
            chunks: ChunkSet::default(),
            wanted: Bits::default(),
            given: Bits::default(),
            outside: Flagged::default(),
        }
    }

    /// A record of the range.
    pub(super) fn log(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), Reason> {
        let record = self.record(lsn, value)?;
        let Head { name, start, stop } = &self.head;
        let (start, stop) = (*start, *stop);
        let problem = match &record.event {
            Event::RecordingStarted { name: found } if lsn == start => {
                (found != name).then_some("gives the recording another name than the head")
            }
            _ if lsn == start => Some("does not start a recording"),
            Event::RecordingStopped { recording } if *recording == start && lsn == stop => None,
            _ if lsn == stop => Some("does not stop the recording"),
            Event::RecordingStarted { .. } | Event::RecordingStopped { .. } => {
                Some("starts or stops another recording")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return content(lsn, problem);
        }
        if let Event::JobSubmitted { worker, .. } = &record.event {
            self.jobs += 1;
            self.used.insert(*worker);
            if self.used.len() > WORKERS_LEN_MAX {
                return content(lsn, "brings one worker too many");
            }
        }
        self.results(&record)
    }

    /// A record from outside of the range.
    pub(super) fn context(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), Reason> {
        let record = self.record(lsn, value)?;
        let before = lsn < self.head.start;
        let belongs = match &record.event {
            Event::WorkerRegistered { worker, .. } => before && self.used.contains(worker),
            Event::WorkerFunctionsDeclared { worker, .. } => {
                before && self.registered.contains_key(worker)
            }
            Event::AttemptFinished { execution, outcome: Outcome::Completed { .. }, .. }
                if before =>
            {
                self.outside.sort();
                let flags = self.outside.get_mut(execution);
                flags.is_some_and(|flags| *flags & WANTED != 0)
            }
            Event::JobCancelled { .. }
            | Event::JobReprioritised { .. }
            | Event::JobRescheduled { .. }
            | Event::QueueCancelled { .. }
            | Event::AttemptAssigned { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptFinished { .. }
            | Event::JobsGaveUp { .. }
            | Event::AttemptLost { .. }
            | Event::ExecutionRetracted { .. } => !before,
            _ => false,
        };
        if !belongs {
            return content(lsn, "is not needed by any recorded job");
        }
        self.results(&record)
    }

    /// What holds for every record.
    fn record(&mut self, lsn: Lsn, value: &[u8]) -> Result<Record, Reason> {
        let decoded = codec::decode(lsn, value);
        let (record, _) = decoded.map_err(|source| Reason::Record { lsn, source })?;
        if record.prev >= lsn {
            return content(lsn, "links to a record that is not before it");
        }
        match &record.event {
            Event::JobSubmitted { action: ActionId(hash), object, .. } => {
                named(lsn, Kind::Action, *hash, object)?;
            }
            Event::WorkerRegistered { worker, descriptor, .. } => {
                named(lsn, Kind::Descriptor, worker.0, descriptor)?;
                let newest = self.registered.entry(*worker).or_insert(lsn);
                *newest = lsn.max(*newest);
                if self.registered.len() > WORKERS_LEN_MAX {
                    return content(lsn, "brings one worker too many");
                }
            }
            _ => {}
        }
        note(&mut self.chunks, &record);
        if self.chunks.len() as u64 > CHUNKS_LEN_MAX {
            return Err(Reason::TooManyChunks);
        }
        Ok(record)
    }

    /// Who gets results, and which there are.
    fn results(&mut self, record: &Record) -> Result<(), Reason> {
        match &record.event {
            Event::JobSubmitted { run: Run::Cached(execution), .. }
            | Event::JobRescheduled { run: Run::Cached(execution), .. } => {
                self.mark(*execution, WANTED);
            }
            Event::AttemptFinished { execution, outcome: Outcome::Completed { .. }, .. } => {
                self.mark(*execution, GIVEN);
            }
            _ => {}
        }
        if self.outside.len() > RESULTS_LEN_MAX {
            return content(record.lsn, "brings one result from before the recording too many");
        }
        Ok(())
    }

    fn mark(&mut self, execution: Lsn, flags: Flags) {
        let Head { start, stop, .. } = self.head;
        if !(start..=stop).contains(&execution) {
            self.outside.add(execution, flags);
            return;
        }
        let bits = if flags == WANTED { &mut self.wanted } else { &mut self.given };
        bits.set(execution.0 - start.0);
    }

    /// No record follows.
    pub(super) fn finish(mut self) -> Result<(Known, Content), Reason> {
        if let Some(worker) = self.used.iter().find(|used| !self.registered.contains_key(*used)) {
            return Err(Reason::Worker(*worker));
        }
        let within = self.wanted.first_beyond(&self.given);
        let within = within.map(|index| Lsn(self.head.start.0 + index));
        let outside = self.outside.sort().iter().find(|(_, flags)| *flags == WANTED);
        if let Some(execution) = within.or(outside.map(|(execution, _)| *execution)) {
            return Err(Reason::Result(execution));
        }
        let workers = self.registered.into_iter().collect();
        Ok((Known { jobs: self.jobs, workers }, Content::new(self.chunks)))
    }
}

fn content<T>(lsn: Lsn, problem: impl Into<String>) -> Result<T, Reason> {
    Err(Reason::Content { lsn, problem: problem.into() })
}

/// An object must be the one that its hash names; a descriptor must also be one.
fn named(lsn: Lsn, kind: Kind, hash: ContentHash, object: &ObjectRef) -> Result<(), Reason> {
    let actual = match object {
        ObjectRef::Chunk(chunk) => chunk.0,
        ObjectRef::Inline(blob) => ContentHash::of(&blob.0),
    };
    if actual != hash {
        return content(lsn, format!("has another {} than it says", kind.name()));
    }
    match object {
        ObjectRef::Inline(blob) if kind == Kind::Descriptor => descriptor(&blob.0)
            .or_else(|problem| content(lsn, format!("registers no worker: {problem}"))),
        _ => Ok(()),
    }
}

/// Fails, with why, unless the bytes are a descriptor that can be unpacked safely.
pub(super) fn descriptor(bytes: &bytes::Bytes) -> Result<(), String> {
    let object = Object::parse(bytes.clone()).map_err(|error| error.to_string())?;
    Kind::Descriptor.named(&object).map(drop).map_err(|error| error.to_string())
}
