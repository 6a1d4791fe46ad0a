//! `check`: whether a data directory, or a running service, is sound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use bytesize::ByteSize;
use clap::Args;
use serde_json::Value;

use super::backup::{Bar, failed};
use super::exit::{Code, Coded};
use super::log::verify;
use super::{Global, output, serve};
use crate::domain::{Lsn, sentence};
use crate::eventlog::DataDir;
use crate::replay::verify::Error as VerifyError;
use crate::upkeep::backup;
use crate::upkeep::check::{self, Error, Finding, Report, Weight};

#[derive(Args, Debug)]
#[command(
    after_help = "A data directory is checked while no service uses it: the log and its end, every chunk and \
    every reference to one, checkpoints, and what stops left behind. A running service is asked to check \
    its log and the chunks that are needed. Ends with 0 when all is sound, 1 when something is damaged, 5 \
    when the service does not start on it.\n\n\
    Examples:\n  ledgerun check\n  ledgerun check --data-dir ./data --repair"
)]
pub(super) struct CheckCommand {
    /// Check this data directory, which no service uses now, instead of a running service
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Check this backup instead, every file of it
    #[arg(long, value_name = "FOLDER", conflicts_with = "data_dir")]
    backup: Option<PathBuf>,
    /// Also do what loses nothing: remove leftovers and unusable checkpoints, forget damaged chunks
    #[arg(long, requires = "data_dir")]
    repair: bool,
}

pub(super) async fn run(global: &Global, command: &CheckCommand) -> anyhow::Result<Code> {
    let report = match (&command.data_dir, &command.backup) {
        (Some(dir), _) => offline(global, dir, command.repair)?,
        (None, Some(folder)) => of_backup(global, folder)?,
        (None, None) => of_service(&verify::online(global, &global.client()?).await?),
    };
    if global.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(match (report.good, report.starts) {
        (_, false) => Code::Damaged,
        (false, true) => Code::Failed,
        (true, true) => Code::Clean,
    })
}

fn offline(global: &Global, root: &Path, repair: bool) -> anyhow::Result<Report> {
    if !["log", "hwm", "chunks"].iter().any(|part| root.join(part).exists()) {
        let why = anyhow!("{} is no data directory: it has no log", root.display());
        return Err(Coded::error(Code::Usage, why));
    }
    let dir = DataDir::lock(root).map_err(|wrong| serve::dir_failed(root, wrong))?;
    let mut bar = verify::bar(global);
    let found = check::check(&Arc::new(dir), repair, &mut |told| {
        bar.show(&serde_json::to_value(told).unwrap_or_default());
        true
    });
    bar.end();
    found.map_err(|wrong| match wrong {
        Error::Log(wrong) | Error::Verify(VerifyError::Log(wrong)) => serve::log_failed(wrong),
        other => Coded::error(Code::StorageFailed, other),
    })
}

/// A backup has no service to start; what is damaged in it can't be restored.
fn of_backup(global: &Global, folder: &Path) -> anyhow::Result<Report> {
    let mut bar = Bar::new(global, "checking");
    let verified = backup::verify(folder, &mut |told| bar.show(told));
    bar.end();
    let verified = verified.map_err(failed)?;
    let mut report = Report::new();
    report.first_lsn = Lsn::FIRST;
    report.last_lsn = verified.manifest.lsn;
    report.records = verified.manifest.lsn.0;
    report.digest = Some(verified.manifest.digest);
    report.chunks = verified.chunks;
    for fault in verified.faults {
        report.add(Finding::of_backup(folder, sentence(&fault)));
    }
    Ok(report)
}

/// What a running service said of itself. It has started, so nothing keeps it from that.
fn of_service(told: &Value) -> Report {
    let number = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut report = Report::new();
    report.first_lsn = Lsn(number("first_lsn"));
    report.last_lsn = Lsn(number("last_lsn"));
    report.records = number("records");
    report.digest = text(told, "digest").and_then(|digest| digest.parse().ok());
    report.chunks = number("chunks");
    report.bytes = number("bytes");
    let problems = told.get("problems").and_then(Value::as_array);
    for problem in problems.into_iter().flatten() {
        let kind = text(problem, "kind").unwrap_or_default();
        let lsn = problem.get("lsn").and_then(Value::as_u64).map(Lsn);
        let chunk = text(problem, "chunk").and_then(|chunk| chunk.parse().ok());
        let error = text(problem, "error").unwrap_or_default();
        report.add(Finding::of_service(&kind, error, lsn, chunk));
    }
    report.findings_count = report.findings_count.max(number("problems_count"));
    report
}

fn print(report: &Report) -> anyhow::Result<()> {
    let verdict = match (report.good, report.starts) {
        (_, false) => "DAMAGED, the service does not start on it",
        (false, true) => "DAMAGED",
        (true, true) => "sound",
    };
    let digest = report.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
    output::line(&format!(
        "log {} to {}: {} records, {verdict}\n  {:<11} {digest}\n  {:<11} {}, {}\n  {:<11} {}",
        report.first_lsn,
        report.last_lsn,
        report.records,
        "state",
        "chunks",
        report.chunks,
        ByteSize(report.bytes),
        "checkpoints",
        report.checkpoints,
    ))?;
    output::table(
        &["finding", "where", "what", "means", "what to do"],
        report.findings.iter().map(row).collect(),
    )?;
    let listed = report.findings.len() as u64;
    if listed < report.findings_count {
        output::say(&format!("there are {} more", report.findings_count - listed));
    }
    Ok(())
}

fn row(finding: &Finding) -> Vec<String> {
    let mut place: Vec<String> = finding.lsn.iter().map(|lsn| format!("record {lsn}")).collect();
    place.extend(finding.chunk.iter().map(|chunk| format!("chunk {chunk}")));
    if place.is_empty() || finding.weight == Weight::Harmless {
        place.extend(finding.path.iter().map(|path| path.display().to_string()));
    }
    let remedy =
        if finding.repaired { "nothing: it was mended".to_owned() } else { finding.remedy.clone() };
    vec![
        finding.kind.to_owned(),
        place.join(", "),
        finding.error.clone(),
        finding.means.to_owned(),
        remedy,
    ]
}
