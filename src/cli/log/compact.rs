//! `log compact`: folding the oldest records, so that the log takes less of the disk.

use anyhow::{Context as _, anyhow};
use bytesize::ByteSize;
use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;
use serde_json::Value;

use super::super::exit::Code;
use super::super::{Global, output, progress};
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
    let mut lines = client.pieces(request).await?;
    let mut bar = Bar { global, phase: None, shown: ProgressBar::hidden() };
    let (mut report, mut failed) = (None, None);
    lines
        .each_line(|line| {
            let told: Value = serde_json::from_slice(line).context("an answer is not JSON")?;
            if let Some(progress) = told.get("progress") {
                bar.show(progress);
            }
            if let Some(error) = told.get("error") {
                failed = Some(error.as_str().unwrap_or_default().to_owned());
            }
            if let Some(found) = told.get("report") {
                report = Some(found.clone());
            }
            anyhow::Ok(())
        })
        .await?;
    bar.shown.finish_and_clear();
    match (report, failed) {
        (Some(report), _) => print(global, &report).map(|()| Code::Clean),
        (None, Some(error)) => Err(anyhow!("the log was not compacted: {error}")),
        (None, None) => Err(anyhow!("the service stopped before the log was compacted; ask again")),
    }
}

/// A bar for the step that is under way.
struct Bar<'a> {
    global: &'a Global,
    phase: Option<Value>,
    shown: ProgressBar,
}

impl Bar<'_> {
    fn show(&mut self, told: &Value) {
        let phase = told.get("phase").cloned();
        let number = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or_default();
        if self.phase != phase {
            self.shown.finish_and_clear();
            self.shown = progress::count(self.global, number("total"));
            self.shown.set_message(match phase.as_ref().and_then(Value::as_str) {
                Some("state") => "state folded",
                Some("kept") => "old records looked at",
                Some("copy") => "records copied",
                _ => "records read again",
            });
            self.phase = phase;
        }
        self.shown.set_length(number("total"));
        self.shown.set_position(number("done"));
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
