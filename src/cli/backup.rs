//! `backup`: a folder that a data directory can be made of again.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::{Buf as _, Bytes};
use bytesize::ByteSize;
use clap::Args;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::exit::{Code, Coded};
use super::{Global, output, progress, serve};
use crate::chunks;
use crate::clock::{Clock as _, System};
use crate::engine::{Opening, PastOptions};
use crate::eventlog::{EventLog as _, OpenOptions, SledLog};
use crate::upkeep::backup::{self, Error, Folder, Progress, Taken};
use crate::views::Published;

/// Pieces of an answer that wait to be written.
const PIECES_WAITING: usize = 16;

#[derive(Args, Debug)]
#[command(
    after_help = "The folder is consistent at one LSN, which is printed. Run again on the same folder, only \
    records and chunks that are not in it are added. An interrupted backup leaves the one before as it \
    was.\n\nExamples:\n  ledgerun backup /mnt/backup/ledgerun\n  \
    ledgerun backup --data-dir ./data ./copy"
)]
pub(super) struct BackupCommand {
    /// The folder; it is made when it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Back up this data directory, which no service uses now, instead of a running service
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, command: BackupCommand) -> anyhow::Result<Code> {
    let BackupCommand { folder: dir, data_dir } = command;
    let folder = Folder::open(&dir).map_err(failed)?;
    let taken = match data_dir {
        Some(root) => offline(global, folder, &root)?,
        None => online(global, folder).await?,
    };
    if global.json {
        output::json(&taken)?;
    } else {
        output::line(&format!(
            "{} is of LSN {}: {} records and {} chunks added ({}), {} in all",
            dir.display(),
            taken.lsn,
            taken.records,
            taken.chunks,
            ByteSize(taken.bytes),
            ByteSize(taken.total_bytes)
        ))?;
        if taken.lost > 0 {
            output::say(&format!(
                "{} chunks could not be read; ledgerun check names them",
                taken.lost
            ));
        }
    }
    Ok(if taken.lost == 0 { Code::Clean } else { Code::Failed })
}

/// An error with its exit code.
pub(super) fn failed(wrong: Error) -> anyhow::Error {
    match wrong {
        Error::Log(wrong) => serve::log_failed(wrong),
        Error::Damaged { .. } | Error::TooNew { .. } => Coded::error(Code::Damaged, wrong),
        Error::Io { .. } | Error::Chunks(_) => Coded::error(Code::StorageFailed, wrong),
        refused => Coded::error(Code::Failed, refused),
    }
}

/// A bar over bytes of chunks and records.
pub(super) struct Bar(ProgressBar, bool);

impl Bar {
    pub(super) fn new(global: &Global, doing: &'static str) -> Self {
        Self(progress::bytes(global, doing, Some(0)), false)
    }

    pub(super) fn show(&mut self, told: Progress) -> bool {
        let Self(bar, begun) = self;
        // A record is some 200 bytes.
        let records = |records: u64| records.saturating_mul(200);
        if !*begun {
            bar.set_length(told.bytes_total.saturating_add(records(told.records_total)));
            *begun = true;
        }
        bar.set_position(told.bytes.saturating_add(records(told.records)));
        true
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn take(global: &Global, mut folder: Folder, stream: impl Read) -> anyhow::Result<Taken> {
    let mut bar = Bar::new(global, "backing up");
    let taken = folder.take(stream, System.now().to_string(), &mut |told| bar.show(told));
    bar.end();
    taken.map_err(failed)
}

async fn online(global: &Global, folder: Folder) -> anyhow::Result<Taken> {
    let (after, known) = folder.request();
    let client = global.client()?;
    let mut pieces = client.backup(after, known).await?;
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let global = global.clone();
    let taking = tokio::task::spawn_blocking(move || {
        take(&global, folder, Answer { receiver, piece: Bytes::new() })
    });
    let mut broken = None;
    loop {
        match pieces.next().await {
            Ok(None) => break,
            Ok(Some(piece)) => {
                if sender.send(Ok(piece)).await.is_err() {
                    break;
                }
            }
            Err(wrong) => {
                let _ = sender.send(Err(io::Error::other("the answer broke off"))).await;
                broken = Some(wrong);
                break;
            }
        }
    }
    drop(sender);
    let taken = taking.await.context("taking the backup panicked")?;
    match broken {
        Some(wrong) if taken.is_err() => Err(wrong.into()),
        _ => taken,
    }
}

/// An answer as it comes.
struct Answer {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = self.piece.len().min(buffer.len());
        if let Some(room) = buffer.get_mut(..count) {
            self.piece.copy_to_slice(room);
        }
        Ok(count)
    }
}

fn offline(global: &Global, folder: Folder, root: &Path) -> anyhow::Result<Taken> {
    let (dir, store) = serve::offline(root)?;
    // No checkpoint: what is backed up was read in full.
    let mut opening = Opening::begin(&PastOptions::default());
    let log = SledLog::open_with(&dir, OpenOptions::default(), &mut opening);
    let (log, state) = (log.map_err(serve::log_failed)?, opening.done());
    let (after, known) = folder.request();
    let request = backup::Request::new(after, &known).context("a list of chunks breaks off")?;
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&log, &store, &request, state, writer));
        let taken = take(global, folder, io::BufReader::with_capacity(1 << 16, reader));
        let sent = sending.join().map_err(|_| anyhow!("reading the data directory panicked"))?;
        // What the reader says is no more than that it ended early.
        sent.map_err(failed)?;
        taken
    })
}

fn send(
    log: &SledLog,
    store: &chunks::Store,
    request: &backup::Request,
    state: Published,
    writer: io::PipeWriter,
) -> Result<(), Error> {
    let mut out = io::BufWriter::with_capacity(1 << 16, writer);
    match backup::send(&*log.reader(), store, request, || state, &mut out) {
        // Whoever took it has refused, and says why.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => {
            let _ = out.flush();
            sent
        }
    }
}
