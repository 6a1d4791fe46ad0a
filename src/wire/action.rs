//! Action objects: what to run, on what.
//!
//! An action names a function and its inputs. Its id is the hash of its bytes, so an action that
//! came as compact binary is kept as it came; one that came as JSON is written in one fixed order,
//! so that the order of its keys does not matter.

use std::borrow::Cow;

use super::cb::{Field, Object};
use super::schema::{
    Expected, SchemaError, chunk, guid, known_fields, object, optional, required, some_text,
    unsigned,
};
use super::value::{Name, Value};
use crate::domain::{ActionId, ChunkId, Function, FunctionKey, Guid};

/// The fields of an action, in the order in which JSON is written.
const FIELDS: [&str; 5] =
    ["Function", "FunctionVersion", "BuildSystemVersion", "Constants", "Inputs"];
const INPUT_FIELDS: [&str; 2] = ["RawHash", "RawSize"];

/// An action that was read: its object and what the service needs of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    object: Object,
    function: String,
    function_version: Guid,
    build_system: Guid,
    inputs: Vec<Input>,
}

/// One input of an action.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Input {
    pub name: String,
    /// Hash of the uncompressed content.
    pub hash: ChunkId,
    /// Length of the uncompressed content, in bytes.
    pub size: u64,
}

impl Action {
    /// Reads an action object. Fields that it doesn't know are kept and mean nothing.
    pub fn parse(object: Object) -> Result<Self, SchemaError> {
        let root = object.root();
        let function = some_text(required(root, "Function")?, "Function")?.to_owned();
        let function_version = guid(required(root, "FunctionVersion")?, "FunctionVersion")?;
        let build_system = guid(required(root, "BuildSystemVersion")?, "BuildSystemVersion")?;
        if let Some(constants) = optional(root, "Constants") {
            self::object(constants, "Constants")?;
        }
        let inputs = match optional(root, "Inputs") {
            None => Vec::new(),
            Some(inputs) => self::object(inputs, "Inputs")?
                .children()
                .map(|input| read_input(input).map_err(|error| error.within("Inputs")))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { object, function, function_version, build_system, inputs })
    }

    /// Reads an action spelled in JSON.
    pub fn from_json(value: &Value) -> Result<Self, SchemaError> {
        Self::parse(object_of_json(value)?)
    }

    /// Its identity.
    pub fn id(&self) -> ActionId {
        ActionId(self.object.hash())
    }

    /// The object, byte for byte as it came.
    pub const fn object(&self) -> &Object {
        &self.object
    }

    pub fn into_object(self) -> Object {
        self.object
    }

    /// Name of the function to run.
    pub fn function(&self) -> &str {
        &self.function
    }

    pub const fn function_version(&self) -> Guid {
        self.function_version
    }

    pub const fn build_system(&self) -> Guid {
        self.build_system
    }

    /// What a worker must offer to run it.
    pub fn key(&self) -> FunctionKey {
        FunctionKey {
            function: Function { name: self.function.clone(), version: self.function_version },
            build_system: self.build_system,
        }
    }

    /// The object of constants, when there is one.
    pub fn constants(&self) -> Option<Field<'_>> {
        optional(self.object.root(), "Constants")
    }

    /// The inputs, in order; the names differ, the hashes may not.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.name == name)
    }

    /// Every chunk that the inputs refer to, in order, each once.
    pub fn chunks(&self) -> Vec<ChunkId> {
        let mut seen = std::collections::BTreeSet::new();
        self.inputs.iter().map(|input| input.hash).filter(|hash| seen.insert(*hash)).collect()
    }
}

fn read_input(field: Field<'_>) -> Result<Input, SchemaError> {
    let Some(name) = field.name() else {
        let name = String::from_utf8_lossy(field.name_bytes().unwrap_or_default()).into_owned();
        return Err(SchemaError::new(name, "has a name that is not UTF-8"));
    };
    let read = || {
        let input = object(field, "")?;
        let hash = ChunkId(chunk(required(input, "RawHash")?, "RawHash")?);
        let size = unsigned(required(input, "RawSize")?, "RawSize")?;
        Ok(Input { name: name.to_owned(), hash, size })
    };
    read().map_err(|error: SchemaError| error.within(name))
}

/// The object of an action spelled in JSON: the fields in their order, keys sorted below them.
fn object_of_json(value: &Value) -> Result<Object, SchemaError> {
    let mut fields: Vec<(Name, Value)> = Vec::with_capacity(FIELDS.len());
    for (name, found) in known_fields(value, "an action", &FIELDS)? {
        let typed = match name {
            "Function" => Expected::Text.typed(found, name)?,
            "FunctionVersion" | "BuildSystemVersion" => Expected::Guid.typed(found, name)?,
            "Inputs" if !found.is_null() => inputs_of_json(found)?,
            _ => sorted(found),
        };
        fields.push((Cow::Borrowed(name), typed));
    }
    Ok(Value::Object(fields).to_object())
}

fn inputs_of_json(value: &Value) -> Result<Value, SchemaError> {
    let Some(inputs) = value.as_object() else {
        return Err(SchemaError::new("Inputs", format!("is {}, not an object", value.kind_name())));
    };
    let mut typed = Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        let input = input_of_json(input).map_err(|error| error.within(name).within("Inputs"))?;
        typed.push((name.clone(), input));
    }
    typed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Value::Object(typed))
}

fn input_of_json(value: &Value) -> Result<Value, SchemaError> {
    let mut fields: Vec<(Name, Value)> = Vec::with_capacity(INPUT_FIELDS.len());
    for (name, found) in known_fields(value, "an input", &INPUT_FIELDS)? {
        let expected = if name == "RawHash" { Expected::Chunk } else { Expected::Unsigned };
        fields.push((Cow::Borrowed(name), expected.typed(found, name)?));
    }
    Ok(Value::Object(fields))
}

/// The same with the keys of every object in byte order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(fields)
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// What a submission's body holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Submission {
    One(Action),
    /// A batch. An item that is no action doesn't spoil the others.
    Batch(Vec<Result<Action, SchemaError>>),
}

impl Submission {
    /// Reads one action, or `{actions:[…]}`.
    pub fn parse(object: Object) -> Result<Self, SchemaError> {
        let Some(actions) = batch_of(object.root())? else {
            return Action::parse(object).map(Self::One);
        };
        let read = |item: Field<'_>| match Object::from_field(item) {
            Some(object) => Action::parse(object),
            None => Err(SchemaError::new("", format!("is {}, not an object", item.kind().name()))),
        };
        let mut items = Vec::with_capacity(actions.count());
        let all = actions.children().enumerate();
        items.extend(all.map(|(index, item)| read(item).map_err(|error| nth(error, index))));
        Ok(Self::Batch(items))
    }

    /// The same in JSON.
    pub fn from_json(value: &Value) -> Result<Self, SchemaError> {
        let Some(actions) = value.get("actions") else {
            return Action::from_json(value).map(Self::One);
        };
        known_fields(value, "a batch", &["actions"])?;
        let Some(items) = actions.as_array() else {
            let problem = format!("is {}, not an array", actions.kind_name());
            return Err(SchemaError::new("actions", problem));
        };
        let items = items.iter().enumerate();
        Ok(Self::Batch(
            items.map(|(index, item)| Action::from_json(item).map_err(|e| nth(e, index))).collect(),
        ))
    }
}

/// Names the item of a batch in which the error is.
fn nth(error: SchemaError, index: usize) -> SchemaError {
    error.at(index).within("actions")
}

fn batch_of(root: Field<'_>) -> Result<Option<Field<'_>>, SchemaError> {
    match root.get("actions") {
        None => Ok(None),
        Some(field) if field.is_array() => Ok(Some(field)),
        Some(field) => {
            let problem = format!("is {}, not an array", field.kind().name());
            Err(SchemaError::new("actions", problem))
        }
    }
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
