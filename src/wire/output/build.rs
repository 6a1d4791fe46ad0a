//! Writes build outputs, for workers.

use super::{LEVEL_ERROR, Log, Message, OutputValue};
use crate::domain::{ChunkId, ObjectId};
use crate::wire::cb::{ArrayWriter, Object, ObjectWriter};
use crate::wire::value::{Name, Value};

/// Gathers what a worker made and writes its build output.
#[derive(Clone, Debug, Default)]
pub struct OutputBuilder {
    values: Vec<OutputValue>,
    names: Vec<(Name, Value)>,
    messages: Vec<Message>,
    logs: Vec<Log>,
    meta: Vec<(Name, Value)>,
}

impl OutputBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value under an id of its own; a second one of that id replaces the first.
    pub fn value(&mut self, id: ObjectId, hash: ChunkId, size: u64) -> &mut Self {
        self.values.retain(|value| value.id != id);
        self.values.push(OutputValue { id, hash, size });
        self
    }

    /// Adds a value by name; its id follows from the name, which `Meta.Values` keeps.
    pub fn named_value(&mut self, name: &str, hash: ChunkId, size: u64) -> &mut Self {
        let id = ObjectId::of_name(name);
        let key = Name::from(id.to_string());
        self.names.retain(|(known, _)| *known != key);
        self.names.push((key, name.to_owned().into()));
        self.value(id, hash, size)
    }

    /// Adds a message for a person. Level [`LEVEL_ERROR`] makes the build a failed one.
    pub fn message(&mut self, level: &str, message: &str) -> &mut Self {
        self.messages.push(Message { level: level.to_owned(), message: message.to_owned() });
        self
    }

    /// Adds a message of level [`LEVEL_ERROR`].
    pub fn error(&mut self, message: &str) -> &mut Self {
        self.message(LEVEL_ERROR, message)
    }

    /// Adds a line of the worker's log.
    pub fn log(&mut self, level: &str, category: &str, message: &str) -> &mut Self {
        self.logs.push(Log {
            level: level.to_owned(),
            category: category.to_owned(),
            message: message.to_owned(),
        });
        self
    }

    /// Adds a field to `Meta`, or replaces it.
    pub fn meta(&mut self, name: impl Into<Name>, value: impl Into<Value>) -> &mut Self {
        let name = name.into();
        self.meta.retain(|(known, _)| *known != name);
        self.meta.push((name, value.into()));
        self
    }

    /// Says whether the result may answer later submissions; it may unless forbidden.
    pub fn cacheable(&mut self, cacheable: bool) -> &mut Self {
        self.meta("Cacheable", cacheable)
    }

    /// The build output object.
    pub fn build(&self) -> Object {
        let mut meta = self.meta.clone();
        if !self.names.is_empty() {
            meta.retain(|(known, _)| known != "Values");
            meta.push(("Values".into(), Value::Object(self.names.clone())));
        }
        Object::build(|output| {
            list(output, "Values", &self.values, |item, value| {
                item.item().object(|fields| {
                    fields.field("Id").object_id(value.id);
                    fields.field("RawHash").binary_attachment(value.hash.0);
                    fields.field("RawSize").u64(value.size);
                });
            });
            list(output, "Messages", &self.messages, |item, message| {
                item.item().object(|fields| {
                    fields.field("Level").str(&message.level);
                    fields.field("Message").str(&message.message);
                });
            });
            list(output, "Logs", &self.logs, |item, log| {
                item.item().object(|fields| {
                    fields.field("Level").str(&log.level);
                    fields.field("Category").str(&log.category);
                    fields.field("Message").str(&log.message);
                });
            });
            if !meta.is_empty() {
                Value::Object(meta).write(output.field("Meta"));
            }
        })
    }
}

/// Writes a list unless it is empty.
fn list<T>(
    output: &mut ObjectWriter<'_>,
    name: &str,
    items: &[T],
    write: impl Fn(&mut ArrayWriter<'_>, &T),
) {
    if !items.is_empty() {
        output.field(name).array(|array| items.iter().for_each(|item| write(array, item)));
    }
}
