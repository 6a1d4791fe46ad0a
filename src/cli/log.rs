//! `log`: reading the event log of a running service.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Global, exit::Code, output};
use crate::client::Client;
use crate::domain::Lsn;

/// Records of one request.
const PAGE: u64 = 1_000;
/// Longest wait the service grants one request.
const WAIT_SECONDS: u64 = 60;
/// A longer text is cut for people: objects of any size are part of records.
const TEXT_CHARS_MAX: usize = 40;

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
    let mut from = dump.from.max(Lsn::FIRST);
    while dump.to.is_none_or(|to| from <= to) {
        let next = page(global, &client, &dump, from).await?;
        if next == from {
            if !dump.follow {
                break;
            }
            // The service waits before it says so, except while it stops.
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
        from = next;
    }
    Ok(Code::Clean)
}

/// Prints one answer line by line as it comes; returns the LSN to go on with.
async fn page(
    global: &Global,
    client: &Client,
    dump: &DumpCommand,
    from: Lsn,
) -> anyhow::Result<Lsn> {
    let wait = if dump.follow { WAIT_SECONDS } else { 0 };
    let limit = dump.to.map_or(PAGE, |to| (to.0 - from.0).saturating_add(1).min(PAGE));
    let path = format!("/compute/log?from={from}&limit={limit}&wait={wait}");
    let mut pieces = client.pieces(client.request(reqwest::Method::GET, &path)).await?;
    let mut next = from;
    let mut open = Vec::new();
    while let Some(piece) = pieces.next().await? {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            open.extend_from_slice(part);
            if open.ends_with(b"\n") {
                next = print(global, &open)?.next();
                open.clear();
            }
        }
    }
    Ok(next)
}

/// Prints one record and returns its LSN.
fn print(global: &Global, line: &[u8]) -> anyhow::Result<Lsn> {
    let line = std::str::from_utf8(line).context("the service sent a record that is no text")?;
    let record: Value =
        serde_json::from_str(line).context("the service sent a record that is not JSON")?;
    let lsn = record.get("lsn").and_then(Value::as_u64).context("a record has no LSN")?;
    if global.json {
        output::line(line.trim_end())?;
    } else {
        output::line(&describe(lsn, &record))?;
    }
    Ok(Lsn(lsn))
}

/// One record for a person: position, time, what happened, and its fields.
fn describe(lsn: u64, record: &Value) -> String {
    let at = output::text(record, "at");
    let event = record.get("event").and_then(Value::as_object);
    let (name, body) = event.and_then(|event| event.iter().next()).unzip();
    let mut fields = String::new();
    for (key, value) in body.and_then(Value::as_object).into_iter().flatten() {
        fields.push(' ');
        fields.push_str(key);
        fields.push('=');
        short(value, &mut fields);
    }
    format!("{lsn:>8}  {at}  {:<24}{fields}", name.map_or("?", String::as_str))
}

/// A value in few characters: no quotes, long texts cut.
fn short(value: &Value, out: &mut String) {
    match value {
        Value::String(text) if text.chars().count() > TEXT_CHARS_MAX => {
            out.extend(text.chars().take(TEXT_CHARS_MAX / 2));
            out.push('…');
        }
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                short(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, item)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push('=');
                short(item, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_one_short_line() {
        let record = json!({ "lsn": 12, "at": "2026-11-25T17:26:22.449800Z", "cause": {},
            "event": { "job_submitted": { "worker": "c51363ef217c6789c85637eb85b4b874873dd147",
                "object": { "inline": "A".repeat(500) }, "run": "opens", "list": [1, "b"] } } });
        assert_eq!(
            describe(12, &record),
            "      12  2026-11-25T17:26:22.449800Z  job_submitted            \
             list=[1 b] object={inline=AAAAAAAAAAAAAAAAAAAA…} run=opens \
             worker=c51363ef217c6789c85637eb85b4b874873dd147"
        );
    }
}
