//! Which chunks are referred to by what is still held.
//!
//! The log is read once from its beginning, since only records know which chunks an object names.
//! What is submitted meanwhile is safe without a mark: its chunks are wanted after the collection
//! began, and the store keeps those.

use std::collections::BTreeSet;
use std::io::Read as _;

use super::{Failed, Round};
use crate::chunks;
use crate::clock::monotonic;
use crate::domain::{ChunkId, Event, Lsn, ObjectRef, Outcome, Record, Tail};
use crate::views::Published;
use crate::wire::action::Action;
use crate::wire::cb::Object;
use crate::wire::descriptor::Descriptor;
use crate::wire::output::Output;

/// Records read between two looks at the views.
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

/// What kind of object it is, which says where it names chunks.
#[derive(Clone, Copy)]
enum Kind {
    Action,
    Descriptor,
    Output,
}

impl Kind {
    /// The chunks an object names: where its schema says, and by references anywhere in it.
    fn chunks(self, object: &Object) -> Vec<ChunkId> {
        let named = match self {
            Self::Action => Action::parse(object.clone()).map(|action| action.chunks()),
            Self::Descriptor => Descriptor::parse(object.clone()).map(|worker| worker.chunks()),
            Self::Output => Output::parse(object.clone()).map(|output| output.chunks()),
        };
        let referred = object.attachments().into_iter().map(|found| ChunkId(found.hash()));
        // It was checked when it came. What can't be read now can't be run or shown either.
        named.into_iter().flatten().chain(referred).collect()
    }
}

/// What a record needs to be kept for it.
enum Needed {
    Object(Kind, ObjectRef),
    Chunk(ChunkId),
    /// The attempts of an execution that a rescheduled job left behind, from their last record.
    Attempts(Lsn),
}

impl Round {
    /// Everything that unretired jobs and registered workers refer to.
    pub(super) fn mark(&self) -> Result<Marks, Failed> {
        let mut marks = Marks::default();
        // Objects that are chunks themselves are read once.
        let mut read = BTreeSet::new();
        let Some(log) = self.handle.log() else { return Ok(marks) };
        let last = self.handle.durable();
        let mut next = log.first();
        while next <= last {
            let began = monotonic();
            let records = log.scan(next, last).take(RECORDS_LEN_MAX);
            let records: Vec<Record> = records.collect::<Result<_, _>>()?;
            let Some(newest) = records.last() else { break };
            next = newest.lsn.next();
            let needed: Vec<Needed> = self.handle.read(|published| {
                records.into_iter().flat_map(|record| needed(published, record)).collect()
            });
            for needed in needed {
                match needed {
                    Needed::Chunk(chunk) => marks.add(chunk),
                    Needed::Object(kind, object) => {
                        self.mark_object(&mut marks, &mut read, kind, object)?;
                    }
                    Needed::Attempts(last) => self.mark_attempts(&mut marks, &mut read, last)?,
                }
            }
            self.rest(began)?;
        }
        marks.sort();
        Ok(marks)
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
                    Needed::Attempts(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// What one record needs, while what it is about is still held.
fn needed(published: &Published, record: Record) -> Vec<Needed> {
    let views = &published.views;
    match record.event {
        Event::JobSubmitted { object, .. } if views.job_state(record.lsn).is_some() => {
            vec![Needed::Object(Kind::Action, object)]
        }
        Event::JobRescheduled { job, former, .. } if views.job_state(job).is_some() => {
            vec![Needed::Attempts(former)]
        }
        Event::WorkerRegistered { worker, descriptor, .. }
            if views.descriptor_at(worker) == Some(record.lsn) =>
        {
            vec![Needed::Object(Kind::Descriptor, descriptor)]
        }
        Event::AttemptFinished { execution, .. } if views.execution(execution).is_some() => {
            of_attempt(&record.event)
        }
        _ => Vec::new(),
    }
}

fn of_attempt(event: &Event) -> Vec<Needed> {
    let Event::AttemptFinished { outcome, .. } = event else { return Vec::new() };
    let (output, stderr) = match outcome {
        Outcome::Completed { output, stderr, .. } => (Some(output), stderr),
        Outcome::Failed(failure) => (None, &failure.stderr),
    };
    let stderr = match stderr {
        Some(Tail::Chunk { chunk, .. }) => Some(Needed::Chunk(*chunk)),
        Some(Tail::Inline(_)) | None => None,
    };
    let output = output.map(|output| Needed::Object(Kind::Output, output.clone()));
    output.into_iter().chain(stderr).collect()
}
