//! Which chunks a record and the objects in it refer to.

use super::action::Action;
use super::cb::Object;
use super::descriptor::Descriptor;
use super::output::Output;
use super::schema::SchemaError;
use crate::domain::{ChunkId, Event, ObjectRef, Outcome, Tail};

/// What kind of object it is, which says where it names chunks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Action,
    Descriptor,
    Output,
}

impl Kind {
    /// The chunks an object names: where its schema says, and by references anywhere in it. What
    /// doesn't follow its schema names those of the second sort.
    pub fn chunks(self, object: &Object) -> Vec<ChunkId> {
        // It was checked when it came. What can't be read now can't be run or shown either.
        let named = self.named(object).unwrap_or_default();
        let referred = object.attachments().into_iter().map(|found| ChunkId(found.hash()));
        named.into_iter().chain(referred).collect()
    }

    /// Those of the first sort. Fails when the object doesn't follow its schema.
    pub fn named(self, object: &Object) -> Result<Vec<ChunkId>, SchemaError> {
        let object = object.clone();
        match self {
            Self::Action => Action::parse(object).map(|action| action.chunks()),
            Self::Descriptor => Descriptor::parse(object).map(|worker| worker.chunks()),
            Self::Output => Output::parse(object).map(|output| output.chunks()),
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Descriptor => "descriptor",
            Self::Output => "output",
        }
    }
}

/// What a record refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reference<'a> {
    /// An object, here or in a chunk, and all that it names in turn.
    Object(Kind, &'a ObjectRef),
    /// Bytes that refer to nothing.
    Chunk(ChunkId),
}

/// What jobs and workers need by this event: actions, descriptors, outputs, the ends of stderr.
pub fn of_event(event: &Event) -> [Option<Reference<'_>>; 2] {
    let object = |kind, object| Some(Reference::Object(kind, object));
    match event {
        Event::JobSubmitted { object: action, .. } => [object(Kind::Action, action), None],
        Event::WorkerRegistered { descriptor, .. } => [object(Kind::Descriptor, descriptor), None],
        Event::AttemptFinished { outcome, .. } => {
            let (output, stderr) = match outcome {
                Outcome::Completed { output, stderr, .. } => (Some(output), stderr),
                Outcome::Failed(failure) => (None, &failure.stderr),
            };
            let stderr = match stderr {
                Some(Tail::Chunk { chunk, .. }) => Some(Reference::Chunk(*chunk)),
                Some(Tail::Inline(_)) | None => None,
            };
            [output.and_then(|output| object(Kind::Output, output)), stderr]
        }
        _ => [None, None],
    }
}
