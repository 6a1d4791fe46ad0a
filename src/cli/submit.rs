//! `submit`: actions written as JSON.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde_json::Value;

use super::exit::{Code, Coded};
use super::queue::InQueue;
use super::{Global, output};
use crate::client::{Client, Error, SubmitOptions, Submitted};
use crate::domain::{ChunkId, WorkerId};

#[derive(Args, Debug)]
#[command(
    after_help = "docs/http.md describes an action in JSON.\n\nExamples:\n  ledgerun submit action.json --input a.txt\n  \
    jq -c '.[]' actions.json | ledgerun submit - --priority 5"
)]
pub(super) struct SubmitCommand {
    /// File with one action, or several one after the other; `-` reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Upload this file when an action needs it; by content, whatever its name
    #[arg(long, short, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Submit for this worker instead of the newest that offers the function
    #[arg(long, value_name = "HASH")]
    worker: Option<WorkerId>,
    /// Larger is sooner [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Run it even when its result is held
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    within: InQueue,
}

pub(super) async fn run(global: &Global, command: SubmitCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let mut inputs = Vec::new();
    for path in &command.input {
        inputs.push((hash_file(path)?, path.clone()));
    }
    let options = SubmitOptions {
        worker: command.worker,
        priority: command.priority,
        fresh: command.fresh,
        queue: command.within.queue,
    };
    let text = if command.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        text
    } else {
        std::fs::read_to_string(&command.file)
            .with_context(|| format!("cannot read {}", command.file.display()))?
    };
    let mut count = 0_u64;
    for action in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let action = action.with_context(|| {
            format!("action {} of {} is not JSON", count + 1, command.file.display())
        })?;
        let submitted = submit_with_inputs(&client, &action, options, &inputs).await?;
        print(global, &submitted)?;
        count += 1;
    }
    if count == 0 {
        return Err(Coded::error(
            Code::Usage,
            anyhow!("{} holds no action", command.file.display()),
        ));
    }
    Ok(Code::Clean)
}

fn print(global: &Global, submitted: &Submitted) -> anyhow::Result<()> {
    if global.json {
        output::json(submitted)?;
    } else {
        let state = submitted.state.as_deref().unwrap_or("accepted");
        output::line(&format!("{}\t{state}\t{}", submitted.lsn, submitted.action))?;
    }
    Ok(())
}

/// Submits an action; uploads those of its inputs that the service asks for and we have.
pub(super) async fn submit_with_inputs(
    client: &Client,
    action: &Value,
    options: SubmitOptions,
    inputs: &[(ChunkId, PathBuf)],
) -> anyhow::Result<Submitted> {
    let need = match client.submit(action, options).await {
        Ok(submitted) => return Ok(submitted),
        Err(Error::Refused { status, body }) => match needed(&body) {
            Some(need) if status == reqwest::StatusCode::NOT_FOUND => need,
            _ => return Err(Error::Refused { status, body }.into()),
        },
        Err(other) => return Err(other.into()),
    };
    for id in need {
        let Some((_, path)) = inputs.iter().find(|(held, _)| *held == id) else {
            bail!(
                "the action needs chunk {id}, which is none of the given files; \
                 name the file that holds it with --input"
            );
        };
        client
            .put_file(id, path)
            .await
            .with_context(|| format!("cannot upload {}", path.display()))?;
    }
    Ok(client.submit(action, options).await?)
}

/// The chunks a refusal asks for.
fn needed(body: &Value) -> Option<Vec<ChunkId>> {
    serde_json::from_value(body.get("need")?.clone()).ok()
}

/// The chunk id of a file's content, read in pieces.
pub(super) fn hash_file(path: &std::path::Path) -> anyhow::Result<ChunkId> {
    let mut hasher = blake3::Hasher::new();
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    hasher.update_reader(file).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(ChunkId(crate::domain::ContentHash::from_blake3(&hasher.finalize())))
}
