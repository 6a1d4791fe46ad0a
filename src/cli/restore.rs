//! `restore`: from a backup to a data directory.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;

use super::backup::{Bar, failed};
use super::exit::Code;
use super::{Global, output};
use crate::domain::Lsn;
use crate::upkeep::backup::restore;

#[derive(Args, Debug)]
#[command(
    after_help = "Everything is verified while it is written, and the directory appears when all of it is \
    there. A service that is started on it answers as the one did that was backed up, with the same \
    LSNs.\n\nExamples:\n  ledgerun restore /mnt/backup/ledgerun --data-dir ./restored\n  \
    ledgerun restore ./copy --data-dir ./earlier --at 1207"
)]
pub(super) struct RestoreCommand {
    /// The folder that `backup` wrote
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where to make the data directory; empty, or not there yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// As it was when this LSN was the newest, instead of the end of the backup
    #[arg(long, value_name = "LSN")]
    at: Option<Lsn>,
}

pub(super) fn run(global: &Global, command: &RestoreCommand) -> anyhow::Result<Code> {
    let RestoreCommand { folder, data_dir, at } = command;
    let mut bar = Bar::new(global, "restoring");
    let restored = restore(folder, data_dir, *at, &mut |told| bar.show(told));
    bar.end();
    let restored = restored.map_err(failed)?;
    if global.json {
        output::json(&restored)?;
    } else {
        output::line(&format!(
            "{} is of LSN {}: {} records, {} chunks ({}), state {}",
            data_dir.display(),
            restored.lsn,
            restored.records,
            restored.chunks,
            ByteSize(restored.bytes),
            restored.digest
        ))?;
    }
    Ok(Code::Clean)
}
