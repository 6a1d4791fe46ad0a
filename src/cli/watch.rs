//! What is looked at once a second while the service runs: room on the disk, whether the data directory
//! is where it was, and whether the chunk store has failed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use crate::chunks;
use crate::config::ServeArgs;
use crate::engine::Handle;
use crate::eventlog::DataDir;

/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the disk from now on, so that new work is refused before it is full.
pub(super) fn space(
    runtime: &tokio::runtime::Runtime,
    args: &ServeArgs,
    dir: Arc<DataDir>,
    handle: Handle,
) {
    let wanted = args.min_free_space.map(|size| size.as_u64());
    runtime.spawn(async move {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            match dir.space() {
                Ok(space) => {
                    let minimum = wanted.unwrap_or_else(|| space.min_free_default());
                    handle.set_has_room(space.has_room(minimum));
                }
                Err(error) => tracing::warn!(%error, "cannot tell how much room the disk has"),
            }
        }
    });
}

/// Waits until the chunk store has failed. It takes nothing from then on, and only a restart tells
/// what is durable.
pub(super) async fn store(store: &chunks::Store) -> chunks::Error {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        if let Err(failed) = store.check() {
            return failed;
        }
    }
}

/// Waits until the data directory is not where it was. What is written from then on goes to files
/// that the next start doesn't find.
pub(super) async fn place(dir: &DataDir) -> anyhow::Error {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tick.tick().await;
        if !dir.is_in_place() {
            let root = dir.root().display();
            return anyhow!("the data directory {root} was removed, moved or replaced");
        }
    }
}
