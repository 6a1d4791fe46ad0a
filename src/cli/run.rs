//! `run -- CMD…`: a command line as an action of the built-in `Exec` function.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::submit::{hash_file, submit_with_inputs};
use super::{Global, exit::Code, output, workers};
use crate::client::{Client, Error, SubmitOptions, Submitted};
use crate::domain::{ChunkId, Lsn};
use crate::worker::builtin;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun run -- wc -l README.md\n  \
    ledgerun run --input 'src/main.c' --output 'out/**' -- cc -o out/main src/main.c\n\n\
    Arguments that name files below this directory are inputs by themselves. A second identical run is \
    answered from the first one's result; --fresh runs it again.")]
pub(super) struct RunCommand {
    /// File below this directory that the command reads
    #[arg(long, short, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Files the command writes, as a glob such as `out/**`; they are fetched back here
    #[arg(long, short, value_name = "GLOB")]
    output: Vec<String>,
    /// Variable of the command's environment, which is otherwise empty but for PATH
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Input that becomes the command's standard input
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Directory, among the inputs, to run in
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Don't take arguments that name files for inputs
    #[arg(long)]
    no_auto_inputs: bool,
    /// Larger is sooner [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Run it even when its result is held
    #[arg(long)]
    fresh: bool,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

/// The parts of a job's JSON that matter here.
#[derive(Deserialize)]
struct Job {
    state: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    result: Option<BuildOutput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BuildOutput {
    #[serde(default)]
    values: Vec<OutputValue>,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    meta: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OutputValue {
    id: String,
    raw_hash: ChunkId,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    level: String,
    message: String,
}

/// Ends with the command's exit code; this program's own failures have codes of their own.
pub(super) async fn run(global: &Global, command: RunCommand) -> Code {
    match attempt(global, &command).await {
        Ok(code) => code,
        Err(wrong) => {
            output::complain(&format!("{wrong:#}"));
            Code::Service
        }
    }
}

async fn attempt(global: &Global, command: &RunCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let (action, inputs) = describe(command)?;
    let options = SubmitOptions { worker: None, priority: command.priority, fresh: command.fresh };
    let submitted = submit(&client, &action, options, &inputs).await?;
    tokio::select! {
        ended = wait(&client, submitted.lsn) => ended?,
        _ = tokio::signal::ctrl_c() => {
            let path = format!("/compute/jobs/{}/cancel", submitted.lsn);
            client.send(client.request(reqwest::Method::POST, &path)).await?;
            output::complain(&format!("interrupted; job {} is cancelled", submitted.lsn));
            return Ok(Code::Child(130));
        }
    }
    let job: Job = client.get(&format!("/compute/jobs/{}", submitted.lsn)).await?;
    let Some(result) = job.result.filter(|_| job.state == "completed") else {
        bail!("job {} {}: {}", submitted.lsn, job.state, job.error.unwrap_or_default());
    };
    if global.json {
        output::json(&json!({ "lsn": submitted.lsn, "action": submitted.action,
            "cached": submitted.cached, "meta": result.meta }))?;
    }
    fetch(global, &client, &result).await?;
    Ok(code_of(&result))
}

/// Builds the action, and finds its inputs on this machine.
fn describe(command: &RunCommand) -> anyhow::Result<(Value, Vec<(ChunkId, PathBuf)>)> {
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in command.input.iter().chain(&command.stdin) {
        let name = input_name(path)
            .with_context(|| format!("{} is not a path below this directory", path.display()))?;
        names.insert(name, path.clone());
    }
    if !command.no_auto_inputs {
        for word in &command.command {
            let path = Path::new(word);
            if let Some(name) = input_name(path).filter(|_| path.is_file()) {
                names.insert(name, path.to_owned());
            }
        }
    }
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
    let mut exec = Map::from_iter([("Argv".to_owned(), json!(command.command))]);
    let mut set = |key: &str, value: Value| exec.insert(key.to_owned(), value);
    if !command.env.is_empty() {
        set("Env", environment(&command.env)?);
    }
    if let Some(cwd) = &command.cwd {
        set("Cwd", json!(cwd));
    }
    if let Some(name) = command.stdin.as_deref().and_then(input_name) {
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
    Ok((action, files))
}

/// The path as an input's name: relative, inside this directory, `/` between components.
fn input_name(path: &Path) -> Option<String> {
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
        let (key, value) =
            pair.split_once('=').with_context(|| format!("--env {pair:?} has no '='"))?;
        env.insert(key.to_owned(), json!(value));
    }
    Ok(Value::Object(env))
}

/// Submits; registers the built-in worker first where the service doesn't know it.
async fn submit(
    client: &Client,
    action: &Value,
    options: SubmitOptions,
    inputs: &[(ChunkId, PathBuf)],
) -> anyhow::Result<Submitted> {
    let refused = match submit_with_inputs(client, action, options, inputs).await {
        Ok(submitted) => return Ok(submitted),
        Err(refused) => refused,
    };
    if refused.downcast_ref::<Error>().and_then(Error::code) != Some("no_worker") {
        return Err(refused);
    }
    workers::add_builtin(client).await.context("cannot register the built-in worker")?;
    submit_with_inputs(client, action, options, inputs).await
}

/// Waits for the job's end on the completed feed, which is woken by it. A job ends after it was
/// submitted, so the feed is read from there; a job answered from a held result ends with its
/// submission.
async fn wait(client: &Client, job: Lsn) -> Result<(), Error> {
    let mut since = Lsn(job.0.saturating_sub(1));
    loop {
        let page = client.completed(since, 1_000, Duration::from_secs(60)).await?;
        if page.completed.iter().any(|ended| ended.lsn == job) {
            return Ok(());
        }
        since = page.next;
    }
}

/// Prints what the command printed and writes the files it wrote.
async fn fetch(global: &Global, client: &Client, result: &BuildOutput) -> anyhow::Result<()> {
    let names = result.meta.get("Values").and_then(Value::as_object);
    for value in &result.values {
        let named = names.and_then(|names| names.get(&value.id)).and_then(Value::as_str);
        match named {
            Some("stdout") if !global.json => output::bytes(&client.chunk(value.raw_hash).await?)?,
            Some("stderr") => output::error_bytes(&client.chunk(value.raw_hash).await?)?,
            Some(name) => {
                let Some(path) = name.strip_prefix("file/") else { continue };
                let inside = input_name(Path::new(path)).with_context(|| {
                    format!("refusing to write output {path:?} outside of this directory")
                })?;
                let target = PathBuf::from(inside);
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent)
                        .with_context(|| format!("cannot make {}", parent.display()))?;
                }
                client.download(value.raw_hash, &target).await?;
            }
            None => {}
        }
    }
    for message in &result.messages {
        output::complain(&format!("{}: {}", message.level.to_lowercase(), message.message));
    }
    Ok(())
}

/// The command's exit code as a shell would see it.
fn code_of(result: &BuildOutput) -> Code {
    let number = |key: &str| result.meta.get(key).and_then(Value::as_i64).unwrap_or(0);
    let signal = number("Signal");
    if signal != 0 {
        return Code::Child(u8::try_from(128 + signal).unwrap_or(255));
    }
    if !result.meta.contains_key("ExitCode") {
        // It never ran: the messages say why.
        return match number("StartError") {
            2 => Code::NotFound,
            _ => Code::NotExecutable,
        };
    }
    match u8::try_from(number("ExitCode")) {
        Ok(0) => Code::Clean,
        Ok(code) => Code::Child(code),
        Err(_) => Code::Child(255),
    }
}
