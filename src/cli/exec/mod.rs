//! `exec`: running what was recorded, or a folder of actions, wherever there is a service; or just
//! showing it.

mod dump;
mod embedded;
mod folder;
mod layout;
mod measure;
mod recording;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::exit::{Code, Coded};
use super::replay::{Selection, Tempo};
use super::{Global, client_runtime, record};
use crate::client::Client;
use crate::domain::Lsn;

#[derive(Args, Debug)]
#[command(
    after_help = "SOURCE is the file of a recording, a recording of the service by its number, or a \
    folder as --dump-actions writes it. Ends with 1 when a result differs from the one that comes \
    with it, or when a job fails that had not.\n\n\
    Examples:\n  ledgerun exec night.lrec --inproc\n  ledgerun exec 12 --dump-actions ./night"
)]
pub(super) struct ExecCommand {
    /// File, number of a recording, or folder
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Run it in a service inside of this program that is gone afterwards
    #[arg(long, conflicts_with_all = ["dump", "dump_actions", "keep"])]
    inproc: bool,
    /// Jobs that run at once with --inproc [default: one for each processor]
    #[arg(long, value_name = "N", requires = "inproc", value_parser = clap::value_parser!(u64).range(1..))]
    slots: Option<u64>,
    /// Run nothing: print every action as JSON, one a line
    #[arg(long, conflicts_with = "dump_actions")]
    dump: bool,
    /// Run nothing: write every action, its inputs, its worker and its result into this new folder
    #[arg(long, value_name = "DIR")]
    dump_actions: Option<PathBuf>,
    #[command(flatten)]
    tempo: Tempo,
    #[command(flatten)]
    selection: Selection,
    /// Keep the recording that a file was imported as
    #[arg(long)]
    keep: bool,
}

/// Where the actions come from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Archive(PathBuf),
    Recording(Lsn),
    Folder(PathBuf),
}

impl Source {
    /// What is there by that name comes first: `./12` is never a number.
    fn of(text: &str) -> anyhow::Result<Self> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.exists() {
            return Ok(Self::Archive(path.to_owned()));
        }
        text.parse().map(Self::Recording).map_err(|_| {
            let why = anyhow!(
                "{text:?} is neither a file, nor a folder, nor the number of a recording; \
                 `ledgerun record list` shows which recordings there are"
            );
            Coded::error(Code::Usage, why)
        })
    }
}

pub(super) fn run(global: &Global, command: &ExecCommand) -> anyhow::Result<Code> {
    let source = Source::of(&command.source)?;
    if matches!(source, Source::Folder(_)) && command.tempo.speed.0.is_some() {
        let why = anyhow!("a folder is run as fast as its jobs run; --speed needs a recording");
        return Err(Coded::error(Code::Usage, why));
    }
    if command.dump || command.dump_actions.is_some() {
        return client_runtime()?.block_on(show(global, command, source));
    }
    if command.inproc {
        return embedded::run(global, command, source);
    }
    let client = global.client()?;
    client_runtime()?.block_on(execute(global, &client, command, source))
}

/// Runs it on a service, which must have it when it is a number.
async fn execute(
    global: &Global,
    client: &Client,
    command: &ExecCommand,
    source: Source,
) -> anyhow::Result<Code> {
    let summary = match source {
        Source::Folder(path) => folder::execute(global, client, command, &path).await?,
        Source::Recording(id) => recording::replay(global, client, command, id).await?,
        Source::Archive(path) => recording::archive(global, client, command, &path).await?,
    };
    summary.print(global)
}

async fn show(global: &Global, command: &ExecCommand, source: Source) -> anyhow::Result<Code> {
    let plan = command.selection.local();
    match (source, &command.dump_actions) {
        (Source::Folder(path), None) => dump::folder(&plan, &path)?,
        (Source::Folder(_), Some(_)) => {
            let why = anyhow!("the actions are in a folder already; --dump prints them");
            return Err(Coded::error(Code::Usage, why));
        }
        (Source::Archive(path), None) => dump::print(&plan, &path)?,
        (Source::Archive(path), Some(dir)) => dump::write(global, &plan, &path, dir)?,
        (Source::Recording(id), dir) => {
            let (_gone, path) = fetched(global, id).await?;
            match dir {
                None => dump::print(&plan, &path)?,
                Some(dir) => dump::write(global, &plan, &path, dir)?,
            }
        }
    }
    Ok(Code::Clean)
}

/// The archive of a recording of the service, in a folder that goes away when it is dropped.
async fn fetched(global: &Global, id: Lsn) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("recording.lrec");
    record::fetch(global, &global.client()?, id, &path, false).await?;
    Ok((folder, path))
}
