//! `log verify`: whether the log and what it refers to are as they must be.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use bytesize::ByteSize;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::exit::{Code, Coded};
use super::super::{Global, output, serve};
use super::lines::{self, Bar, Outcome};
use super::rerun;
use crate::client::Client;
use crate::eventlog::{Error, EventLog as _, OpenOptions, SledLog};
use crate::replay::verify::{self, Progress};

#[derive(Args, Debug)]
#[command(
    after_help = "The log is read and folded twice, which must give the same state as the service has; \
    each record must follow the one before; and every chunk that something needs must be held and be \
    what its name says. Ends with 1 when anything is not so.\n\n\
    Examples:\n  ledgerun log verify --rerun 50\n  ledgerun log verify --data-dir ./data"
)]
pub(in super::super) struct VerifyCommand {
    /// Verify this data directory, which no service uses now, instead of a running service
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Also run so many completed jobs again, each twice, and see whether the results are the same
    #[arg(long, value_name = "N", conflicts_with = "data_dir", value_parser = clap::value_parser!(u64).range(1..))]
    rerun: Option<u64>,
    /// Choose the jobs of --rerun by this number; the same one chooses the same jobs [default: random]
    #[arg(long, value_name = "NUMBER", requires = "rerun")]
    seed: Option<u64>,
}

pub(super) async fn run(global: &Global, command: VerifyCommand) -> anyhow::Result<Code> {
    if let Some(dir) = &command.data_dir {
        let report = offline(global, dir)?;
        return finish(global, report, None);
    }
    let client = global.client()?;
    let report = online(global, &client).await?;
    let rerun = match command.rerun {
        None => None,
        Some(count) => Some(rerun::run(global, &client, count, command.seed).await?),
    };
    finish(global, report, rerun)
}

/// A bar for the step that is under way.
pub(in super::super) fn bar(global: &Global) -> Bar<'_> {
    Bar::new(global, |phase| match phase {
        "first_fold" => "records folded",
        "second_fold" => "records folded again",
        _ => "chunks read",
    })
}

/// Has the service verify itself; its report.
pub(in super::super) async fn online(global: &Global, client: &Client) -> anyhow::Result<Value> {
    let request = client.request(Method::POST, "/compute/log/verify");
    match lines::follow(client, request, bar(global)).await? {
        Outcome::Report(report) => Ok(report),
        Outcome::Failed(error) => Err(anyhow!("the log can't be verified: {error}")),
        Outcome::Broken => {
            Err(anyhow!("the service stopped before all was verified; ask it again"))
        }
    }
}

fn offline(global: &Global, root: &Path) -> anyhow::Result<Value> {
    let (dir, store) = serve::offline(root)?;
    // The fold that opening does is left to the verification, which does two.
    let log = SledLog::open(&dir, OpenOptions::default(), |_| Ok::<_, Error>(()));
    let log = log.map_err(serve::log_failed)?;
    let mut bar = bar(global);
    let mut listener = |told: Progress| {
        bar.show(&serde_json::to_value(told).unwrap_or_default());
        true
    };
    let report = verify::verify(&*log.reader(), &store, log.last(), None, &mut listener);
    bar.end();
    let report = report.map_err(|wrong| match wrong {
        verify::Error::Log(wrong) => serve::log_failed(wrong),
        other => Coded::error(Code::StorageFailed, other),
    })?;
    Ok(serde_json::to_value(report)?)
}

/// Prints what was found and says how the program ends.
fn finish(
    global: &Global,
    mut report: Value,
    rerun: Option<rerun::Report>,
) -> anyhow::Result<Code> {
    let is_good = |report: &Value| report.get("good").and_then(Value::as_bool) == Some(true);
    let good = is_good(&report) && rerun.as_ref().is_none_or(rerun::Report::is_good);
    if global.json {
        if let Some(rerun) = rerun {
            report = with(report, "rerun", json!(rerun));
        }
        output::json(&with(report, "good", good.into()))?;
    } else {
        print(&report)?;
        if let Some(rerun) = rerun {
            rerun.print()?;
        }
    }
    Ok(if good { Code::Clean } else { Code::Failed })
}

fn with(mut report: Value, key: &str, value: Value) -> Value {
    if let Some(fields) = report.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    report
}

fn print(report: &Value) -> anyhow::Result<()> {
    let text = |key: &str| output::text(report, key);
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    let problems = number("problems_count");
    let verdict = if problems == 0 { "good" } else { "DAMAGED" };
    output::line(&format!(
        "log {} to {}: {} records, {verdict}\n  {:<10} {}\n  {:<10} {}, {}",
        text("first_lsn"),
        text("last_lsn"),
        text("records"),
        "state",
        text("digest"),
        "chunks",
        text("chunks"),
        ByteSize(number("bytes")),
    ))?;
    let listed = report.get("problems").and_then(Value::as_array);
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .flatten()
        .map(|problem| ["kind", "lsn", "error"].map(|key| output::text(problem, key)).to_vec())
        .collect();
    let listed = rows.len() as u64;
    output::table(&["problem", "record", "what"], rows)?;
    if listed < problems {
        output::say(&format!("there are {} more", problems - listed));
    }
    Ok(())
}

/// The words for phases that [`bar`] knows are those of the service.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::verify::Phase;

    #[test]
    fn phases_are_known() {
        for (phase, word) in [
            (Phase::FirstFold, "first_fold"),
            (Phase::SecondFold, "second_fold"),
            (Phase::Chunks, "chunks"),
        ] {
            let told = serde_json::to_value(Progress { phase, done: 1, total: 2 }).unwrap();
            assert_eq!(told, json!({ "phase": word, "done": 1, "total": 2 }));
        }
    }
}
