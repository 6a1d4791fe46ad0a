//! What a record needs to be kept for it, and which chunks that is.

use std::collections::BTreeSet;

use super::pins::Pins;
use crate::chunks::{self, Store};
use crate::domain::{ChunkId, Event, Lsn, ObjectRef, Record};
use crate::eventlog::{self, LogReader};
use crate::views::Held;
use crate::wire::cb::Object;
use crate::wire::references::{self, Kind, Reference};

/// What a record needs to be kept for it.
pub(crate) enum Needed {
    Object(Kind, ObjectRef),
    Chunk(ChunkId),
    /// The attempts of an execution that a rescheduled job left behind, from their last record.
    Attempts(Lsn),
    /// The skeleton of an imported recording, and the chunks in its table.
    Skeleton(ChunkId),
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
fn of_attempt(event: &Event) -> Vec<Needed> {
    let Event::AttemptFinished { .. } = event else { return Vec::new() };
    let referred = references::of_event(event).into_iter().flatten();
    let needed = referred.map(|reference| match reference {
        Reference::Object(kind, object) => Needed::Object(kind, object.clone()),
        Reference::Chunk(chunk) => Needed::Chunk(chunk),
    });
    needed.collect()
}

/// Finds the chunks that something needs, and those that the objects among them name.
pub(crate) struct Names<'a> {
    log: &'a dyn LogReader,
    store: &'a Store,
    /// Objects that are chunks themselves are read once.
    read: BTreeSet<ChunkId>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(log: &'a dyn LogReader, store: &'a Store) -> Self {
        Self { log, store, read: BTreeSet::new() }
    }

    /// Tells `found` each chunk, and the record that needs it: `by`, or that of an attempt before
    /// it. Of a skeleton it tells the chunk alone. An object that is missing or damaged names
    /// nothing.
    pub(crate) fn of<E>(
        &mut self,
        needed: Needed,
        by: Lsn,
        found: &mut dyn FnMut(ChunkId, Lsn),
    ) -> Result<(), E>
    where
        E: From<eventlog::Error> + From<chunks::Error>,
    {
        match needed {
            Needed::Chunk(chunk) | Needed::Skeleton(chunk) => found(chunk, by),
            Needed::Object(kind, object) => self.of_object(kind, object, by, found)?,
            Needed::Attempts(last) => {
                let mut at = last;
                while let Some(record) = self.log.get(at)? {
                    at = record.prev;
                    for needed in of_attempt(&record.event) {
                        self.of::<E>(needed, record.lsn, found)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn of_object(
        &mut self,
        kind: Kind,
        object: ObjectRef,
        by: Lsn,
        found: &mut dyn FnMut(ChunkId, Lsn),
    ) -> Result<(), chunks::Error> {
        let bytes = match object {
            ObjectRef::Inline(blob) => blob.0,
            ObjectRef::Chunk(chunk) => {
                found(chunk, by);
                if !self.read.insert(chunk) {
                    return Ok(());
                }
                let Some(bytes) = self.store.load(&chunk)? else { return Ok(()) };
                bytes.into()
            }
        };
        if let Ok(object) = Object::parse(bytes) {
            kind.chunks(&object).into_iter().for_each(|chunk| found(chunk, by));
        }
        Ok(())
    }
}
