//! Group commit: whoever comes first syncs for all that wait.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use super::generation::Fact;
use crate::domain::ChunkId;

/// A fact to make durable, and the generation it goes to.
pub(super) type Entry = (u32, ChunkId, Fact);

/// What is to be committed at once, by generation.
pub(super) type Group = BTreeMap<u32, Vec<(ChunkId, Fact)>>;

#[derive(Debug, Default)]
struct Queue {
    waiting: Group,
    /// Tickets handed out, and those whose group is over.
    next: u64,
    done: u64,
    leading: bool,
}

/// Gathers commits while another one is being synced.
#[derive(Debug, Default)]
pub(super) struct Commits {
    queue: Mutex<Queue>,
    over: Condvar,
}

impl Commits {
    /// Has `sync` called with a group that contains `entries`, by this thread or by another one,
    /// and returns after it. Whether it worked is for `sync` to remember.
    pub(super) fn run(&self, entries: &[Entry], sync: impl Fn(&Group)) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for (generation, id, fact) in entries {
            queue.waiting.entry(*generation).or_default().push((*id, *fact));
        }
        let ticket = queue.next;
        queue.next += 1;
        while queue.done <= ticket {
            if queue.leading {
                queue = self.over.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.leading = true;
            let group = std::mem::take(&mut queue.waiting);
            let upto = queue.next;
            drop(queue);
            sync(&group);
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.leading = false;
            queue.done = upto;
            self.over.notify_all();
        }
    }
}
