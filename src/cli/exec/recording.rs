//! Running a recording on a service.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::super::{Global, output, record, replay};
use super::summary::{Summary, skeleton_of};
use super::{ExecCommand, measure};
use crate::client::{Client, Error, QueueRef};
use crate::clock::monotonic;
use crate::domain::{ChunkId, ContentHash, Lsn};
use crate::replay::archive::Archive;

/// Recordings of one request.
const PAGE: usize = 1_000;

/// Replays a recording of the service.
pub(super) async fn replay(
    global: &Global,
    client: &Client,
    command: &ExecCommand,
    id: Lsn,
) -> anyhow::Result<Summary> {
    let plan = command.selection.plan(command.tempo);
    let begun = monotonic();
    let started = client.start_replay(id, &plan).await.map_err(record::advised)?;
    let done = replay::wait(global, client, started.replay).await?;
    let elapsed = begun.elapsed();
    // Who may replay may not always ask for a queue by its number; then there is no latency to tell.
    let latency = measure::latency(client, QueueRef::Number(started.queue)).await;
    let latency = latency.unwrap_or_else(|wrong| {
        output::complain(&format!("cannot tell how long jobs took: {wrong}"));
        None
    });
    Ok(Summary::of_replay(done, elapsed, latency))
}

/// Replays an archive: imports it unless the service has it, and lets go of what was imported.
pub(super) async fn archive(
    global: &Global,
    client: &Client,
    command: &ExecCommand,
    path: &Path,
) -> anyhow::Result<Summary> {
    if let Some(id) = known(client, path).await? {
        return replay(global, client, command, id).await;
    }
    let id = record::import(global, client, path).await?.recording;
    let done = replay(global, client, command, id).await;
    if command.keep {
        output::say(&format!("kept as recording {id}"));
    } else if let Err(wrong) = client.delete_recording(id).await {
        output::complain(&format!("cannot delete recording {id}, which was imported: {wrong}"));
    }
    done
}

/// The recording that was imported from this very archive, if there is one. What is not an archive
/// is refused when it is imported, with the position.
async fn known(client: &Client, path: &Path) -> anyhow::Result<Option<Lsn>> {
    let Some((head, skeleton)) = skeleton(path)? else { return Ok(None) };
    let mut after = None;
    loop {
        let page = client.recordings(after, PAGE).await?;
        for found in page.recordings.iter().filter(|found| found.imported) {
            if (found.start_lsn, found.stop_lsn) == (head.0, Some(head.1))
                && imported_from(client, found.recording).await? == Some(skeleton)
            {
                return Ok(Some(found.recording));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(None),
        }
    }
}

/// The range of an archive, and the hash of all of it but the content of its chunks.
fn skeleton(path: &Path) -> anyhow::Result<Option<((Lsn, Lsn), ChunkId)>> {
    let open =
        || std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let Ok(archive) = Archive::open(open()?) else { return Ok(None) };
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(open()?.take(archive.skeleton_bytes()))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let skeleton = ChunkId(ContentHash::from_blake3(&hasher.finalize()));
    Ok(Some(((archive.head().start, archive.head().stop), skeleton)))
}

async fn imported_from(client: &Client, id: Lsn) -> anyhow::Result<Option<ChunkId>> {
    let mut found = None;
    client
        .log_lines(id, 1, 0, |line| {
            let record: Value = serde_json::from_slice(line).unwrap_or_default();
            found = skeleton_of(&record).and_then(|text| text.parse().ok());
            Ok::<_, Error>(id)
        })
        .await?;
    Ok(found)
}
