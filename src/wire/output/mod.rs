//! Build output objects: what a worker says it made.

mod build;

#[cfg(test)]
mod tests;

pub use build::OutputBuilder;

use std::collections::BTreeSet;

use super::cb::{Field, Object};
use super::schema::{
    SchemaError, chunk, each, object, object_id, optional, required, text, unsigned,
};
use crate::domain::{ChunkId, ObjectId};

/// The level of messages and logs that make a build a failed one.
pub const LEVEL_ERROR: &str = "Error";

/// A build output that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    object: Object,
    values: Vec<OutputValue>,
    messages: Vec<Message>,
    logs: Vec<Log>,
}

/// A value that the worker made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OutputValue {
    pub id: ObjectId,
    /// Hash of the uncompressed content.
    pub hash: ChunkId,
    /// Length of the uncompressed content, in bytes.
    pub size: u64,
}

/// Something a person should read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// `Error`, `Warning`, `Display`; other words are kept.
    pub level: String,
    pub message: String,
}

/// A line of the worker's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    pub level: String,
    pub category: String,
    pub message: String,
}

impl Output {
    /// Reads a build output. Absent lists are empty ones.
    pub fn parse(object: Object) -> Result<Self, SchemaError> {
        let root = object.root();
        let values = each(root, "Values", read_value)?;
        let mut ids = BTreeSet::new();
        if let Some(index) = values.iter().position(|value| !ids.insert(value.id)) {
            return Err(SchemaError::new("Id", "is there twice").at(index).within("Values"));
        }
        let messages = each(root, "Messages", |item| {
            Ok(Message { level: read_text(item, "Level")?, message: read_text(item, "Message")? })
        })?;
        let logs = each(root, "Logs", |item| {
            Ok(Log {
                level: read_text(item, "Level")?,
                category: read_text(item, "Category")?,
                message: read_text(item, "Message")?,
            })
        })?;
        if let Some(meta) = optional(root, "Meta") {
            self::object(meta, "Meta")?;
        }
        Ok(Self { object, values, messages, logs })
    }

    /// The object, byte for byte as the worker wrote it.
    pub const fn object(&self) -> &Object {
        &self.object
    }

    pub fn into_object(self) -> Object {
        self.object
    }

    /// The values, in order; their ids differ.
    pub fn values(&self) -> &[OutputValue] {
        &self.values
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Whether a message or a log says that the build failed. The process ran all the same.
    pub fn has_errors(&self) -> bool {
        let mut levels = self.messages.iter().map(|message| &message.level);
        let mut log_levels = self.logs.iter().map(|log| &log.level);
        levels.any(|level| is_error(level)) || log_levels.any(|level| is_error(level))
    }

    /// The worker's own remarks.
    pub fn meta(&self) -> Option<Field<'_>> {
        optional(self.object.root(), "Meta")
    }

    /// Whether the result may answer later submissions of the same action: unless the worker
    /// forbade it.
    pub fn is_cacheable(&self) -> bool {
        self.meta().and_then(|meta| meta.get("Cacheable")).and_then(Field::as_bool) != Some(false)
    }

    /// What the worker calls the value of that id.
    pub fn value_name(&self, id: ObjectId) -> Option<&str> {
        self.meta()?.get("Values")?.get(&id.to_string())?.as_str()
    }

    /// The value that the worker gave this name.
    pub fn value_named(&self, name: &str) -> Option<&OutputValue> {
        self.values.iter().find(|value| self.value_name(value.id) == Some(name))
    }

    /// Every chunk that the values refer to, in order, each once.
    pub fn chunks(&self) -> Vec<ChunkId> {
        let mut seen = BTreeSet::new();
        self.values.iter().map(|value| value.hash).filter(|hash| seen.insert(*hash)).collect()
    }
}

fn is_error(level: &str) -> bool {
    level.eq_ignore_ascii_case(LEVEL_ERROR)
}

fn read_value(item: Field<'_>) -> Result<OutputValue, SchemaError> {
    let item = object(item, "")?;
    Ok(OutputValue {
        id: object_id(required(item, "Id")?, "Id")?,
        hash: ChunkId(chunk(required(item, "RawHash")?, "RawHash")?),
        size: unsigned(required(item, "RawSize")?, "RawSize")?,
    })
}

fn read_text(item: Field<'_>, name: &str) -> Result<String, SchemaError> {
    let item = object(item, "")?;
    Ok(text(required(item, name)?, name)?.to_owned())
}
