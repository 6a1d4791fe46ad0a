//! Worker descriptors: an executable, the files it needs, and the functions it offers.
//!
//! A worker's id is the hash of its descriptor's bytes. A descriptor in JSON is written in the order
//! of fields that Unreal's client uses, so that both spellings have one id.

mod paths;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;

use self::paths::Paths;
use super::cb::{Field, Object};
use super::schema::{
    Expected, SchemaError, chunk, each, guid, known_fields, optional, required, shown, signed,
    some_text, text, unsigned,
};
use super::value::{Name, Value};
use crate::domain::{ChunkId, Function, Guid, Host, NewWorker, ObjectRef, WorkerId};

/// The fields of a descriptor, in the order in which JSON is written.
const FIELDS: [&str; 11] = [
    "name",
    "path",
    "host",
    "buildsystem_version",
    "timeout",
    "cores",
    "environment",
    "executables",
    "files",
    "dirs",
    "functions",
];

/// A worker descriptor that was read and found safe to unpack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    object: Object,
    name: String,
    path: String,
    host: Host,
    build_system: Guid,
    timeout: Option<u64>,
    cores: u64,
    environment: Vec<(String, String)>,
    executables: Vec<WorkerFile>,
    files: Vec<WorkerFile>,
    dirs: Vec<String>,
    functions: Vec<Function>,
}

/// A file of a worker.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WorkerFile {
    /// Where it goes, relative to the worker's folder; checked to stay inside of it.
    pub name: String,
    pub hash: ChunkId,
    /// Length of the content, in bytes.
    pub size: u64,
}

impl Descriptor {
    /// Reads a descriptor. Fields that it doesn't know are kept and mean nothing.
    pub fn parse(object: Object) -> Result<Self, SchemaError> {
        let root = object.root();
        let name = some_text(required(root, "name")?, "name")?.to_owned();
        let path = some_text(required(root, "path")?, "path")?.to_owned();
        let host = some_text(required(root, "host")?, "host")?.to_owned();
        let build_system = guid(required(root, "buildsystem_version")?, "buildsystem_version")?;
        let timeout = match optional(root, "timeout") {
            None => None,
            Some(field) => u64::try_from(signed(field, "timeout")?).ok().filter(|s| *s > 0),
        };
        let cores = match optional(root, "cores") {
            None => 1,
            Some(field) => unsigned(field, "cores")?.max(1),
        };
        let environment = each(root, "environment", read_variable)?;
        let executables = each(root, "executables", read_file)?;
        let files = each(root, "files", read_file)?;
        let dirs = each(root, "dirs", |item| Ok(some_text(item, "")?.to_owned()))?;
        let functions = each(root, "functions", read_function)?;
        let host = Host::from(host);
        let read = Self {
            object,
            name,
            path,
            host,
            build_system,
            timeout,
            cores,
            environment,
            executables,
            files,
            dirs,
            functions,
        };
        read.check_paths()?;
        read.check_functions()?;
        Ok(read)
    }

    /// Reads a descriptor spelled in JSON.
    pub fn from_json(value: &Value) -> Result<Self, SchemaError> {
        Self::parse(object_of_json(value)?)
    }

    fn check_paths(&self) -> Result<(), SchemaError> {
        let mut paths = Paths::default();
        for (list, files) in [("executables", &self.executables), ("files", &self.files)] {
            for (index, file) in files.iter().enumerate() {
                let field = || format!("{list}[{index}].name");
                paths.add_file(&file.name).map_err(|p| SchemaError::new(field(), p))?;
            }
        }
        for (index, dir) in self.dirs.iter().enumerate() {
            paths.add_dir(dir).map_err(|p| SchemaError::new(format!("dirs[{index}]"), p))?;
        }
        paths::check(&self.path).map_err(|problem| SchemaError::new("path", problem))?;
        if !self.executables.iter().any(|file| file.name == self.path) {
            let problem = format!("{} is not among the executables", shown(&self.path));
            return Err(SchemaError::new("path", problem));
        }
        Ok(())
    }

    fn check_functions(&self) -> Result<(), SchemaError> {
        let mut seen = BTreeSet::new();
        match self.functions.iter().position(|function| !seen.insert(function)) {
            None => Ok(()),
            Some(index) => {
                let field = format!("functions[{index}]");
                Err(SchemaError::new(field, "is there twice, name and version"))
            }
        }
    }

    /// Its identity.
    pub fn id(&self) -> WorkerId {
        WorkerId(self.object.hash())
    }

    /// The object, byte for byte as it came.
    pub const fn object(&self) -> &Object {
        &self.object
    }

    pub fn into_object(self) -> Object {
        self.object
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The executable to start, one of [`Self::executables`].
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The platform it runs on.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    pub const fn build_system(&self) -> Guid {
        self.build_system
    }

    /// How long an attempt may take, in seconds; `None` when the worker sets no limit.
    pub const fn timeout_seconds(&self) -> Option<u64> {
        self.timeout
    }

    /// How many cores an attempt uses, at least one.
    pub const fn cores(&self) -> u64 {
        self.cores
    }

    /// Environment variables, in order: name and value.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Files to unpack and mark executable.
    pub fn executables(&self) -> &[WorkerFile] {
        &self.executables
    }

    /// Files to unpack.
    pub fn files(&self) -> &[WorkerFile] {
        &self.files
    }

    /// Folders that must exist.
    pub fn dirs(&self) -> &[String] {
        &self.dirs
    }

    /// What it offers; no two are equal.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Every chunk it is made of, in order, each once.
    pub fn chunks(&self) -> Vec<ChunkId> {
        let mut seen = BTreeSet::new();
        let all = self.executables.iter().chain(&self.files).map(|file| file.hash);
        all.filter(|hash| seen.insert(*hash)).collect()
    }

    /// What the rules need of it, for a descriptor that is held at `descriptor`.
    pub fn registration(&self, descriptor: ObjectRef) -> NewWorker {
        NewWorker {
            worker: self.id(),
            descriptor,
            name: self.name.clone(),
            host: self.host.clone(),
            build_system: self.build_system,
            functions: self.functions.clone(),
        }
    }
}

/// `KEY=VALUE`.
fn read_variable(item: Field<'_>) -> Result<(String, String), SchemaError> {
    let text = text(item, "")?;
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(SchemaError::new("", format!("is {}, not KEY=VALUE", shown(text)))),
    }
}

fn read_file(item: Field<'_>) -> Result<WorkerFile, SchemaError> {
    let item = super::schema::object(item, "")?;
    Ok(WorkerFile {
        name: text(required(item, "name")?, "name")?.to_owned(),
        hash: ChunkId(chunk(required(item, "hash")?, "hash")?),
        size: unsigned(required(item, "size")?, "size")?,
    })
}

fn read_function(item: Field<'_>) -> Result<Function, SchemaError> {
    let item = super::schema::object(item, "")?;
    Ok(Function {
        name: some_text(required(item, "name")?, "name")?.to_owned(),
        version: guid(required(item, "version")?, "version")?,
    })
}

/// The object of a descriptor spelled in JSON.
fn object_of_json(value: &Value) -> Result<Object, SchemaError> {
    let mut fields: Vec<(Name, Value)> = Vec::with_capacity(FIELDS.len());
    for (name, found) in known_fields(value, "a worker descriptor", &FIELDS)? {
        let typed = match name {
            // Null says the same as nothing here, and is kept.
            _ if found.is_null() => Value::Null,
            "buildsystem_version" => Expected::Guid.typed(found, name)?,
            "timeout" => Expected::Signed.typed(found, name)?,
            "cores" => Expected::Unsigned.typed(found, name)?,
            "environment" | "dirs" => list(found, name, |item| Expected::Text.typed(item, ""))?,
            "executables" | "files" => list(found, name, |item| {
                record(
                    item,
                    "a file",
                    &["name", "hash", "size"],
                    &[Expected::Text, Expected::Chunk, Expected::Unsigned],
                )
            })?,
            "functions" => list(found, name, |item| {
                record(item, "a function", &["name", "version"], &[Expected::Text, Expected::Guid])
            })?,
            _ => Expected::Text.typed(found, name)?,
        };
        fields.push((Cow::Borrowed(name), typed));
    }
    Ok(Value::Object(fields).to_object())
}

fn list(
    value: &Value,
    name: &str,
    typed: impl Fn(&Value) -> Result<Value, SchemaError>,
) -> Result<Value, SchemaError> {
    let Some(items) = value.as_array() else {
        return Err(SchemaError::new(name, format!("is {}, not an array", value.kind_name())));
    };
    let items = items.iter().enumerate();
    let typed = items.map(|(index, item)| typed(item).map_err(|e| e.at(index).within(name)));
    typed.collect::<Result<_, _>>().map(Value::Array)
}

fn record(
    value: &Value,
    what: &str,
    names: &[&'static str],
    expected: &[Expected],
) -> Result<Value, SchemaError> {
    let mut fields: Vec<(Name, Value)> = Vec::with_capacity(names.len());
    for (name, found) in known_fields(value, what, names)? {
        let expected = names.iter().zip(expected).find(|(known, _)| **known == name);
        if let Some((_, expected)) = expected {
            fields.push((Cow::Borrowed(name), expected.typed(found, name)?));
        }
    }
    Ok(Value::Object(fields))
}
