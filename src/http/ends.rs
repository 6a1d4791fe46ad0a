//! Wakes those who wait for ends in one queue, and nobody else.
//!
//! Ten thousand clients may wait, each for its own queue. If every end of a job woke them all, each
//! would look at the views for nothing. So one task follows all ends and passes them on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::{Lsn, QueueId};
use crate::engine::Handle;

/// Ended jobs looked at in one go, while the writer waits.
const LOOK_LEN: usize = 1_000;

/// Who waits, by queue.
#[derive(Default)]
pub(super) struct Ends {
    waiting: Mutex<BTreeMap<QueueId, watch::Sender<()>>>,
}

impl Ends {
    /// Starts to follow the ends of jobs, until the service stops.
    pub(super) fn follow(engine: &Handle, stopping: &watch::Receiver<bool>) -> Arc<Self> {
        let ends = Arc::new(Self::default());
        let (own, engine, mut stopping) = (ends.clone(), engine.clone(), stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = own.pass_on(engine) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
        ends
    }

    /// Waits for ends in `queue` from now on. Look at the views after this, not before.
    pub(super) fn of(self: &Arc<Self>, queue: QueueId) -> EndsOf {
        let receiver = self.waiting().entry(queue).or_default().subscribe();
        EndsOf { receiver: Some(receiver), queue, ends: self.clone() }
    }

    async fn pass_on(&self, engine: Handle) {
        let mut ended = engine.watch_ended();
        let mut seen = *ended.borrow_and_update();
        while ended.changed().await.is_ok() {
            // Before the look at who waits: whoever comes later sees for himself what ended so far.
            let newest = *ended.borrow_and_update();
            if self.waiting().is_empty() {
                seen = newest;
                continue;
            }
            loop {
                let (queues, last) = look(&engine, seen);
                let Some(last) = last else { break };
                seen = last;
                self.wake(&queues);
            }
            seen = seen.max(newest);
        }
    }

    fn wake(&self, queues: &BTreeSet<QueueId>) {
        let waiting = self.waiting();
        for sender in queues.iter().filter_map(|queue| waiting.get(queue)) {
            sender.send_replace(());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<QueueId, watch::Sender<()>>> {
        // Nothing panics half-way through a change of the map.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queues in which jobs ended after `seen`, and the last record looked at.
fn look(engine: &Handle, seen: Lsn) -> (BTreeSet<QueueId>, Option<Lsn>) {
    let ended = engine.read(|published| published.ended(None, seen, LOOK_LEN));
    let last = ended.last().map(|row| row.ended);
    (ended.into_iter().filter_map(|row| row.queue).collect(), last)
}

/// One who waits for ends in a queue.
pub(super) struct EndsOf {
    /// Gone only while this is dropped.
    receiver: Option<watch::Receiver<()>>,
    queue: QueueId,
    ends: Arc<Ends>,
}

impl EndsOf {
    /// Ready when jobs have ended since it was ready last; false when none will any more.
    pub(super) async fn changed(&mut self) -> bool {
        match &mut self.receiver {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for EndsOf {
    fn drop(&mut self) {
        let mut waiting = self.ends.waiting();
        drop(self.receiver.take());
        if waiting.get(&self.queue).is_some_and(|sender| sender.receiver_count() == 0) {
            waiting.remove(&self.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_those_who_wait_for_a_queue_are_woken() {
        let ends = Arc::new(Ends::default());
        let queue = |number| QueueId::new(number).unwrap();
        let woken = |waiting: &mut EndsOf| waiting.changed().now_or_never() == Some(true);
        let (mut first, mut same) = (ends.of(queue(1)), ends.of(queue(1)));
        let mut other = ends.of(queue(2));
        ends.wake(&BTreeSet::from([queue(1), queue(3)]));
        // From before this one came.
        let mut late = ends.of(queue(1));
        assert!(woken(&mut first) && woken(&mut same));
        assert!(!woken(&mut other) && !woken(&mut late));
        assert!(!woken(&mut first), "once for each time");
        drop((first, same));
        ends.wake(&BTreeSet::from([queue(1)]));
        assert!(woken(&mut late));
        drop(late);
        assert_eq!(ends.waiting().keys().copied().collect::<Vec<_>>(), [queue(2)]);
        drop(other);
        assert!(ends.waiting().is_empty(), "nobody is remembered who is gone");
    }
}
