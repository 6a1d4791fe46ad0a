//! `worker`: registering and listing workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::submit::hash_file;
use super::{At, Global, exit::Code, output};
use crate::client::{Client, Error};
use crate::domain::{ChunkId, WorkerId};
use crate::worker::builtin;

/// Name of the file that describes a worker directory.
const DESCRIPTION: &str = "worker.json";

#[derive(Subcommand, Debug)]
pub(super) enum WorkerCommand {
    /// Register a worker and upload its files
    Add(AddCommand),
    /// List registered workers
    #[command(after_help = "Examples:\n  ledgerun worker list\n  \
        ledgerun worker list --json | jq -r .worker")]
    List(At),
    /// Show a worker's descriptor
    #[command(after_help = "Examples:\n  \
        ledgerun worker show 9f4c1a0b7d2e8c35f6a1b0c9d8e7f6a5b4c3d2e1\n  \
        ledgerun worker show --json 9f4c1a0b7d2e8c35f6a1b0c9d8e7f6a5b4c3d2e1 | jq .executables")]
    Show {
        /// The worker, as `worker list` prints it
        #[arg(value_name = "HASH")]
        worker: WorkerId,
        #[command(flatten)]
        at: At,
    },
    /// Take no new job for workers, and free their files once nothing needs them
    #[command(after_help = "Examples:\n  \
        ledgerun worker remove 9f4c1a0b7d2e8c35f6a1b0c9d8e7f6a5b4c3d2e1\n  \
        ledgerun worker list --json | jq -r .worker | xargs ledgerun worker remove")]
    Remove {
        /// The workers, as `worker list` prints them
        #[arg(value_name = "HASH", required = true)]
        workers: Vec<WorkerId>,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "DIR holds the worker's files and a worker.json; docs/workers.md describes it.\n\n\
    Examples:\n  ledgerun worker add --builtin\n  ledgerun worker add ./my-worker"
)]
pub(super) struct AddCommand {
    /// Directory with the worker's files and its worker.json
    #[arg(value_name = "DIR", required_unless_present = "builtin", conflicts_with = "builtin")]
    dir: Option<PathBuf>,
    /// Register the workers inside this program: `Exec` and `CompileShaderJobs`
    #[arg(long)]
    builtin: bool,
}

pub(super) async fn run(global: &Global, command: WorkerCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    match command {
        WorkerCommand::Add(AddCommand { dir: Some(dir), .. }) => {
            report(global, add_dir(&client, &dir).await?)?;
        }
        WorkerCommand::Add(AddCommand { dir: None, .. }) => {
            report(global, add_builtin(&client).await?)?;
        }
        WorkerCommand::List(at) => list(global, &client.at(at.at)).await?,
        WorkerCommand::Show { worker, at } => {
            let client = client.at(at.at);
            let descriptor: Value = client.get(&format!("/compute/workers/{worker}")).await?;
            if global.json {
                output::json(&descriptor)?;
            } else {
                output::line(&serde_json::to_string_pretty(&descriptor)?)?;
            }
        }
        WorkerCommand::Remove { workers } => return remove(global, &client, workers).await,
    }
    Ok(Code::Clean)
}

/// Removes one after the other; goes on after a refusal and says which were refused.
async fn remove(global: &Global, client: &Client, workers: Vec<WorkerId>) -> anyhow::Result<Code> {
    let mut code = Code::Clean;
    for worker in workers {
        let path = format!("/compute/workers/{worker}");
        let request = client.request(reqwest::Method::DELETE, &path);
        match client.json::<Value>(request).await {
            Ok(answer) if global.json => output::json(&answer)?,
            Ok(_) => {}
            Err(refused @ Error::Refused { .. }) => {
                output::complain(&refused.to_string());
                code = Code::Failed;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(code)
}

fn report(global: &Global, worker: WorkerId) -> anyhow::Result<()> {
    if global.json {
        output::json(&json!({ "worker": worker }))
    } else {
        output::line(&worker.to_string())
    }
}

pub(super) async fn list(global: &Global, client: &Client) -> anyhow::Result<()> {
    let answer: Value = client.get("/compute/workers").await?;
    let workers = answer.get("workers").and_then(Value::as_array).cloned().unwrap_or_default();
    if global.json {
        for worker in &workers {
            output::json(worker)?;
        }
        return Ok(());
    }
    let rows = workers.iter().map(|worker| {
        let functions = worker.get("functions").and_then(Value::as_array);
        let names = functions.into_iter().flatten().map(|function| output::text(function, "name"));
        vec![
            output::text(worker, "worker"),
            output::text(worker, "name"),
            output::text(worker, "host"),
            names.collect::<Vec<_>>().join(", "),
            output::seconds(worker, "last_use"),
        ]
    });
    if workers.is_empty() {
        output::say("no workers yet; `ledgerun worker add --builtin` registers the built-in one");
    }
    output::table(&["worker", "name", "host", "functions", "last use"], rows.collect())?;
    Ok(())
}

/// Registers this very executable as the worker of the built-in functions.
pub(super) async fn add_builtin(client: &Client) -> anyhow::Result<WorkerId> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let id = hash_file(&program)?;
    let size = program.metadata().context("cannot read this program's size")?.len();
    let descriptor = builtin::descriptor(id, size);
    let files = BTreeMap::from([(id, program)]);
    let request = || {
        client
            .request(reqwest::Method::POST, "/compute/workers")
            .header(reqwest::header::CONTENT_TYPE, "application/x-ue-cb")
            .body(descriptor.clone())
    };
    register(client, request, &files).await
}

/// Registers a directory.
async fn add_dir(client: &Client, dir: &Path) -> anyhow::Result<WorkerId> {
    let path = dir.join(DESCRIPTION);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}: a worker directory describes itself there", path.display())
    })?;
    let Value::Object(mut descriptor) =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?
    else {
        bail!("{} must hold one JSON object", path.display());
    };
    let files = fill_files(dir, &mut descriptor)?;
    let body = Value::Object(descriptor);
    let request = || client.request(reqwest::Method::POST, "/compute/workers").json(&body);
    register(client, request, &files).await
}

/// Posts a descriptor; uploads what the service needs, and posts it again.
pub(super) async fn register(
    client: &Client,
    request: impl Fn() -> reqwest::RequestBuilder,
    files: &BTreeMap<ChunkId, PathBuf>,
) -> anyhow::Result<WorkerId> {
    let need: Vec<ChunkId> = match client.json::<Value>(request()).await {
        Ok(answer) => return worker_of(&answer),
        Err(Error::Refused { status, body }) => {
            match body.get("need").cloned().map(serde_json::from_value) {
                Some(Ok(need)) => need,
                _ => return Err(Error::Refused { status, body }.into()),
            }
        }
        Err(other) => return Err(other.into()),
    };
    for id in need {
        let path = files.get(&id).ok_or_else(|| {
            anyhow!("the service asks for chunk {id}, which the worker doesn't have")
        })?;
        client
            .put_file(id, path)
            .await
            .with_context(|| format!("cannot upload {}", path.display()))?;
    }
    worker_of(&client.json(request()).await?)
}

fn worker_of(answer: &Value) -> anyhow::Result<WorkerId> {
    let id = answer.get("worker").and_then(Value::as_str).context("the service named no worker")?;
    Ok(id.parse()?)
}

/// Puts name, hash and size of the directory's files into the descriptor: files that may be executed
/// among `executables`, the others among `files`. A description that lists names itself keeps its
/// choice.
fn fill_files(
    dir: &Path,
    descriptor: &mut Map<String, Value>,
) -> anyhow::Result<BTreeMap<ChunkId, PathBuf>> {
    let mut held = BTreeMap::new();
    let listed = |key: &str| -> Option<Vec<String>> {
        let entries = descriptor.get(key)?.as_array()?;
        entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
    };
    let (executables, others) = match (listed("executables"), listed("files")) {
        (None, None) => {
            let mut names = Vec::new();
            walk(dir, Path::new(""), &mut names)?;
            names.retain(|name| name != DESCRIPTION);
            names.into_iter().partition(|name| is_executable(&dir.join(name)))
        }
        (executables, files) => (executables.unwrap_or_default(), files.unwrap_or_default()),
    };
    for (key, names) in [("executables", executables), ("files", others)] {
        let mut entries = Vec::new();
        for name in names {
            let path = dir.join(&name);
            let id = hash_file(&path)?;
            let size = path.metadata()?.len();
            entries.push(json!({ "name": name, "hash": id, "size": size }));
            held.insert(id, path);
        }
        descriptor.insert(key.to_owned(), Value::Array(entries));
    }
    Ok(held)
}

/// Names of all files below `dir`, sorted, with `/` between components.
pub(super) fn walk(dir: &Path, below: &Path, names: &mut Vec<String>) -> anyhow::Result<()> {
    let here = dir.join(below);
    let mut entries = std::fs::read_dir(&here)
        .with_context(|| format!("cannot list {}", here.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            walk(dir, &name, names)?;
        } else {
            let text = name.to_str().with_context(|| format!("{} is not UTF-8", name.display()))?;
            names.push(text.to_owned());
        }
    }
    Ok(())
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}
