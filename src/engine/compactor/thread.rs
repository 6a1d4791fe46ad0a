//! The thread that compacts the log by itself, when the settings bound it.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{CompactError, CompactOrder, Compacting, Turn, scope};
use crate::clock::{Clock as _, System};
use crate::domain::sentence;
use crate::engine::handle::Handle;

/// How often it looks whether it is worth it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Fewer records are not worth the work.
const RECORDS_MIN: u64 = 4_096;

pub(in crate::engine) struct Compactor {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Compactor {
    /// Starts it, when there is something to keep to.
    pub(in crate::engine) fn start(
        settings: Compacting,
        handle: &Handle,
    ) -> io::Result<Option<Self>> {
        if settings.keep.is_none() && settings.keep_records.is_none() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let handle = handle.clone();
        let thread = thread::Builder::new()
            .name("compactor".into())
            .spawn(move || keep_looking(&handle, &stopped))?;
        Ok(Some(Self { stop, thread }))
    }

    /// Ends it soon, whatever it is at: the engine must have stopped to take commands.
    pub(in crate::engine) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that compacts the log panicked");
        }
    }
}

fn keep_looking(handle: &Handle, stopped: &Receiver<()>) {
    while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let Some(turn) = handle.shared.compaction.get() else { continue };
        match is_worth_it(handle, turn) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot tell whether to compact the log");
                continue;
            }
        }
        match handle.compact_blocking(CompactOrder::default(), &mut |_| {}) {
            Ok(_) | Err(CompactError::Stopping) => {}
            Err(error) => {
                tracing::warn!(error = sentence(&error), "cannot compact the log");
            }
        }
    }
}

/// Whether at least half of what the log has would be folded. Some of that stays readable; so that
/// it isn't done again and again for the little that goes, that counts to what the log has.
fn is_worth_it(handle: &Handle, turn: &Turn) -> Result<bool, crate::eventlog::Error> {
    let Some(log) = handle.log() else { return Ok(false) };
    let (log, newest) = (log.pinned(), handle.durable());
    let order = CompactOrder::default();
    let now = System.now();
    let scope =
        handle.read(|state| scope::scope(&*log, state, newest, turn.compacting, order, now))?;
    let folded = scope.first.0 - log.first().0;
    let all = scope::readable_len(&*log, newest.next());
    Ok(folded >= RECORDS_MIN && folded.saturating_mul(2) >= all)
}
