//! `log compact`: folding the oldest records, so that the log takes less of the disk.

use anyhow::anyhow;
use bytesize::ByteSize;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::super::exit::Code;
use super::super::{Global, output};
use super::lines::{self, Bar, Outcome};
use crate::config::Span;
use crate::domain::Lsn;

#[derive(Args, Debug)]
#[command(
    after_help = "Records that are folded can't be looked back at any more. What is not retired keeps \
    its answers, and so do recordings: nothing after the beginning of one is folded until it is \
    deleted. Without options the settings of the service say what stays and, where they say \
    nothing, all that can be folded is.\n\n\
    Examples:\n  ledgerun log compact --keep 30d\n  ledgerun log compact --before 120000 --json"
)]
pub(in super::super) struct CompactCommand {
    /// Fold the records before this one
    #[arg(long, value_name = "LSN")]
    before: Option<Lsn>,
    /// Fold the records older than this
    #[arg(long, value_name = "TIME")]
    keep: Option<Span>,
}

pub(super) async fn run(global: &Global, command: CompactCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let mut query = Vec::new();
    if let Some(before) = command.before {
        query.push(("before", before.to_string()));
    }
    if let Some(keep) = command.keep {
        query.push(("keep", keep.0.as_secs_f64().to_string()));
    }
    let request = client.request(Method::POST, "/compute/log/compact").query(&query);
    match lines::follow(&client, request, Bar::new(global, counted)).await? {
        Outcome::Report(report) => print(global, &report).map(|()| Code::Clean),
        Outcome::Failed(error) => Err(anyhow!("the log was not compacted: {error}")),
        Outcome::Broken => {
            Err(anyhow!("the service stopped before the log was compacted; ask again"))
        }
    }
}

/// What is counted in a phase.
fn counted(phase: &str) -> &'static str {
    match phase {
        "state" => "state folded",
        "kept" => "old records looked at",
        "copy" => "records copied",
        _ => "records read again",
    }
}

fn print(global: &Global, report: &Value) -> anyhow::Result<()> {
    if global.json {
        return output::json(report);
    }
    let text = |key: &str| output::text(report, key);
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    if report.get("compacted").and_then(Value::as_bool) == Some(true) {
        output::line(&format!(
            "log {} to {}: {} records removed, {} from before stay readable\n  {:<10} {} before, {} now",
            text("first_lsn"),
            text("last_lsn"),
            text("records_removed"),
            text("records_kept"),
            "disk",
            ByteSize(number("disk_bytes_before")),
            ByteSize(number("disk_bytes_after")),
        ))?;
    } else {
        output::line(&format!(
            "log {} to {}: there is nothing to fold",
            text("first_lsn"),
            text("last_lsn"),
        ))?;
    }
    if report.get("space_returned").and_then(Value::as_bool) == Some(false) {
        output::say("the space of the old log comes back when those who read it have finished");
    }
    let held =
        |kind: &str| report.get("held_by").and_then(|by| by.get(kind)).and_then(Value::as_u64);
    for kind in ["recording", "replay"] {
        if let Some(id) = held(kind) {
            output::say(&format!("{kind} {id} needs all records from its beginning on"));
        }
    }
    Ok(())
}
