//! The edge: the `/compute` API over HTTP.
//!
//! One table of routes ([`ROUTES`]), one dispatcher. Handlers turn a request into commands or
//! queries and give back a response or an `error::Error`; nothing here decides a rule.

mod answers;
mod archives;
mod backups;
mod body;
mod chunks;
mod compact;
mod config;
mod connection;
mod conversation;
mod details;
mod dispatch;
mod error;
mod explain;
mod feed;
mod guard;
mod headers;
mod health;
mod history;
mod imports;
mod jobs_change;
mod jobs_list;
mod jobs_read;
mod jobs_submit;
mod lines;
mod links;
mod log;
mod moment;
mod negotiate;
mod outgoing;
mod patience;
mod payload;
mod queues;
mod recordings;
mod replays;
mod request;
mod respond;
mod router;
mod socket;
mod store;
mod sysinfo;
mod upload;
mod verify;
mod waiting;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

pub use config::{HttpConfig, Limits, RunnerSummary};
pub use connection::serve;
pub use guard::AccessToken;
pub use router::{Access, ROUTES, Route};

use crate::domain::Timestamp;
use crate::engine::Handle;

/// Threads that serve requests: for half of the processors. The others are for the writer, the
/// committer, the storage engine and the attempts. Where the edge has a thread for each, all of these
/// wait for one another, and waking so many costs more than they do (docs/performance.md).
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

/// What all requests share.
struct App {
    engine: Handle,
    chunks: crate::chunks::Store,
    config: HttpConfig,
    router: router::Router,
    guard: guard::Guard,
    /// The open connections.
    links: Arc<links::Links>,
    /// Long polls.
    waiting: Arc<waiting::Waiting>,
    /// Memory for answers.
    answers: answers::Answers,
    /// Memory for buffered bodies.
    budget: body::Budget,
    /// Memory for streamed uploads.
    uploads: upload::Places,
    /// One for each connection that is being served.
    turns: Arc<Semaphore>,
    /// One at a time makes something large of a body or of the views: what is made takes several
    /// times the memory of what it is made of.
    heavy: Arc<Semaphore>,
    /// What is in recordings that don't change any more.
    counted: recordings::Counted,
    /// One at a time reads a whole recording to count what is in it.
    counts: Arc<Semaphore>,
    /// Archives on their way in and out.
    carrying: archives::Carrying,
    /// One at a time verifies the log.
    verifying: Arc<Semaphore>,
    /// One at a time compacts it.
    compacting: Arc<Semaphore>,
    /// Polls being held.
    held: AtomicUsize,
    started_at: Timestamp,
    started: Instant,
    /// Set when the service stops: long polls end.
    stopping: tokio::sync::watch::Receiver<bool>,
}

impl App {
    /// Waits for the turn to make something large. Nobody who holds it waits for a client.
    async fn heavy(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.heavy.clone().acquire_owned().await.ok()
    }

    /// Takes one of the few places for polls that are held for a moment.
    fn hold(self: &Arc<Self>) -> Option<Held> {
        let limit = self.config.polls_held_max;
        let taken = self.held.fetch_add(1, Ordering::Relaxed);
        let held = Held(self.clone());
        (taken < limit).then_some(held)
    }
}

/// A place for a held poll, given back when dropped.
struct Held(Arc<App>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}
