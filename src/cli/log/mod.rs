//! `log`: reading the event log, looking back with it, checking it.

mod compact;
mod describe;
mod lines;
mod rerun;
mod show;
pub(super) mod verify;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

pub(super) use self::describe::describe;
use super::{Global, exit::Code, jobs, output, queue, workers};
use crate::client::Client;
use crate::domain::Lsn;

/// Records of one request.
const PAGE: u64 = 1_000;
/// Longest wait the service grants one request.
const WAIT_SECONDS: u64 = 60;

#[derive(Subcommand, Debug)]
pub(super) enum LogCommand {
    /// Print records, one a line
    Dump(DumpCommand),
    /// Show one record with everything in it
    #[command(after_help = "Examples:\n  ledgerun log show 1207\n  \
        ledgerun log show 1207 --json | jq .event")]
    Show {
        /// The record
        #[arg(value_name = "LSN")]
        lsn: Lsn,
    },
    /// List jobs, queues or workers as they were
    At(AtCommand),
    /// Fold the oldest records and give their space back
    Compact(compact::CompactCommand),
    /// Check the log and every chunk that is needed
    Verify(verify::VerifyCommand),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun log dump --from 100 --to 120\n  \
    ledgerun log dump --follow --json | jq .event")]
pub(super) struct DumpCommand {
    /// First LSN [default: the oldest]
    #[arg(long, value_name = "LSN")]
    from: Option<Lsn>,
    /// Last LSN [default: the newest]
    #[arg(long, value_name = "LSN")]
    to: Option<Lsn>,
    /// Go on with new records as they come
    #[arg(long, short)]
    follow: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "The same as --at of the commands that list these.\n\n\
    Examples:\n  ledgerun log at 1207 jobs\n  ledgerun log at 1207 queues --json")]
pub(super) struct AtCommand {
    /// As it was when this LSN was the newest
    #[arg(value_name = "LSN")]
    lsn: Lsn,
    /// What to list
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

/// What there is to look back at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    Jobs,
    Queues,
    Workers,
}

pub(super) async fn run(global: &Global, command: LogCommand) -> anyhow::Result<Code> {
    match command {
        LogCommand::Dump(dump) => print_all(global, &dump).await,
        LogCommand::Show { lsn } => show::run(global, &global.client()?, lsn).await,
        LogCommand::At(at) => look_back(global, at).await,
        LogCommand::Compact(command) => compact::run(global, command).await,
        LogCommand::Verify(command) => verify::run(global, command).await,
    }
}

async fn print_all(global: &Global, dump: &DumpCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let mut from = match dump.from {
        Some(from) => from.max(Lsn::FIRST),
        None => oldest(&client).await?,
    };
    while dump.to.is_none_or(|to| from <= to) {
        let next = page(global, &client, dump, from).await?;
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

/// The first record that the service still has.
async fn oldest(client: &Client) -> anyhow::Result<Lsn> {
    let told: Value = client.get("/compute/sysinfo").await?;
    let first = told.get("log").and_then(|log| log.get("first_lsn")).and_then(Value::as_u64);
    Ok(Lsn(first.unwrap_or(1)))
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
    client.log_lines(from, limit, wait, |line| print(global, line)).await
}

async fn look_back(global: &Global, at: AtCommand) -> anyhow::Result<Code> {
    let client = global.client()?.at(Some(at.lsn));
    match at.what {
        What::Jobs => jobs::print_all(global, client, at.limit).await?,
        What::Queues => queue::print_page(global, &client, None, at.limit).await?,
        What::Workers => workers::list(global, &client).await?,
    }
    Ok(Code::Clean)
}

/// Reads one line of the log.
fn read(line: &[u8]) -> anyhow::Result<(Lsn, Value)> {
    let record: Value =
        serde_json::from_slice(line).context("the service sent a record that is not JSON")?;
    let lsn = record.get("lsn").and_then(Value::as_u64).context("a record has no LSN")?;
    Ok((Lsn(lsn), record))
}

/// Prints one record and returns its LSN.
fn print(global: &Global, line: &[u8]) -> anyhow::Result<Lsn> {
    let (lsn, record) = read(line)?;
    if global.json {
        let text = std::str::from_utf8(line).context("the service sent what is no text")?;
        output::line(text.trim_end())?;
    } else {
        output::line(&describe(&record))?;
    }
    Ok(lsn)
}
