//! Which chunks are referred to by what is still held.
//!
//! The log is read once from its beginning, since only records know which chunks an object names, and
//! the ranges of recordings once more before that, since they refer to what came before them. All of
//! it is judged by what was held at one moment: else a result could be let go of before its record is
//! read, and a recording that began to refer to it meanwhile would lose it. What is submitted later is
//! safe without a mark: its chunks are wanted after the collection began, and the store keeps those.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::ops::RangeInclusive;

use super::pins::Pins;
use super::{Failed, Round};
use crate::chunks;
use crate::clock::monotonic;
use crate::domain::{ChunkId, Event, Lsn, ObjectRef, Record};
use crate::replay::archive;
use crate::replay::source::{self, Imported};
use crate::views::Held;
use crate::wire::cb::Object;
use crate::wire::references::{self, Kind, Reference};

/// Records read between two rests.
const RECORDS_LEN_MAX: usize = 2_048;

/// Chunks, sorted.
#[derive(Debug, Default)]
pub(super) struct Marks {
    chunks: Vec<ChunkId>,
    sorted: usize,
}

impl Marks {
    fn add(&mut self, chunk: ChunkId) {
        self.chunks.push(chunk);
        // Many records name the same chunks; without this the list would grow with the log.
        if self.chunks.len() >= 2 * self.sorted.max(RECORDS_LEN_MAX) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.chunks.sort_unstable();
        self.chunks.dedup();
        self.sorted = self.chunks.len();
    }

    /// Whether a chunk is referred to. Only after the last one was added.
    pub(super) fn contains(&self, chunk: &ChunkId) -> bool {
        self.chunks.binary_search(chunk).is_ok()
    }
}

/// What a record needs to be kept for it.
pub(crate) enum Needed {
    Object(Kind, ObjectRef),
    Chunk(ChunkId),
    /// The attempts of an execution that a rescheduled job left behind, from their last record.
    Attempts(Lsn),
    /// The chunks of an imported recording, by its skeleton.
    Skeleton(ChunkId),
}

impl Round {
    /// Everything that unretired jobs, registered workers, recordings and running replays refer to.
    pub(super) fn mark(&self) -> Result<Marks, Failed> {
        let mut marks = Marks::default();
        // Objects that are chunks themselves are read once.
        let mut read = BTreeSet::new();
        let Some(log) = self.handle.log() else { return Ok(marks) };
        let held = self.handle.read(|published| published.views.held());
        let pins = self.pins(&held)?;
        self.each_record(log.first()..=held.lsn(), |record| {
            for needed in needed(&held, &pins, record) {
                match needed {
                    Needed::Chunk(chunk) => marks.add(chunk),
                    Needed::Object(kind, object) => {
                        self.mark_object(&mut marks, &mut read, kind, object)?;
                    }
                    Needed::Attempts(last) => self.mark_attempts(&mut marks, &mut read, last)?,
                    Needed::Skeleton(skeleton) => self.mark_imported(&mut marks, skeleton)?,
                }
            }
            Ok(())
        })?;
        marks.sort();
        Ok(marks)
    }

    fn pins(&self, held: &Held) -> Result<Pins, Failed> {
        let mut pins = Pins::new(held);
        for span in pins.spans(held.lsn()) {
            self.each_record(span, |record| {
                pins.look(&record);
                Ok(())
            })?;
        }
        Ok(pins)
    }

    /// Reads a part of the log in order, and leaves the machine to others in between.
    fn each_record(
        &self,
        range: RangeInclusive<Lsn>,
        mut look: impl FnMut(Record) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Some(log) = self.handle.log() else { return Ok(()) };
        let (mut next, last) = range.into_inner();
        while next <= last {
            let began = monotonic();
            let from = next;
            for record in log.scan(next, last).take(RECORDS_LEN_MAX) {
                let record = record?;
                next = record.lsn.next();
                look(record)?;
            }
            if next == from {
                break;
            }
            self.rest(began)?;
        }
        Ok(())
    }

    fn mark_object(
        &self,
        marks: &mut Marks,
        read: &mut BTreeSet<ChunkId>,
        kind: Kind,
        object: ObjectRef,
    ) -> Result<(), Failed> {
        let bytes = match object {
            ObjectRef::Inline(blob) => blob.0,
            ObjectRef::Chunk(chunk) => {
                marks.add(chunk);
                if !read.insert(chunk) {
                    return Ok(());
                }
                match self.load(&chunk)? {
                    Some(bytes) => bytes.into(),
                    None => return Ok(()),
                }
            }
        };
        if let Ok(object) = Object::parse(bytes) {
            kind.chunks(&object).into_iter().for_each(|chunk| marks.add(chunk));
        }
        Ok(())
    }

    fn mark_imported(&self, marks: &mut Marks, skeleton: ChunkId) -> Result<(), Failed> {
        marks.add(skeleton);
        let mut mark = || {
            let imported = Imported::open(self.store.clone(), &skeleton)?;
            for entry in imported.skeleton().chunks() {
                marks.add(entry?.chunk);
            }
            Ok(())
        };
        match mark() {
            // Missing or damaged, which no mark can mend: nobody can say what it names.
            Err(_) if !self.store.contains(&skeleton) => Ok(()),
            Err(source::Error::Archive(archive::Error::Refused { .. })) => Ok(()),
            marked => Ok(marked?),
        }
    }

    /// A held chunk; none when it is missing or damaged, which no mark can mend.
    fn load(&self, chunk: &ChunkId) -> Result<Option<Vec<u8>>, Failed> {
        let mut bytes = Vec::new();
        let read = self.store.read(chunk).and_then(|mut reader| {
            let read = reader.read_to_end(&mut bytes);
            read.map(drop).map_err(|source| {
                source.downcast::<chunks::Error>().unwrap_or_else(|source| chunks::Error::Io {
                    operation: "read a chunk",
                    source,
                })
            })
        });
        match read {
            Ok(()) => Ok(Some(bytes)),
            Err(chunks::Error::Missing(_) | chunks::Error::Damaged { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    fn mark_attempts(
        &self,
        marks: &mut Marks,
        read: &mut BTreeSet<ChunkId>,
        last: Lsn,
    ) -> Result<(), Failed> {
        let Some(log) = self.handle.log() else { return Ok(()) };
        let mut at = last;
        while let Some(record) = log.get(at)? {
            at = record.prev;
            for needed in of_attempt(&record.event) {
                match needed {
                    Needed::Chunk(chunk) => marks.add(chunk),
                    Needed::Object(kind, object) => self.mark_object(marks, read, kind, object)?,
                    Needed::Attempts(_) | Needed::Skeleton(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// What one record needs, while somebody needs it.
pub(crate) fn needed(held: &Held, pins: &Pins, record: Record) -> Vec<Needed> {
    let lsn = record.lsn;
    match record.event {
        Event::JobSubmitted { object, .. } if held.has_job(lsn) || pins.needs_job(lsn) => {
            vec![Needed::Object(Kind::Action, object)]
        }
        Event::JobRescheduled { job, former, .. } if held.has_job(job) => {
            vec![Needed::Attempts(former)]
        }
        Event::WorkerRegistered { worker, descriptor, .. }
            if held.has_registration(lsn) || pins.is_recorded(lsn) || pins.needs_worker(worker) =>
        {
            vec![Needed::Object(Kind::Descriptor, descriptor)]
        }
        Event::AttemptFinished { execution, .. }
            if held.has_execution(execution)
                || pins.is_recorded(lsn)
                || pins.needs_execution(execution) =>
        {
            of_attempt(&record.event)
        }
        Event::ReplayStarted { plan: ObjectRef::Chunk(plan), .. }
            if held.replays().iter().any(|replay| replay.replay == lsn) =>
        {
            vec![Needed::Chunk(plan)]
        }
        Event::RecordingImported { archive, .. } if held.recording(lsn).is_some() => {
            vec![Needed::Skeleton(archive.skeleton)]
        }
        _ => Vec::new(),
    }
}

/// What one record needs, whoever it is about.
pub(crate) fn of_attempt(event: &Event) -> Vec<Needed> {
    let Event::AttemptFinished { .. } = event else { return Vec::new() };
    let referred = references::of_event(event).into_iter().flatten();
    let needed = referred.map(|reference| match reference {
        Reference::Object(kind, object) => Needed::Object(kind, object.clone()),
        Reference::Chunk(chunk) => Needed::Chunk(chunk),
    });
    needed.collect()
}
