//! The threads that keep the trail and the checkpoints up to date, beside the writer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Past, Task, Writes};
use crate::domain::Lsn;
use crate::engine::handle::Handle;
use crate::views::Published;

/// How often states that nobody asks for any more are looked for, while there are any.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// How the threads are spoken to.
pub(super) struct Wake {
    pub(super) look: SyncSender<()>,
    pub(super) write: Writes,
}

/// The threads.
pub(in crate::engine) struct Follower {
    past: Arc<Past>,
    look: SyncSender<()>,
    write: Writes,
    threads: [JoinHandle<()>; 2],
}

impl Follower {
    /// Starts them. The first state of the trail is the present one.
    pub(in crate::engine) fn start(past: &Arc<Past>, handle: &Handle) -> io::Result<Self> {
        let (look, looks) = sync_channel(1);
        let (write, writes) = sync_channel(1);
        // An engine is opened once.
        let _ = past.follower.set(Wake { look: look.clone(), write: write.clone() });
        let (mine, engine) = (Arc::clone(past), handle.clone());
        let trail = thread::Builder::new()
            .name("trail".into())
            .spawn(move || follow(&mine, &engine, &looks))?;
        let (mine, engine) = (Arc::clone(past), handle.clone());
        let checkpoints = thread::Builder::new()
            .name("checkpoints".into())
            .spawn(move || write_down(&mine, &engine, &writes))?;
        Ok(Self { past: Arc::clone(past), look, write, threads: [trail, checkpoints] })
    }

    /// Ends them soon, whatever they are at.
    pub(in crate::engine) fn stop(self) {
        self.past.stopping.store(true, Ordering::Relaxed);
        // One that is full wakes its reader as well.
        let _ = self.look.try_send(());
        // Waits at most for what is being written, which is given up.
        let _ = self.write.send(Task::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that keeps past states panicked");
            }
        }
    }
}

/// Takes a clone of the published state whenever the log has gone far enough.
fn follow(past: &Past, engine: &Handle, looks: &Receiver<()>) {
    let mut last = Lsn::ZERO;
    loop {
        if past.stopping.load(Ordering::Relaxed) {
            return;
        }
        let newest = engine.durable();
        if newest > last && past.is_due(newest) {
            let state = Arc::new(engine.read(Published::clone));
            last = state.lsn();
            past.follow(&state);
            if past.checkpoints.is_wanted(last, past.spacing(&state)) {
                past.write(state);
            }
        }
        let patience = if past.tidy() { TIDY_EVERY } else { Duration::from_hours(1) };
        if looks.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Writes states down, one after another.
fn write_down(past: &Past, engine: &Handle, writes: &Receiver<Task>) {
    // Here, since nobody waits for it.
    past.checkpoints.look();
    while let Ok(Task::Write(state)) = writes.recv() {
        // What room is left is for what can't be made again.
        if engine.has_room() && !past.stopping.load(Ordering::Relaxed) {
            past.write_checkpoint(&state);
        }
    }
}
