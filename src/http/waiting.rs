//! Requests that wait for something to happen: long polls.
//!
//! Each waits for one LSN to be passed, in one feed. What happens wakes only those it concerns, by
//! one task for all of them: ten thousand that wait cost an end of a job nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use super::links::Link;
use crate::domain::{Lsn, QueueId};
use crate::engine::Handle;

/// Ended jobs that are looked at in one go, while the writer waits.
const ENDED_LEN_MAX: usize = 1_000;

/// What moves on. The log is first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Feed {
    /// The records that are durable.
    Log,
    /// The jobs that ended.
    Ended,
    /// Those of one queue.
    EndedIn(QueueId),
}

/// Why a wait is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// The feed has passed the LSN.
    Passed,
    /// The time is over.
    TimedOut,
    /// The place was needed for somebody else, or the service stops.
    GivenUp,
}

/// All who wait.
pub(super) struct Waiting {
    max: usize,
    /// Told when somebody begins to wait for the log.
    log: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    closed: bool,
    /// Oldest first.
    waiters: BTreeMap<u64, Waiter>,
    /// By what they wait for.
    places: BTreeSet<(Feed, Lsn, u64)>,
}

struct Waiter {
    feed: Feed,
    since: Lsn,
    wake: oneshot::Sender<Woken>,
}

impl Waiting {
    /// At most `max` wait at once.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, log: Notify::new(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait until `feed` has passed `since`. Look at the feed after this and before
    /// waiting, so that nothing falls in between.
    ///
    /// When there are too many, the oldest is given up for this one: it has been served longest,
    /// and whoever asks again at once is the youngest again.
    pub(super) fn enter(self: &Arc<Self>, feed: Feed, since: Lsn) -> Place {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        if state.closed || self.max == 0 {
            drop(wake);
        } else {
            if state.waiters.len() >= self.max {
                state.give_up_oldest();
            }
            state.waiters.insert(id, Waiter { feed, since, wake });
            state.places.insert((feed, since, id));
        }
        drop(state);
        if feed == Feed::Log {
            self.log.notify_one();
        }
        Place { waiting: self.clone(), id, woken }
    }

    fn is_empty(&self) -> bool {
        self.state().waiters.is_empty()
    }

    fn has_log_waiters(&self) -> bool {
        let first = self.state().places.first().map(|(feed, ..)| *feed);
        first == Some(Feed::Log)
    }

    /// A feed holds something at `lsn` now.
    fn passed(&self, feed: Feed, lsn: Lsn) {
        let mut state = self.state();
        loop {
            let first = state.places.range((feed, Lsn::ZERO, 0)..(feed, lsn, 0)).next().copied();
            let Some((_, _, id)) = first else { return };
            state.wake(id, Woken::Passed);
        }
    }

    /// Nobody waits from now on.
    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        while state.give_up_oldest() {}
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.places.remove(&(waiter.feed, waiter.since, id));
        Some(waiter)
    }

    fn wake(&mut self, id: u64, why: Woken) {
        if let Some(waiter) = self.remove(id) {
            // Whoever waited may be gone by now.
            let _ = waiter.wake.send(why);
        }
    }

    fn give_up_oldest(&mut self) -> bool {
        let oldest = self.waiters.first_key_value().map(|(id, _)| *id);
        oldest.inspect(|id| self.wake(*id, Woken::GivenUp)).is_some()
    }
}

/// A place among those who wait, given back when dropped.
pub(super) struct Place {
    waiting: Arc<Waiting>,
    id: u64,
    woken: oneshot::Receiver<Woken>,
}

impl Place {
    /// Waits, for `time` at most. The connection may be needed for somebody else meanwhile; then it
    /// ends with this answer.
    pub(super) async fn wait(mut self, time: Duration, link: &Link) -> Woken {
        link.waits_for_event();
        let woken = tokio::select! {
            woken = &mut self.woken => woken.unwrap_or(Woken::GivenUp),
            () = link.dismissed() => {
                link.end();
                Woken::GivenUp
            }
            () = tokio::time::sleep(time) => Woken::TimedOut,
        };
        link.waits(None);
        woken
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.state().remove(self.id);
    }
}

/// Wakes whom it concerns whenever jobs have ended or records have become durable, until the
/// service stops.
pub(super) async fn wake(
    waiting: Arc<Waiting>,
    engine: Handle,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ended = engine.watch_ended();
    let mut durable = engine.watch_durable();
    let mut seen = *ended.borrow_and_update();
    loop {
        let watched = waiting.has_log_waiters();
        tokio::select! {
            changed = ended.changed() => {
                if changed.is_err() {
                    break;
                }
                let newest = *ended.borrow_and_update();
                seen = wake_ended(&waiting, &engine, seen, newest);
            }
            // Records become durable all the time, and mostly nobody waits for that.
            changed = durable.changed(), if watched => {
                if changed.is_err() {
                    break;
                }
                waiting.passed(Feed::Log, *durable.borrow_and_update());
            }
            () = waiting.log.notified(), if !watched => {
                waiting.passed(Feed::Log, *durable.borrow_and_update());
            }
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    waiting.close();
}

/// Wakes those who wait for what ended after `seen`, up to `newest` or later. Gives the last end
/// it has looked at.
fn wake_ended(waiting: &Waiting, engine: &Handle, seen: Lsn, newest: Lsn) -> Lsn {
    let mut seen = seen;
    // Whoever comes now looks for itself.
    if waiting.is_empty() {
        return newest;
    }
    loop {
        let rows = engine.read(|published| published.ended(None, seen, ENDED_LEN_MAX));
        let Some(last) = rows.last() else { break };
        seen = last.ended;
        let queues: BTreeMap<QueueId, Lsn> =
            rows.iter().filter_map(|row| Some((row.queue?, row.ended))).collect();
        waiting.passed(Feed::Ended, seen);
        for (queue, lsn) in queues {
            waiting.passed(Feed::EndedIn(queue), lsn);
        }
    }
    seen.max(newest)
}

#[cfg(test)]
mod tests;
