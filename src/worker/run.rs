//! From the command line to the functions and back to an exit code.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::domain::{Function, Guid, Host, sentence};
use crate::wire::action::Action;
use crate::wire::cb::{Object, ObjectError};
use crate::wire::schema::SchemaError;

use super::args::{Args, ArgsError};
use super::job::{Failure, Job};

type Body = Box<dyn Fn(&mut Job<'_>) -> Result<(), Failure>>;

/// Largest action file that is read, in bytes: what the service accepts.
const ACTION_BYTES_MAX: u64 = 16 << 20;

/// A worker: functions and the version of the build system that they belong to.
///
/// See [the module](super) for an example.
pub struct Worker {
    build_system: Guid,
    functions: Vec<(Function, Body)>,
    /// The first mistake in the worker's own description, told when it runs.
    mistake: Option<String>,
}

/// Why a worker could not do what it was started for. The process exits 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the command line: {0}")]
    Arguments(String),
    #[error("the worker describes itself wrongly: {0}")]
    Description(String),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no compact binary object", path.display())]
    Object {
        path: PathBuf,
        #[source]
        source: ObjectError,
    },
    #[error("{} is no action", path.display())]
    Action {
        path: PathBuf,
        #[source]
        source: SchemaError,
    },
    #[error(
        "this worker has no function {name:?} of version {version} for build system {build_system}"
    )]
    NoFunction { name: String, version: Guid, build_system: Guid },
    #[error("function {function:?} failed")]
    Failed {
        function: String,
        #[source]
        source: Failure,
    },
}

impl From<ArgsError> for Error {
    fn from(error: ArgsError) -> Self {
        Self::Arguments(error.to_string())
    }
}

impl Worker {
    /// A worker without functions. `build_system` is a GUID, 8-4-4-4-12 hex digits.
    pub fn new(build_system: &str) -> Self {
        let mut worker =
            Self { build_system: Guid::default(), functions: Vec::new(), mistake: None };
        worker.build_system = worker.guid(build_system);
        worker
    }

    /// Adds a function. Change `version`, a GUID, whenever its results may change: it is part of
    /// what results are remembered by.
    #[must_use]
    pub fn function(
        mut self,
        name: &str,
        version: &str,
        body: impl Fn(&mut Job<'_>) -> Result<(), Failure> + 'static,
    ) -> Self {
        let version = self.guid(version);
        self.functions.push((Function { name: name.to_owned(), version }, Box::new(body)));
        self
    }

    fn guid(&mut self, text: &str) -> Guid {
        match text.parse() {
            Ok(guid) => guid,
            Err(mistake) => {
                self.mistake.get_or_insert(format!("{mistake}"));
                Guid::default()
            }
        }
    }

    /// The version of the build system.
    pub const fn build_system(&self) -> Guid {
        self.build_system
    }

    /// What it can do, in the order in which functions were added.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().map(|(function, _)| function)
    }

    /// Does what the command line says. The whole `main` of a worker.
    pub fn main(self) -> ExitCode {
        self.exit(std::env::args_os().skip(1))
    }

    /// [`Self::run`] with errors told on stderr.
    pub(super) fn exit(&self, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
        match self.run(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let text = format!("error: {}", sentence(&error));
                // Nobody is left to tell when stderr is gone.
                let _ = writeln!(io::stderr(), "{text}");
                ExitCode::FAILURE
            }
        }
    }

    /// Does what `arguments`, those after the program's name, say.
    pub fn run(&self, arguments: impl IntoIterator<Item = OsString>) -> Result<(), Error> {
        if let Some(mistake) = &self.mistake {
            return Err(Error::Description(mistake.clone()));
        }
        let args = Args::parse(arguments)?;
        for path in &args.versions {
            let bytes = self.version().into_bytes();
            fs::write(path, bytes).map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        for path in &args.descriptions {
            let write = || fs::write(path, self.description(&own_path(path)?));
            write().map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        for path in &args.builds {
            self.build(path, &args)?;
        }
        Ok(())
    }

    /// The text of a `worker.json` for this worker, whose executable is `path` below the folder
    /// that the file is in. The service needs nothing else to register that folder, and unpacks it
    /// as it is: `docs/workers.md` says what may be added.
    pub fn description(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        let functions: Vec<_> = self
            .functions()
            .map(|function| json!({ "name": function.name, "version": function.version }))
            .collect();
        let worker = json!({
            "name": name,
            "path": path,
            "host": Host::Linux,
            "buildsystem_version": self.build_system,
            "functions": functions,
        });
        format!("{worker:#}\n")
    }

    /// The object that `-Version=` asks for.
    fn version(&self) -> Object {
        Object::build(|version| {
            version.field("BuildSystemVersion").guid(self.build_system);
            version.field("Functions").array(|functions| {
                for function in self.functions() {
                    functions.item().object(|entry| {
                        entry.field("Name").str(&function.name);
                        entry.field("Version").guid(function.version);
                    });
                }
            });
        })
    }

    /// Runs one action file and writes its output beside it.
    fn build(&self, path: &Path, args: &Args) -> Result<(), Error> {
        let action = read_action(path)?;
        let body = self.body_of(&action)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let inputs = args.inputs.clone().unwrap_or_else(|| folder.join("Inputs"));
        let outputs = args.outputs.clone().unwrap_or_else(|| folder.join("Outputs"));
        let mut job = Job::new(&action, folder, &inputs, &outputs);
        let failed = |source| Error::Failed { function: action.function().to_owned(), source };
        match body(&mut job) {
            Ok(()) => {}
            Err(Failure::Action(text)) => job.error(&text),
            Err(failure) => return Err(failed(failure)),
        }
        let output = job.finish().map_err(failed)?;
        let target = path.with_extension("output");
        fs::write(&target, output.bytes()).map_err(|source| Error::Write { path: target, source })
    }

    fn body_of(&self, action: &Action) -> Result<&Body, Error> {
        let wanted = action.key();
        self.functions
            .iter()
            .find(|(function, _)| {
                *function == wanted.function && self.build_system == wanted.build_system
            })
            .map(|(_, body)| body)
            .ok_or(Error::NoFunction {
                name: wanted.function.name,
                version: wanted.function.version,
                build_system: wanted.build_system,
            })
    }
}

/// Where this executable is below the folder of the file `beside`.
fn own_path(beside: &Path) -> io::Result<String> {
    let program = std::env::current_exe()?.canonicalize()?;
    let folder = match beside.parent() {
        Some(folder) if folder != Path::new("") => folder.canonicalize()?,
        _ => Path::new(".").canonicalize()?,
    };
    program.strip_prefix(&folder).ok().and_then(Path::to_str).map(str::to_owned).ok_or_else(|| {
        let text = format!("the worker {} is not below that folder", program.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

fn read_action(path: &Path) -> Result<Action, Error> {
    let read = || {
        let length = fs::metadata(path)?.len();
        if length > ACTION_BYTES_MAX {
            let text = format!("{length} bytes are more than an action may have");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        fs::read(path)
    };
    let bytes = read().map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let object =
        Object::parse(bytes).map_err(|source| Error::Object { path: path.to_owned(), source })?;
    Action::parse(object).map_err(|source| Error::Action { path: path.to_owned(), source })
}
