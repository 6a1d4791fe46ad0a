//! One run of a function: what it is given and what it gives back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::domain::{ChunkId, ContentHash, ObjectId};
use crate::wire::action::{Action, Input};
use crate::wire::cb::{Field, Object};
use crate::wire::compressed::{self, Limits};
use crate::wire::json::Spelled;
use crate::wire::output::{LEVEL_ERROR, OutputBuilder};
use crate::wire::value;

/// Largest input that is taken into memory, in bytes. Larger ones are streamed with
/// [`Job::copy_input`].
const INPUT_BYTES_IN_MEMORY_MAX: u64 = 1 << 30;

/// Why a function gave up.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The action is at fault: becomes an error message of the output, and the process exits 0.
    #[error("{0}")]
    Action(String),
    /// An input is missing, damaged or not what the action says: the process exits 1.
    #[error("cannot read input {name:?} from {}", path.display())]
    Input {
        name: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A value can't be written: the process exits 1.
    #[error("cannot write value {name:?}")]
    Output {
        name: String,
        #[source]
        source: io::Error,
    },
    /// The surroundings are at fault: the process exits 1.
    #[error("input or output failed")]
    Io(#[from] io::Error),
}

impl Failure {
    /// The action is at fault.
    pub fn action(reason: impl Into<String>) -> Self {
        Self::Action(reason.into())
    }
}

/// How much a message or log line matters. An error drops all values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Display,
    Warning,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Display => "Display",
            Self::Warning => "Warning",
            Self::Error => LEVEL_ERROR,
        }
    }
}

/// One run of a function.
///
/// Constants, inputs, values and everything else of the action and its output. Values are written
/// to disk as they are given, so a function may produce more than fits in memory.
pub struct Job<'a> {
    action: &'a Action,
    folder: &'a Path,
    inputs: &'a Path,
    outputs: &'a Path,
    /// By id, so that the output doesn't depend on the order in which they were given.
    values: BTreeMap<ObjectId, Value>,
    output: OutputBuilder,
    /// An error was told, so there will be no values.
    failed: bool,
    /// The first value that could not be written. Told at the end, so that functions need not.
    broken: Option<Failure>,
}

/// A value that was given.
struct Value {
    name: String,
    hash: ChunkId,
    size: u64,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        action: &'a Action,
        folder: &'a Path,
        inputs: &'a Path,
        outputs: &'a Path,
    ) -> Self {
        Self {
            action,
            folder,
            inputs,
            outputs,
            values: BTreeMap::new(),
            output: OutputBuilder::new(),
            failed: false,
            broken: None,
        }
    }

    /// The action as it was submitted.
    pub const fn action(&self) -> &'a Action {
        self.action
    }

    /// The folder that the attempt may write in: where its action file is.
    pub const fn folder(&self) -> &'a Path {
        self.folder
    }

    /// A constant as it came.
    pub fn constant_field(&self, name: &str) -> Option<Field<'a>> {
        self.action.constants().and_then(|constants| constants.get(name))
    }

    /// A constant as any type that serde can read: its fields are those of the JSON spelling.
    /// Absent and unfit constants are the action's fault.
    pub fn constant<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        self.constant_or(name)?
            .ok_or_else(|| Failure::Action(format!("constant {name:?} is missing")))
    }

    /// As [`Self::constant`], `None` when it is absent.
    pub fn constant_or<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(field) = self.constant_field(name) else { return Ok(None) };
        serde_json::to_value(Spelled(field))
            .and_then(serde_json::from_value)
            .map(Some)
            .map_err(|error| Failure::Action(format!("constant {name:?}: {error}")))
    }

    /// The inputs in the order in which the action names them.
    pub fn inputs(&self) -> &'a [Input] {
        self.action.inputs()
    }

    fn declared(&self, name: &str) -> Result<&'a Input, Failure> {
        self.action.input(name).ok_or_else(|| Failure::Action(format!("input {name:?} is missing")))
    }

    /// An input's content. For what may be large there is [`Self::copy_input`].
    pub fn input(&self, name: &str) -> Result<Vec<u8>, Failure> {
        let input = self.declared(name)?;
        if input.size > INPUT_BYTES_IN_MEMORY_MAX {
            let size = input.size;
            return Err(Failure::Action(format!("input {name:?} of {size} bytes is too large")));
        }
        let mut content = Vec::new();
        self.copy(input, &mut content)?;
        Ok(content)
    }

    /// An input's content, which must be UTF-8.
    pub fn input_text(&self, name: &str) -> Result<String, Failure> {
        String::from_utf8(self.input(name)?).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::Action(format!("input {name:?} is not UTF-8 text: byte {at}"))
        })
    }

    /// Writes an input's content to `target` without holding it. Don't use what was written when
    /// this fails: that the content is the right one is known only at its end.
    pub fn copy_input(&self, name: &str, target: &mut impl Write) -> Result<(), Failure> {
        self.copy(self.declared(name)?, target)
    }

    fn copy(&self, input: &Input, target: &mut impl Write) -> Result<(), Failure> {
        let path = self.inputs.join(input.hash.to_string());
        unpack(&path, input, target).map_err(|source| Failure::Input {
            name: input.name.clone(),
            path,
            source,
        })
    }

    /// Gives a value. A second one of the same name replaces the first.
    pub fn output(&mut self, name: &str, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        let hash = blake3::hash(content);
        self.keep(name, &hash, content.len() as u64, |file| {
            compressed::write_stored(file, content)
        });
    }

    /// Gives the content of a file as a value, without holding it. The file must not change
    /// meanwhile. `Err` when it can't be read.
    pub fn output_file(&mut self, name: &str, path: &Path) -> Result<(), Failure> {
        let mut file = File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let size = io::copy(&mut file, &mut hasher)?;
        file.rewind()?;
        let hash = hasher.finalize();
        self.keep(name, &hash, size, |target| {
            compressed::copy_stored(target, &mut file, size, hash)
        });
        Ok(())
    }

    fn keep(
        &mut self,
        name: &str,
        digest: &blake3::Hash,
        size: u64,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) {
        let hash = ContentHash::from_blake3(digest);
        let path = self.outputs.join(hash.to_string());
        let written = || -> io::Result<()> {
            if path.exists() {
                // Two values may be the same bytes.
                return Ok(());
            }
            std::fs::create_dir_all(self.outputs)?;
            let mut file = File::create(&path)?;
            write(&mut file)
        };
        match written() {
            Ok(()) => {
                let value = Value { name: name.to_owned(), hash: ChunkId(hash), size };
                self.values.insert(ObjectId::of_name(name), value);
            }
            Err(source) => {
                let failure = Failure::Output { name: name.to_owned(), source };
                self.broken.get_or_insert(failure);
            }
        }
    }

    /// A message for whoever submitted the action.
    pub fn message(&mut self, level: Level, text: &str) {
        self.failed |= level == Level::Error;
        self.output.message(level.name(), text);
    }

    /// A message that says how it went.
    pub fn info(&mut self, text: &str) {
        self.message(Level::Display, text);
    }

    /// A message about something doubtful.
    pub fn warning(&mut self, text: &str) {
        self.message(Level::Warning, text);
    }

    /// A message about what is wrong with the action. The output will have no values.
    pub fn error(&mut self, text: &str) {
        self.message(Level::Error, text);
    }

    /// A log line of a category.
    pub fn log(&mut self, level: Level, category: &str, text: &str) {
        self.failed |= level == Level::Error;
        self.output.log(level.name(), category, text);
    }

    /// Adds a fact about the result. `Values` and `Cacheable` are set by other means.
    pub fn meta(&mut self, name: &'static str, value: impl Into<value::Value>) {
        self.output.meta(name, value);
    }

    /// Keeps the result from being the answer to another submission of the same action.
    pub fn not_cacheable(&mut self) {
        self.output.cacheable(false);
    }

    /// The output object; `Err` when a value could not be written.
    pub(super) fn finish(mut self) -> Result<Object, Failure> {
        if let Some(failure) = self.broken {
            return Err(failure);
        }
        if !self.failed {
            for value in self.values.values() {
                self.output.named_value(&value.name, value.hash, value.size);
            }
        }
        Ok(self.output.build())
    }
}

/// Unpacks the compressed buffer at `path` and makes sure that it holds `input`.
fn unpack(path: &Path, input: &Input, target: &mut impl Write) -> io::Result<()> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = compressed::Reader::new(file, Limits::raw(input.size), Some(length));
    let size = io::copy(&mut reader, target)?;
    let hash = reader.header().map(compressed::Header::content_hash);
    if hash == Some(input.hash.0) && size == input.size {
        return Ok(());
    }
    let found = hash.unwrap_or_default();
    let text = format!(
        "it holds {size} bytes of hash {found}, not {} bytes of {}",
        input.size, input.hash
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
