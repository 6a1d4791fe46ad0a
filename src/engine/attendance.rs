//! Who is asking about which queue: a queue that is asked about is not idle. Requests are no events,
//! so a restart forgets them, and every queue gets its whole idle time again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::Clock;
use crate::domain::{QueueId, Timestamp};

/// Queues remembered before those that nobody asks for are looked through.
const REMEMBERED_MAX: usize = 4_096;

/// Requests by queue.
#[derive(Default)]
pub(super) struct Register {
    clock: OnceLock<Arc<dyn Clock>>,
    queues: Mutex<BTreeMap<QueueId, Presence>>,
}

/// The requests for one queue.
#[derive(Clone, Copy, Default)]
struct Presence {
    /// Those being answered.
    here: usize,
    /// When the last of the others was answered.
    left: Timestamp,
}

impl Register {
    /// Tells the time from now on. Whatever came before counts as having come now.
    pub(super) fn open(&self, clock: Arc<dyn Clock>) -> Timestamp {
        let now = clock.now();
        // An engine is opened once.
        let _ = self.clock.set(clock);
        now
    }

    fn now(&self) -> Timestamp {
        self.clock.get().map_or(Timestamp::default(), |clock| clock.now())
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<QueueId, Presence>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, queue: QueueId) {
        self.queues().entry(queue).or_default().here += 1;
    }

    fn leave(&self, queue: QueueId) {
        let left = self.now();
        if let Some(presence) = self.queues().get_mut(&queue) {
            presence.here = presence.here.saturating_sub(1);
            presence.left = left;
        }
    }

    /// Since when nobody asks for a queue; none while somebody does.
    pub(super) fn quiet_since(&self, queue: QueueId) -> Option<Timestamp> {
        let presence = self.queues().get(&queue).copied().unwrap_or_default();
        (presence.here == 0).then_some(presence.left)
    }

    /// Forgets queues that nobody asks for and that `matters` doesn't name, when there are many.
    pub(super) fn tidy(&self, matters: impl Fn(QueueId) -> bool) {
        let mut queues = self.queues();
        if queues.len() > REMEMBERED_MAX {
            queues.retain(|queue, presence| presence.here > 0 || matters(*queue));
        }
    }
}

/// A request for a queue, as long as it is being answered.
pub struct Attendance {
    register: Arc<Register>,
    queue: QueueId,
}

impl Attendance {
    pub(super) fn new(register: &Arc<Register>, queue: QueueId) -> Self {
        register.enter(queue);
        Self { register: Arc::clone(register), queue }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.register.leave(self.queue);
    }
}
