//! From a command line on this machine to an action: what it needs, by content.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::super::submit::hash_file;
use super::super::workers::walk;
use super::RunCommand;
use crate::domain::ChunkId;
use crate::worker::builtin;

/// Name of the input that holds our own standard input.
const STDIN_NAME: &str = ".ledgerun/stdin";

/// An action and the files that it needs.
pub(super) struct Described {
    pub(super) action: Value,
    pub(super) inputs: Vec<(ChunkId, PathBuf)>,
    /// Holds our own standard input until it is uploaded.
    _stdin: Option<tempfile::NamedTempFile>,
}

/// Builds the action, and finds its inputs on this machine.
pub(super) fn describe(command: &RunCommand) -> anyhow::Result<Described> {
    let mut names = BTreeMap::new();
    for path in &command.input {
        add_input(&mut names, path)?;
    }
    if !command.no_auto_inputs {
        names.extend(words_that_are_files(&command.command));
    }
    let mut spool = None;
    let stdin = match &command.stdin {
        None => None,
        Some(path) if path.as_os_str() == "-" => {
            let file = spool_stdin().context("cannot read standard input")?;
            names.insert(STDIN_NAME.to_owned(), file.path().to_owned());
            spool = Some(file);
            Some(STDIN_NAME.to_owned())
        }
        Some(path) => {
            let name = name_of(path)?;
            names.insert(name.clone(), path.clone());
            Some(name)
        }
    };
    let mut inputs = Map::new();
    let mut files = Vec::new();
    let mut executable = Vec::new();
    for (name, path) in names {
        let id = hash_file(&path)?;
        let meta = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        if std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o111 != 0 {
            executable.push(name.clone());
        }
        inputs.insert(name, json!({ "RawHash": id, "RawSize": meta.len() }));
        files.push((id, path));
    }
    let action = action(command, inputs, &executable, stdin)?;
    Ok(Described { action, inputs: files, _stdin: spool })
}

fn action(
    command: &RunCommand,
    inputs: Map<String, Value>,
    executable: &[String],
    stdin: Option<String>,
) -> anyhow::Result<Value> {
    let mut exec = Map::from_iter([("Argv".to_owned(), json!(command.command))]);
    let mut set = |key: &str, value: Value| exec.insert(key.to_owned(), value);
    if !command.env.is_empty() {
        set("Env", environment(&command.env)?);
    }
    if let Some(cwd) = &command.cwd {
        set("Cwd", json!(cwd));
    }
    if let Some(name) = stdin {
        set("Stdin", json!(name));
    }
    if !command.output.is_empty() {
        set("Outputs", json!(command.output));
    }
    if !executable.is_empty() {
        set("Executable", json!(executable));
    }
    let mut action = json!({
        "Function": builtin::EXEC,
        "FunctionVersion": builtin::EXEC_VERSION,
        "BuildSystemVersion": builtin::BUILD_SYSTEM,
        "Constants": { "Exec": exec },
    });
    if let (Value::Object(fields), false) = (&mut action, inputs.is_empty()) {
        fields.insert("Inputs".to_owned(), Value::Object(inputs));
    }
    Ok(action)
}

/// A file, or all files below a directory.
fn add_input(names: &mut BTreeMap<String, PathBuf>, path: &Path) -> anyhow::Result<()> {
    if !path.is_dir() {
        names.insert(name_of(path)?, path.to_owned());
        return Ok(());
    }
    let below = if path == Path::new(".") { String::new() } else { name_of(path)? + "/" };
    let mut files = Vec::new();
    walk(path, Path::new(""), &mut files)?;
    for file in files {
        names.insert(format!("{below}{file}"), path.join(file));
    }
    Ok(())
}

/// The arguments that name files here. The program itself counts only when it is called by a path:
/// a bare name is looked for among the system's programs.
fn words_that_are_files(words: &[String]) -> impl Iterator<Item = (String, PathBuf)> {
    let words = words.iter().enumerate().filter(|(at, word)| *at > 0 || word.contains('/'));
    words.filter_map(|(_, word)| {
        let path = Path::new(word);
        let name = input_name(path).filter(|_| path.is_file())?;
        Some((name, path.to_owned()))
    })
}

/// Reads our own standard input to its end, into a file that goes away with its handle.
fn spool_stdin() -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
    file.flush()?;
    // A private file is not executable, so neither is the input.
    Ok(file)
}

fn name_of(path: &Path) -> anyhow::Result<String> {
    match input_name(path) {
        Some(name) => Ok(name),
        None => bail!(
            "{} is not a path below this directory; run this from a directory above it",
            path.display()
        ),
    }
}

/// The path as an input's name: relative, inside this directory, `/` between components.
pub(super) fn input_name(path: &Path) -> Option<String> {
    let mut words = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(word) => words.push(word.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!words.is_empty()).then(|| words.join("/"))
}

fn environment(pairs: &[String]) -> anyhow::Result<Value> {
    let mut env = Map::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--env {pair:?} has no '='; write --env KEY=VALUE"))?;
        env.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(env))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_named_by_its_path_below_here() {
        for (path, name) in [
            ("a.txt", Some("a.txt")),
            ("./a.txt", Some("a.txt")),
            ("src//main.c", Some("src/main.c")),
            ("src/./main.c", Some("src/main.c")),
            ("dir/", Some("dir")),
            ("..", None),
            ("src/../main.c", None),
            ("../a.txt", None),
            ("/etc/hosts", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(input_name(Path::new(path)).as_deref(), name, "{path:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_none() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(b"a\xff.txt");
        assert_eq!(input_name(Path::new(path)), None);
    }

    #[test]
    fn variables_are_pairs() {
        let pairs = ["A=1".to_owned(), "B=x=y".to_owned(), "C=".to_owned()];
        assert_eq!(environment(&pairs).unwrap(), json!({ "A": "1", "B": "x=y", "C": "" }));
        assert!(environment(&["A".to_owned()]).unwrap_err().to_string().contains("KEY=VALUE"));
    }

    #[test]
    fn programs_by_bare_name_are_not_files_of_this_directory() {
        let words = ["Cargo.toml", "Cargo.toml", "./Cargo.toml", "no-such-file"];
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found: Vec<_> = words_that_are_files(&words).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|(name, _)| name == "Cargo.toml"), "{found:?}");
        assert_eq!(words_that_are_files(&["./Cargo.toml".to_owned()]).count(), 1);
    }
}
