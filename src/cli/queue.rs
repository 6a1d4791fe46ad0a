//! `queue`: making, watching and ending groups of jobs.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::away::Away;
use super::exit::Code;
use super::{At, Global, output};
use crate::client::{Client, Queue, QueueRef, QueueSettings};
use crate::config::Span;
use crate::domain::QueueId;

/// Between two looks at a queue that is waited for: soon at first, for short queues.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_millis(500);

#[derive(Subcommand, Debug)]
pub(super) enum QueueCommand {
    /// Make a queue and print its number, or its token
    Create(CreateCommand),
    /// List queues, oldest first
    List(ListCommand),
    /// Show a queue, its counters and its settings
    #[command(after_help = "Examples:\n  ledgerun queue show 3\n  \
        ledgerun queue show 3 --json | jq .failed_count")]
    Show(ShowCommand),
    /// Let a queue take no new job and finish those it has
    #[command(after_help = "Examples:\n  ledgerun queue drain 3\n  \
        ledgerun queue drain 3 && ledgerun queue wait 3")]
    Drain(Which),
    /// Cancel a queue with every job in it that has not ended
    #[command(after_help = "Examples:\n  ledgerun queue cancel 3\n  \
        ledgerun queue cancel 3 --json | jq .cancelled_count")]
    Cancel(Which),
    /// Wait until no job of a queue is open any more; exit 1 when some failed
    #[command(
        after_help = "Ends with 0 when every job has completed or was cancelled by itself, with 1 \
        when one failed or was abandoned, or when the queue was cancelled. A service that restarts \
        meanwhile is waited for.\n\nExamples:\n  ledgerun queue wait 3\n  \
        LEDGERUN_QUEUE=$TOKEN ledgerun queue wait --json"
    )]
    Wait(Which),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun queue create --name nightly --max-running 4\n  \
    export LEDGERUN_QUEUE=$(ledgerun queue create --remote --expire-after 2h)")]
pub(super) struct CreateCommand {
    /// Make it for the network: reachable by a token from anywhere, and print that
    #[arg(long)]
    remote: bool,
    /// What to call it, for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Retries of a failed job; below zero is the service's default
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_retries: Option<i64>,
    /// JSON object to keep with it
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    metadata: Option<Value>,
    /// Idle time after which it takes no more jobs, in whole seconds; 0s is never
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    expire_after: Option<u64>,
    /// How many of its jobs may run at once; 0 is as many as there are slots
    #[arg(long, value_name = "N")]
    max_running: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun queue list\n  \
    ledgerun queue list --json | jq 'select(.is_complete | not) | .queue_id'")]
pub(super) struct ListCommand {
    /// Only queues made after this one
    #[arg(long, value_name = "N")]
    after: Option<QueueId>,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    at: At,
}

#[derive(Args, Debug)]
pub(super) struct ShowCommand {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    at: At,
}

#[derive(Args, Debug)]
pub(super) struct Which {
    /// The queue's number or its token [default: `LEDGERUN_QUEUE`]
    #[arg(value_name = "QUEUE", env = "LEDGERUN_QUEUE", hide_env = true)]
    queue: QueueRef,
}

/// The queue that commands about jobs mean.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct InQueue {
    /// The queue, by its number or its token [default: `LEDGERUN_QUEUE`]
    #[arg(long, global = true, value_name = "QUEUE", env = "LEDGERUN_QUEUE", hide_env = true)]
    pub(super) queue: Option<QueueRef>,
}

fn metadata(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    let Span(time) = text.parse()?;
    if time.subsec_nanos() == 0 {
        Ok(time.as_secs())
    } else {
        Err(format!("{text:?} is not a whole number of seconds"))
    }
}

pub(super) async fn run(global: &Global, command: QueueCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    match command {
        QueueCommand::Create(new) => create(global, &client, new).await?,
        QueueCommand::List(list) => print_list(global, &client.at(list.at.at), list).await?,
        QueueCommand::Show(ShowCommand { which, at }) => {
            print(global, &client.at(at.at).queue(which.queue).await?)?;
        }
        QueueCommand::Drain(which) => {
            let queue = client.drain_queue(which.queue).await?;
            print_json(global, &queue)?;
        }
        QueueCommand::Cancel(which) => {
            let queue = client.cancel_queue(which.queue).await?;
            print_json(global, &queue)?;
        }
        QueueCommand::Wait(which) => {
            let queue = wait(global, &client, which.queue).await?;
            if global.json {
                output::json(&queue)?;
            } else {
                output::line(&summary(&queue))?;
            }
            return Ok(if is_good(&queue) { Code::Clean } else { Code::Failed });
        }
    }
    Ok(Code::Clean)
}

async fn create(global: &Global, client: &Client, new: CreateCommand) -> anyhow::Result<()> {
    let settings = QueueSettings {
        name: new.name,
        max_retries: new.max_retries,
        metadata: new.metadata,
        expire_after_idle_s: new.expire_after,
        max_running: new.max_running,
    };
    let created = client.create_queue(new.remote, &settings).await?;
    if global.json {
        return output::json(&created);
    }
    output::line(&match created.queue_token {
        Some(token) => token,
        None => created.queue_id.to_string(),
    })
}

async fn print_list(global: &Global, client: &Client, list: ListCommand) -> anyhow::Result<()> {
    print_page(global, client, list.after, list.limit).await
}

/// Prints queues after one, so many at most.
pub(super) async fn print_page(
    global: &Global,
    client: &Client,
    after: Option<QueueId>,
    limit: u64,
) -> anyhow::Result<()> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = client.queues(after, limit).await?;
    if global.json {
        for queue in &page.queues {
            output::json(queue)?;
        }
        return Ok(());
    }
    let rows = page.queues.iter().map(|queue| {
        vec![
            queue.queue_id.to_string(),
            queue.state.clone(),
            queue.queued_count.to_string(),
            queue.running_count.to_string(),
            queue.completed_count.to_string(),
            (queue.failed_count + queue.abandoned_count).to_string(),
            queue.cancelled_count.to_string(),
            queue.name.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let head = ["queue", "state", "queued", "running", "completed", "failed", "cancelled", "name"];
    output::table(&head, rows.collect())?;
    if let Some(next) = page.next {
        output::say(&format!("there are more: --after {next}"));
    }
    Ok(())
}

fn print_json(global: &Global, queue: &Queue) -> anyhow::Result<()> {
    if global.json { output::json(queue) } else { Ok(()) }
}

/// A queue with everything that is known of it.
fn print(global: &Global, queue: &Queue) -> anyhow::Result<()> {
    if global.json {
        return output::json(queue);
    }
    let never = queue.expire_after_idle_s.as_f64() == Some(0.0);
    let expires = if never {
        "never".to_owned()
    } else {
        format!("after {} s without a job or a request", queue.expire_after_idle_s)
    };
    let runs = queue
        .max_running
        .map_or_else(|| "as many as there are slots".to_owned(), |max| format!("{max} at once"));
    let metadata = queue.metadata.as_ref().map(ToString::to_string);
    let fields = [
        ("name", queue.name.clone()),
        ("jobs", Some(counters(queue))),
        ("retries", Some(queue.max_retries.to_string())),
        ("running", Some(runs)),
        ("expires", Some(expires)),
        ("access", Some(if queue.remote { "by token" } else { "this machine" }.to_owned())),
        ("metadata", metadata),
        ("made", Some(queue.created_at.clone())),
    ];
    let fields =
        fields.into_iter().filter_map(|(label, value)| Some(format!("  {label:<10} {}", value?)));
    let head = format!("queue {}  {}", queue.queue_id, queue.state);
    output::line(&std::iter::once(head).chain(fields).collect::<Vec<_>>().join("\n"))
}

/// How many jobs are in which state; those that there are none of are left out.
fn counters(queue: &Queue) -> String {
    let counts = [
        (queue.queued_count, "queued"),
        (queue.running_count, "running"),
        (queue.completed_count, "completed"),
        (queue.failed_count, "failed"),
        (queue.abandoned_count, "abandoned"),
        (queue.cancelled_count, "cancelled"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

fn summary(queue: &Queue) -> String {
    format!("queue {} is {}: {}", queue.queue_id, queue.state, counters(queue))
}

/// Whether all that was wanted was done.
fn is_good(queue: &Queue) -> bool {
    queue.failed_count == 0 && queue.abandoned_count == 0 && queue.state != "cancelled"
}

/// Looks at a queue until nothing in it is open, with a bar for whoever watches.
async fn wait(global: &Global, client: &Client, named: QueueRef) -> anyhow::Result<Queue> {
    let bar = bar(global);
    let mut away = Away::default();
    let mut step = LOOK_FIRST;
    let mut ended = None;
    loop {
        match client.queue(named).await {
            Ok(queue) => {
                away.back();
                bar.set_length(queue.ended() + queue.active_count);
                bar.set_position(queue.ended());
                if ended.is_none() {
                    // The rate is that of what happens from here on.
                    bar.reset_eta();
                }
                bar.set_message(counters(&queue));
                if queue.is_complete {
                    bar.finish_and_clear();
                    return Ok(queue);
                }
                let moved = ended.replace(queue.ended()) != Some(queue.ended());
                step = if moved { LOOK_FIRST } else { (step * 2).min(LOOK_LAST) };
                tokio::time::sleep(step).await;
            }
            Err(wrong) => {
                away.bear(wrong, |text| bar.suspend(|| output::complain(text))).await?;
            }
        }
    }
}

fn bar(global: &Global) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if global.json {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = "{bar:30} {pos}/{len} ended: {msg}, {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(state: &str, counts: [u64; 4]) -> Queue {
        let [completed, failed, abandoned, cancelled] = counts;
        serde_json::from_value(serde_json::json!({
            "queue_id": 3, "state": state, "active_count": 0, "completed_count": completed,
            "failed_count": failed, "abandoned_count": abandoned, "cancelled_count": cancelled,
            "queued_count": 0, "running_count": 0, "is_complete": true, "name": null,
            "metadata": null, "max_retries": 3, "expire_after_idle_s": 900, "max_running": null,
            "remote": false, "created_at": "2026-11-25T17:26:22Z",
        }))
        .unwrap()
    }

    #[test]
    fn waiting_ends_well_when_all_was_done() {
        assert!(is_good(&queue("active", [0; 4])));
        assert!(is_good(&queue("complete", [5, 0, 0, 0])));
        assert!(is_good(&queue("active", [5, 0, 0, 2])), "somebody wanted these cancelled");
        assert!(!is_good(&queue("active", [5, 1, 0, 0])));
        assert!(!is_good(&queue("active", [5, 0, 1, 0])));
        assert!(!is_good(&queue("cancelled", [5, 0, 0, 2])));
    }

    #[test]
    fn counters_name_what_there_is() {
        assert_eq!(counters(&queue("active", [0; 4])), "none");
        let some = queue("complete", [5, 1, 0, 2]);
        assert_eq!(summary(&some), "queue 3 is complete: 5 completed, 1 failed, 2 cancelled");
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(whole_seconds("15m"), Ok(900));
        assert_eq!(whole_seconds("0s"), Ok(0));
        assert!(whole_seconds("250ms").is_err());
        assert!(metadata("{\"a\": 1}").is_ok());
        assert!(metadata("[1]").is_err() && metadata("{").is_err());
    }
}
