//! `log`: reading the event log of a running service.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Global, exit::Code, output};
use crate::domain::Lsn;

#[derive(Subcommand, Debug)]
pub(super) enum LogCommand {
    /// Print records, one a line
    Dump(DumpCommand),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun log dump --from 100 --to 120\n  \
    ledgerun log dump --follow --json | jq .event")]
pub(super) struct DumpCommand {
    /// First LSN
    #[arg(long, default_value = "1", value_name = "LSN")]
    from: Lsn,
    /// Last LSN [default: the newest]
    #[arg(long, value_name = "LSN")]
    to: Option<Lsn>,
    /// Go on with new records as they come
    #[arg(long, short)]
    follow: bool,
}

pub(super) async fn run(global: &Global, command: LogCommand) -> anyhow::Result<Code> {
    let LogCommand::Dump(dump) = command;
    let client = global.client()?;
    let mut from = dump.from;
    loop {
        let wait = if dump.follow { 60 } else { 0 };
        let path = format!("/compute/log?from={from}&limit=1000&wait={wait}");
        let response = client.send(client.request(reqwest::Method::GET, &path)).await?;
        let page = response.text().await?;
        let mut listed = 0_u64;
        for text in page.lines() {
            let record: Value = serde_json::from_str(text)?;
            let lsn = Lsn(record.get("lsn").and_then(Value::as_u64).unwrap_or_default());
            if dump.to.is_some_and(|to| lsn > to) {
                return Ok(Code::Clean);
            }
            if global.json {
                output::line(text)?
            } else {
                output::line(&describe(&record))?
            }
            listed += 1;
        }
        from = Lsn(from.0 + listed);
        if dump.to.is_some_and(|to| from > to) || (listed == 0 && !dump.follow) {
            return Ok(Code::Clean);
        }
    }
}

/// One record for a person: position, time, what happened, and its fields.
fn describe(record: &Value) -> String {
    let lsn = record.get("lsn").and_then(Value::as_u64).unwrap_or_default();
    let at = record.get("at").and_then(Value::as_str).unwrap_or_default();
    let (name, fields) = match record.get("event") {
        Some(Value::Object(event)) => {
            event.iter().next().map_or(("", String::new()), |(name, body)| {
                let fields =
                    body.as_object().into_iter().flatten().map(|(key, value)| match value {
                        Value::String(text) => format!("{key}={text}"),
                        other => format!("{key}={other}"),
                    });
                (name.as_str(), fields.collect::<Vec<_>>().join(" "))
            })
        }
        _ => ("", String::new()),
    };
    format!("{lsn:>8}  {at}  {name:<24} {fields}")
}
