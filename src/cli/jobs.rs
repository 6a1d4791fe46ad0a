//! `jobs`: listing, showing and changing jobs.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Global, exit::Code, output};
use crate::client::Client;
use crate::domain::{Lsn, WorkerId};

#[derive(Subcommand, Debug)]
pub(super) enum JobsCommand {
    /// List jobs, oldest first
    List(ListCommand),
    /// Show a job with its attempts and its result
    Show {
        #[arg(value_name = "LSN")]
        job: Lsn,
    },
    /// Say why a job is where it is
    Explain {
        #[arg(value_name = "LSN")]
        job: Lsn,
    },
    /// Cancel jobs; their processes end unless somebody else wants the same result
    Cancel(Which),
    /// Try failed or abandoned jobs again
    Reschedule(Which),
    /// Pull jobs back and hand them out again
    Retract(Which),
    /// Give up the results of jobs that ended
    Retire(Which),
    /// Change a job's priority; larger is sooner
    Priority {
        #[arg(value_name = "LSN")]
        job: Lsn,
        #[arg(value_name = "N", allow_negative_numbers = true)]
        priority: i32,
    },
}

#[derive(Args, Debug)]
pub(super) struct Which {
    #[arg(value_name = "LSN", required = true)]
    jobs: Vec<Lsn>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun jobs list --state failed\n  \
    ledgerun jobs list --function Exec --limit 20 --json")]
pub(super) struct ListCommand {
    /// Only jobs in this state: pending, submitting, running, retracted, completed, failed, abandoned, cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only jobs of this worker
    #[arg(long, value_name = "HASH")]
    worker: Option<WorkerId>,
    /// Only jobs that call this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Only jobs after this one
    #[arg(long, value_name = "LSN")]
    after: Option<Lsn>,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100")]
    limit: usize,
}

pub(super) async fn run(global: &Global, command: JobsCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    match command {
        JobsCommand::List(list) => print_list(global, &client, list).await?,
        JobsCommand::Show { job } => {
            let answer = client.job(job).await?;
            let text = if global.json {
                answer.to_string()
            } else {
                serde_json::to_string_pretty(&answer)?
            };
            output::line(&text)?;
        }
        JobsCommand::Explain { job } => {
            let answer: Value = client.get(&format!("/compute/jobs/{job}/explain")).await?;
            match answer.get("because").and_then(Value::as_str) {
                Some(text) if !global.json => output::line(text)?,
                _ => output::line(&serde_json::to_string_pretty(&answer)?)?,
            }
        }
        JobsCommand::Cancel(which) => return change(global, &client, which, "cancel").await,
        JobsCommand::Reschedule(which) => {
            return change(global, &client, which, "reschedule").await;
        }
        JobsCommand::Retract(which) => return change(global, &client, which, "retract").await,
        JobsCommand::Retire(which) => return change(global, &client, which, "retire").await,
        JobsCommand::Priority { job, priority } => {
            let path = format!("/compute/jobs/{job}/priority");
            client.post::<Value>(&path, &json!({ "priority": priority })).await?;
        }
    }
    Ok(Code::Clean)
}

/// Does the same to several jobs; goes on after a refusal and says which were refused.
async fn change(
    global: &Global,
    client: &Client,
    which: Which,
    verb: &str,
) -> anyhow::Result<Code> {
    let mut code = Code::Clean;
    for job in which.jobs {
        let request = client.request(reqwest::Method::POST, &format!("/compute/jobs/{job}/{verb}"));
        match client.json::<Value>(request).await {
            Ok(answer) if global.json => output::json(&answer)?,
            Ok(_) => {}
            Err(refused @ crate::client::Error::Refused { .. }) => {
                output::complain(&refused.to_string());
                code = Code::Failed;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(code)
}

async fn print_list(global: &Global, client: &Client, list: ListCommand) -> anyhow::Result<()> {
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.state.map(|state| ("state", state)));
    query.extend(list.worker.map(|worker| ("worker", worker.to_string())));
    query.extend(list.function.map(|function| ("function", function)));
    query.extend(list.after.map(|after| ("after", after.to_string())));
    let request = client.request(reqwest::Method::GET, "/compute/jobs").query(&query);
    let answer: Value = client.json(request).await?;
    let jobs = answer.get("jobs").and_then(Value::as_array).cloned().unwrap_or_default();
    if global.json {
        for job in &jobs {
            output::json(job)?;
        }
        return Ok(());
    }
    let text = |job: &Value, key: &str| match job.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let columns = ["lsn", "state", "function", "priority", "retry_count", "submitted_at", "action"];
    let rows = jobs.iter().map(|job| columns.iter().map(|key| text(job, key)).collect());
    output::table(
        &["job", "state", "function", "priority", "retries", "submitted", "action"],
        rows.collect(),
    )?;
    if jobs.len() >= list.limit
        && let Some(next) = answer.get("next").and_then(Value::as_u64)
    {
        output::say(&format!("more: --after {next}"));
    }
    Ok(())
}
