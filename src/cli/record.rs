//! `record`: making recordings, and carrying them elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::exit::{Code, Coded};
use super::{Global, output, progress};
use crate::client::{Client, Error, Recording, Saving, TakenRecording, save};
use crate::domain::Lsn;

#[derive(Subcommand, Debug)]
pub(super) enum RecordCommand {
    /// Begin a recording: keep all that is submitted from now on
    Start(StartCommand),
    /// Stop the recording under way
    #[command(after_help = "Examples:\n  ledgerun record stop\n  \
        RECORDING=$(ledgerun record stop --json | jq .recording)")]
    Stop,
    /// List recordings, oldest first
    List(ListCommand),
    /// Show a recording and what is in it
    #[command(after_help = "Examples:\n  ledgerun record show 12\n  \
        ledgerun record show 12 --json | jq .open_jobs")]
    Show(Which),
    /// Forget a recording; what only it kept is let go of
    #[command(after_help = "Examples:\n  ledgerun record delete 12\n  \
        ledgerun record export 12 -o night.lrec && ledgerun record delete 12")]
    Delete(Which),
    /// Write a recording into one file that can be imported anywhere
    Export(ExportCommand),
    /// Take a recording in from a file
    #[command(
        after_help = "The file is verified to its last byte before anything of it is kept.\n\n\
        Examples:\n  ledgerun record import night.lrec\n  \
        RECORDING=$(ledgerun record import night.lrec --json | jq .recording)"
    )]
    Import {
        /// The file, as `record export` writes it
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "Only one is under way at a time. Jobs belong to it by their submission.\n\n\
    Examples:\n  ledgerun record start\n  ledgerun record start --name nightly"
)]
pub(super) struct StartCommand {
    /// What to call it, for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun record list\n  \
    ledgerun record list --json | jq 'select(.state == \"complete\") | .recording'")]
pub(super) struct ListCommand {
    /// Only recordings after this one
    #[arg(long, value_name = "ID")]
    after: Option<Lsn>,
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

#[derive(Args, Debug)]
pub(super) struct Which {
    /// The recording, as `record list` prints it
    #[arg(value_name = "ID")]
    recording: Lsn,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Waits for jobs of the recording that have not ended. The file appears whole or not at \
    all, and the same recording always gives the same bytes.\n\n\
    Examples:\n  ledgerun record export 12\n  ledgerun record export 12 -o night.lrec --force"
)]
pub(super) struct ExportCommand {
    #[command(flatten)]
    which: Which,
    /// Where to [default: `recording-ID.lrec`]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(global: &Global, command: RecordCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    match command {
        RecordCommand::Start(StartCommand { name }) => {
            let started = client.start_recording(name.as_deref()).await.map_err(advised)?;
            if global.json {
                output::json(&started)?;
            } else {
                output::line(&started.recording.to_string())?;
            }
        }
        RecordCommand::Stop => {
            let stopped = client.stop_recording().await.map_err(advised)?;
            taken(global, &stopped, "has")?;
        }
        RecordCommand::List(list) => print_list(global, &client, list).await?,
        RecordCommand::Show(which) => {
            print(global, &client.recording(which.recording).await?)?;
        }
        RecordCommand::Delete(which) => {
            let answer = client.delete_recording(which.recording).await.map_err(advised)?;
            if global.json {
                output::json(&answer)?;
            }
        }
        RecordCommand::Export(export) => write(global, &client, export).await?,
        RecordCommand::Import { file } => {
            let imported = import(global, &client, &file).await?;
            taken(global, &imported, "was imported with")?;
        }
    }
    Ok(Code::Clean)
}

/// Adds what to do about a refusal.
pub(super) fn advised(wrong: Error) -> anyhow::Error {
    let hint = match wrong.code() {
        Some("recording_active") => "`ledgerun record stop` ends it",
        Some("not_recording") => "`ledgerun record start` begins one",
        Some("recording_in_use") => {
            "wait for it with `ledgerun replay wait`, or end it with `ledgerun replay cancel`"
        }
        Some("recording_open") => "wait until its jobs have ended, or cancel them",
        Some("unknown_recording") => "`ledgerun record list` shows which there are",
        Some("unknown_replay") => "`ledgerun replay list` shows which there are",
        _ => return wrong.into(),
    };
    anyhow!("{wrong}; {hint}")
}

fn taken(global: &Global, taken: &TakenRecording, has: &str) -> anyhow::Result<()> {
    if global.json {
        return output::json(taken);
    }
    let TakenRecording { recording, jobs, chunks, bytes, .. } = taken;
    let bytes = ByteSize(*bytes);
    output::line(&format!("recording {recording} {has} {jobs} jobs, {chunks} chunks, {bytes}"))
}

async fn print_list(global: &Global, client: &Client, list: ListCommand) -> anyhow::Result<()> {
    let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
    let page = client.recordings(list.after, limit).await?;
    if global.json {
        for recording in &page.recordings {
            output::json(recording)?;
        }
        return Ok(());
    }
    let rows = page.recordings.iter().map(|recording| {
        vec![
            recording.recording.to_string(),
            recording.state.clone(),
            recording.jobs.to_string(),
            recording.open_jobs.to_string(),
            recording.start_lsn.to_string(),
            recording.stop_lsn.map_or_else(|| "-".to_owned(), |stop| stop.to_string()),
            if recording.imported { "imported" } else { "made here" }.to_owned(),
            recording.name.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    if page.recordings.is_empty() && list.after.is_none() {
        output::say("no recordings yet; `ledgerun record start` begins one");
    }
    let head = ["recording", "state", "jobs", "open", "from", "to", "origin", "name"];
    output::table(&head, rows.collect())?;
    if let Some(next) = page.next {
        output::say(&format!("there are more: --after {next}"));
    }
    Ok(())
}

fn print(global: &Global, recording: &Recording) -> anyhow::Result<()> {
    if global.json {
        return output::json(recording);
    }
    let range = match (recording.stop_lsn, recording.imported) {
        (None, _) => format!("from {}", recording.start_lsn),
        (Some(stop), false) => format!("{} to {stop}", recording.start_lsn),
        (Some(stop), true) => format!("{} to {stop}, where it was recorded", recording.start_lsn),
    };
    let jobs = match recording.open_jobs {
        0 => recording.jobs.to_string(),
        open => format!("{}, of which {open} have not ended", recording.jobs),
    };
    let chunks = recording.chunks.zip(recording.bytes);
    let workers = recording.workers.iter().flatten().map(|worker| ("worker", worker.to_string()));
    let fields = [
        ("name", recording.name.clone()),
        ("range", Some(range)),
        ("jobs", Some(jobs)),
        ("chunks", chunks.map(|(chunks, bytes)| format!("{chunks}, {}", ByteSize(bytes)))),
        ("started", recording.started_at.clone()),
        ("stopped", recording.stopped_at.clone()),
        ("imported", recording.imported_at.clone()),
    ];
    let fields = fields.into_iter().filter_map(|(label, value)| Some((label, value?)));
    let mut lines = vec![format!("recording {}  {}", recording.recording, recording.state)];
    lines.extend(fields.chain(workers).map(|(label, value)| format!("  {label:<10} {value}")));
    output::line(&lines.join("\n"))
}

async fn write(global: &Global, client: &Client, export: ExportCommand) -> anyhow::Result<()> {
    let recording = export.which.recording;
    let target = export.output.unwrap_or_else(|| format!("recording-{recording}.lrec").into());
    if !export.force && target.exists() {
        return Err(is_there(&target));
    }
    let bytes = fetch(global, client, recording, &target, export.force).await?;
    if global.json {
        let file = target.display().to_string();
        return output::json(&serde_json::json!({
            "recording": recording, "file": file, "bytes": bytes,
        }));
    }
    output::line(&format!("{}: {}", target.display(), ByteSize(bytes)))
}

fn is_there(target: &Path) -> anyhow::Error {
    let name = target.display();
    let why = anyhow!("{name} is there already; --force replaces it, -o names another file");
    Coded::error(Code::Usage, why)
}

/// Writes the archive of a recording into a file; gives its length.
pub(super) async fn fetch(
    global: &Global,
    client: &Client,
    recording: Lsn,
    target: &Path,
    replace: bool,
) -> anyhow::Result<u64> {
    let known = client.recording(recording).await.map_err(advised)?;
    if known.open_jobs > 0 && known.stop_lsn.is_some() {
        output::say(&format!("waiting for {} jobs that have not ended", known.open_jobs));
    }
    let mut pieces = client.archive(recording).await.map_err(advised)?;
    let bar = progress::bytes(global, "exporting", pieces.length());
    let mut bytes = 0;
    let saved = save(&mut pieces, target, Saving { replace, durable: true }, |got| {
        bytes += got;
        bar.inc(got);
    });
    let saved = saved.await;
    bar.finish_and_clear();
    match saved {
        Err(Error::Write { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(is_there(target))
        }
        saved => saved.map(|()| bytes).context("the export was broken off; nothing was written"),
    }
}

/// Sends an archive to the service.
pub(super) async fn import(
    global: &Global,
    client: &Client,
    file: &Path,
) -> anyhow::Result<TakenRecording> {
    let length = std::fs::metadata(file).ok().map(|meta| meta.len());
    let bar = progress::bytes(global, "importing", length);
    let shown = bar.clone();
    let imported = client
        .import_archive(file, move |sent| {
            shown.inc(sent);
            if Some(shown.position()) == length {
                shown.set_message("verifying");
            }
        })
        .await;
    bar.finish_and_clear();
    imported.map_err(|wrong| match wrong.code() {
        Some("damaged_archive") => {
            anyhow!("{wrong}; nothing of {} was kept: export it once more", file.display())
        }
        _ => advised(wrong),
    })
}
