//! Makes an action happen.

mod attempt;
mod collect;
mod content;
mod deleter;
mod failure;
mod folder;
mod folders;
mod link;
pub mod local;
mod process;
mod protocol;
pub mod supervisor;
mod workers;

pub use protocol::Sandbox;

use std::time::Duration;

use bytes::Bytes;

use crate::domain::{AttemptRef, Host, Outcome, RunnerName, Usage, WorkerId};

/// What a runner needs to make one attempt.
#[derive(Clone, Debug)]
pub struct Launch {
    pub attempt: AttemptRef,
    pub worker: WorkerId,
    /// The worker's descriptor object, as registered.
    pub descriptor: Bytes,
    /// The action object, as submitted.
    pub action: Bytes,
}

/// What a runner tells the engine.
#[derive(Clone, Debug)]
pub enum Report {
    /// The process started.
    Started { attempt: AttemptRef, sandbox: String },
    /// The process is gone, so its slot can take the next attempt; the outcome is still being
    /// gathered and follows as [`Report::Finished`], which frees the slot if this never came.
    SlotFree {
        attempt: AttemptRef,
        /// How long it was taken.
        ran: Duration,
    },
    /// The attempt is over and everything it made is durable in the chunk store. Exactly one per
    /// launch, killed ones included.
    Finished { attempt: AttemptRef, outcome: Outcome, usage: Usage },
}

/// Where reports go: the engine's side of the runner.
pub trait Reports: Send + Sync {
    fn report(&self, report: Report);
}

/// Runs attempts. Never blocks its caller.
pub trait Runner: Send + Sync {
    /// Its name in the log.
    fn name(&self) -> RunnerName;
    /// The platform it can run executables of.
    fn host(&self) -> Host;
    /// How many attempts it takes at once.
    fn slots(&self) -> usize;
    /// Starts an attempt as soon as there is a free slot, about in the order of the calls. The engine hands
    /// out few more than there are slots.
    fn launch(&self, launch: Launch);
    /// Ends an attempt, process group and all; unknown attempts are ignored.
    fn kill(&self, attempt: AttemptRef);
    /// Takes nothing new, waits up to `grace` for what runs, then kills it.
    fn stop(&self, grace: Duration);
}
