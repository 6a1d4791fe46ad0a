//! A folder laid out as the service lays one out for an attempt, and a worker process in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ledgerun::domain::{ChunkId, ContentHash};
use ledgerun::wire::action::Action;
use ledgerun::wire::cb::Object;
use ledgerun::wire::compressed::{self, Limits, Packing};
use ledgerun::wire::json;
use ledgerun::wire::output;
use ledgerun::worker::builtin;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the worker's executable is, below the sandbox.
const PROGRAM: &str = "Engine/Binaries/Linux/ledgerun-builtin";

pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(PROGRAM);
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        symlink(env!("CARGO_BIN_EXE_ledgerun"), program).unwrap();
        fs::create_dir(dir.path().join("Inputs")).unwrap();
        fs::create_dir(dir.path().join("Outputs")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts an input into its place and names it as an action does.
    pub(crate) fn input(&self, content: &[u8]) -> Value {
        let hash = ContentHash::of(content);
        let path = self.path("Inputs").join(hash.to_string());
        fs::write(path, compressed::encode(content, Packing::Lz4)).unwrap();
        json!({ "RawHash": hash, "RawSize": content.len() })
    }

    /// Writes an action file.
    pub(crate) fn action(&self, file: &str, action: &Value) {
        let value = json::parse(&serde_json::to_vec(action).unwrap()).unwrap();
        let action = Action::from_json(&value).unwrap();
        fs::write(self.path(file), action.object().bytes()).unwrap();
    }

    /// A worker process, not yet started.
    pub(crate) fn worker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path(PROGRAM));
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    /// Runs `Build.action`, which must go well.
    pub(crate) fn build(&self) -> Built {
        let done = self.worker(&["-Build=Build.action"]).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        self.built("Build.output")
    }

    /// Reads an output object and all of its values.
    pub(crate) fn built(&self, file: &str) -> Built {
        let bytes = fs::read(self.path(file)).unwrap();
        let output = output::Output::parse(Object::parse(bytes).unwrap()).unwrap();
        let values = output
            .values()
            .iter()
            .map(|value| {
                let name = output.value_name(value.id).unwrap().to_owned();
                assert_eq!(value.id, ledgerun::domain::ObjectId::of_name(&name));
                let path = self.path("Outputs").join(value.hash.to_string());
                let content =
                    compressed::decode(&fs::read(path).unwrap(), Limits::raw(1 << 30)).unwrap();
                assert_eq!(ChunkId::of(&content), value.hash, "{name}");
                assert_eq!(content.len() as u64, value.size, "{name}");
                (name, content)
            })
            .collect();
        Built { output, values }
    }

    /// Runs an `Exec` action with these constants and inputs.
    pub(crate) fn exec(&self, exec: Value, inputs: &[(&str, &[u8])]) -> Built {
        self.action("Build.action", &self.exec_action(exec, inputs));
        self.build()
    }

    pub(crate) fn exec_action(&self, exec: Value, inputs: &[(&str, &[u8])]) -> Value {
        let inputs: BTreeMap<_, _> =
            inputs.iter().map(|(name, content)| (*name, self.input(content))).collect();
        json!({
            "Function": builtin::EXEC,
            "FunctionVersion": builtin::EXEC_VERSION,
            "BuildSystemVersion": builtin::BUILD_SYSTEM,
            "Constants": { "Exec": exec },
            "Inputs": inputs,
        })
    }

    pub(crate) fn shader_action(&self, shader: Value, source: &str) -> Value {
        json!({
            "Function": builtin::COMPILE_SHADER,
            "FunctionVersion": builtin::COMPILE_SHADER_VERSION,
            "BuildSystemVersion": builtin::BUILD_SYSTEM,
            "Constants": { "Shader": shader },
            "Inputs": { "Source": self.input(source.as_bytes()) },
        })
    }

    /// Compiles one shader.
    pub(crate) fn compile(&self, shader: Value, source: &str) -> Built {
        self.action("Build.action", &self.shader_action(shader, source));
        self.build()
    }

    pub(crate) fn exists(&self, name: impl AsRef<Path>) -> bool {
        self.dir.path().join(name).exists()
    }
}

/// What a worker made.
pub(crate) struct Built {
    pub(crate) output: output::Output,
    pub(crate) values: BTreeMap<String, Vec<u8>>,
}

impl Built {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        let value = self.values.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.output));
        std::str::from_utf8(value).unwrap()
    }

    pub(crate) fn meta(&self, name: &str) -> i64 {
        self.output.meta().unwrap().get(name).unwrap().as_i64().unwrap()
    }

    /// The messages of one level.
    pub(crate) fn messages(&self, level: &str) -> Vec<&str> {
        let messages = self.output.messages().iter();
        messages.filter(|m| m.level == level).map(|m| m.message.as_str()).collect()
    }

    /// The only message, which must be an error; then there are no values.
    pub(crate) fn error(&self) -> &str {
        assert!(self.values.is_empty(), "an error drops all values");
        assert!(self.output.has_errors(), "{:?}", self.output);
        match self.messages("Error").as_slice() {
            [only] => only,
            several => panic!("one error is expected, not {several:?}"),
        }
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
