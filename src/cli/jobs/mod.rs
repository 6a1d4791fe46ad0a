//! `jobs`: listing, showing and changing jobs.

mod show;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::queue::InQueue;
use super::{At, Global, exit::Code, output};
use crate::client::{Client, jobs_path};
use crate::domain::{JobState, Lsn, WorkerId};

#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct JobsArgs {
    #[command(flatten)]
    within: InQueue,
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Subcommand, Debug)]
pub(super) enum JobsCommand {
    /// List jobs, oldest first
    List(ListCommand),
    /// Show a job with its attempts and its result
    #[command(after_help = "Examples:\n  ledgerun jobs show 1207\n  \
        ledgerun jobs show 1207 --json | jq .attempts")]
    Show {
        /// The job, as `jobs list` and `submit` print it
        #[arg(value_name = "LSN")]
        job: Lsn,
        #[command(flatten)]
        at: At,
    },
    /// Say why a job is where it is
    #[command(after_help = "Examples:\n  ledgerun jobs explain 1207\n  \
        ledgerun jobs explain 1207 --json | jq -r .waits_for")]
    Explain {
        /// The job, as `jobs list` and `submit` print it
        #[arg(value_name = "LSN")]
        job: Lsn,
        #[command(flatten)]
        at: At,
    },
    /// Cancel jobs; their processes end unless somebody else wants the same result
    #[command(after_help = "Examples:\n  ledgerun jobs cancel 1207\n  \
        ledgerun jobs list --state pending --json | jq .lsn | xargs ledgerun jobs cancel")]
    Cancel(Which),
    /// Try failed or abandoned jobs again
    #[command(after_help = "Examples:\n  ledgerun jobs reschedule 1207\n  \
        ledgerun jobs list --state failed --json | jq .lsn | xargs ledgerun jobs reschedule")]
    Reschedule(Which),
    /// Pull jobs back and hand them out again
    #[command(after_help = "Examples:\n  ledgerun jobs retract 1207\n  \
        ledgerun jobs list --state running --json | jq .lsn | xargs ledgerun jobs retract")]
    Retract(Which),
    /// Give up the results of jobs that ended
    #[command(after_help = "Examples:\n  ledgerun jobs retire 1207\n  \
        ledgerun completed --json | jq .lsn | xargs ledgerun jobs retire")]
    Retire(Which),
    /// Change a job's priority; larger is sooner
    #[command(after_help = "Examples:\n  ledgerun jobs priority 1207 5\n  \
        ledgerun jobs priority 1207 -1")]
    Priority {
        /// The job, as `jobs list` and `submit` print it
        #[arg(value_name = "LSN")]
        job: Lsn,
        /// Its new priority; that of a job is 2 unless said otherwise
        #[arg(value_name = "N", allow_negative_numbers = true)]
        priority: i32,
    },
}

#[derive(Args, Debug)]
pub(super) struct Which {
    /// The jobs, as `jobs list` and `submit` print them
    #[arg(value_name = "LSN", required = true)]
    jobs: Vec<Lsn>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun jobs list --state failed\n  \
    ledgerun jobs list --function Exec --limit 20 --json")]
pub(super) struct ListCommand {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(JobState::ALL.map(JobState::name)))]
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
    #[command(flatten)]
    at: At,
}

/// The jobs a command is about: all, or those of a queue.
struct Jobs {
    client: Client,
    path: String,
}

impl Jobs {
    /// The path of one of them.
    fn one(&self, job: Lsn) -> String {
        format!("{}/{job}", self.path)
    }

    /// The same jobs at another time.
    fn at(mut self, at: At) -> Self {
        self.client = self.client.at(at.at);
        self
    }
}

pub(super) async fn run(global: &Global, args: JobsArgs) -> anyhow::Result<Code> {
    let JobsArgs { within, command } = args;
    let jobs = Jobs { client: global.client()?, path: jobs_path(within.queue) };
    match command {
        JobsCommand::List(list) => print_list(global, &jobs.at(list.at), list).await?,
        JobsCommand::Show { job, at } => {
            let jobs = jobs.at(at);
            let mut answer: Value = jobs.client.get(&jobs.one(job)).await?;
            let mut history: Value = jobs.client.get(&format!("{}/events", jobs.one(job))).await?;
            if let (Some(answer), Some(events)) =
                (answer.as_object_mut(), history.get_mut("events"))
            {
                answer.insert("events".to_owned(), events.take());
            }
            if global.json {
                output::json(&answer)?;
            } else {
                show::print(&answer)?;
            }
        }
        JobsCommand::Explain { job, at } => {
            let jobs = jobs.at(at);
            let answer: Value = jobs.client.get(&format!("{}/explain", jobs.one(job))).await?;
            if global.json {
                output::json(&answer)?;
            } else {
                let (state, because) =
                    (output::text(&answer, "state"), output::text(&answer, "because"));
                output::line(&format!("job {job} is {state}: {because}"))?;
            }
        }
        JobsCommand::Cancel(which) => return change(global, &jobs, which, "cancel").await,
        JobsCommand::Reschedule(which) => {
            return change(global, &jobs, which, "reschedule").await;
        }
        JobsCommand::Retract(which) => return change(global, &jobs, which, "retract").await,
        JobsCommand::Retire(which) => return change(global, &jobs, which, "retire").await,
        JobsCommand::Priority { job, priority } => {
            let path = format!("{}/priority", jobs.one(job));
            let answer: Value = jobs.client.post(&path, &json!({ "priority": priority })).await?;
            if global.json {
                output::json(&answer)?;
            }
        }
    }
    Ok(Code::Clean)
}

/// Does the same to several jobs; goes on after a refusal and says which were refused.
async fn change(global: &Global, jobs: &Jobs, which: Which, verb: &str) -> anyhow::Result<Code> {
    let mut code = Code::Clean;
    for job in which.jobs {
        let request =
            jobs.client.request(reqwest::Method::POST, &format!("{}/{verb}", jobs.one(job)));
        match jobs.client.json::<Value>(request).await {
            Ok(answer) if global.json => output::json(&answer)?,
            Ok(_) => {}
            Err(refused @ crate::client::Error::Refused { .. }) => {
                output::complain(&format!("cannot {verb} job {job}: {refused}"));
                code = Code::Failed;
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(code)
}

/// Prints all jobs, so many at most.
pub(super) async fn print_all(global: &Global, client: Client, limit: u64) -> anyhow::Result<()> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let list = ListCommand {
        state: None,
        worker: None,
        function: None,
        after: None,
        limit,
        at: At { at: None },
    };
    print_list(global, &Jobs { client, path: jobs_path(None) }, list).await
}

async fn print_list(global: &Global, jobs: &Jobs, list: ListCommand) -> anyhow::Result<()> {
    let mut query = vec![("limit", list.limit.to_string())];
    query.extend(list.state.map(|state| ("state", state)));
    query.extend(list.worker.map(|worker| ("worker", worker.to_string())));
    query.extend(list.function.map(|function| ("function", function)));
    query.extend(list.after.map(|after| ("after", after.to_string())));
    let request = jobs.client.request(reqwest::Method::GET, &jobs.path).query(&query);
    let answer: Value = jobs.client.json(request).await?;
    let jobs = answer.get("jobs").and_then(Value::as_array).cloned().unwrap_or_default();
    if global.json {
        for job in &jobs {
            output::json(job)?;
        }
        return Ok(());
    }
    let rows = jobs.iter().map(|job| {
        let mut state = output::text(job, "state");
        let cached = job.get("cached").and_then(Value::as_bool) == Some(true);
        if cached && output::is_terminal() {
            state.push_str(" (cached)");
        }
        vec![
            output::text(job, "lsn"),
            state,
            output::text(job, "function"),
            output::text(job, "priority"),
            output::text(job, "retry_count"),
            output::seconds(job, "submitted_at"),
            output::text(job, "action"),
        ]
    });
    let head = ["job", "state", "function", "priority", "retries", "submitted", "action"];
    output::table(&head, rows.collect())?;
    if let Some(next) = answer.get("next").and_then(Value::as_u64) {
        output::say(&format!("there are more: --after {next}"));
    }
    Ok(())
}
