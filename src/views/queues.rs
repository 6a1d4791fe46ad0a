//! Queues: what they are set to, and which jobs are open in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Views;
use super::apply::{Illegal, ensure};
use super::keys::Keys;
use super::state::End;
use crate::domain::{Event, Lsn, Millis, QueueId, QueueState, Record, Timestamp, TokenHash};

/// A queue that was made and not forgotten.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) stage: Stage,
    /// The record that made it, which has its name and metadata.
    pub(super) created: Lsn,
    pub(super) created_at: Timestamp,
    /// The newest record about it.
    pub(super) tail: Lsn,
    pub(super) token: Option<TokenHash>,
    pub(super) retries_max: Option<u32>,
    pub(super) expire_after: Option<Millis>,
    pub(super) max_running: Option<u32>,
    /// Its jobs that have not ended.
    pub(super) open: Keys<Lsn>,
    /// Its jobs that are not retired.
    pub(super) held: u64,
    /// When its last job ended or, before the first, when it was made.
    pub(super) idle_since: Timestamp,
    /// Whose it is, when it is a replay's own.
    pub(super) replay: Option<Lsn>,
}

/// What was done to a queue. Whether a drained one is complete follows from its jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub(super) enum Stage {
    Active,
    Drained,
    Cancelled,
    Expired,
}

impl Queue {
    pub(super) fn state(&self) -> QueueState {
        match self.stage {
            Stage::Active => QueueState::Active,
            Stage::Drained if self.open.is_empty() => QueueState::Complete,
            Stage::Drained => QueueState::Draining,
            Stage::Cancelled => QueueState::Cancelled,
            Stage::Expired => QueueState::Expired,
        }
    }

    /// When it expires unless something happens in it, if it does.
    fn due(&self) -> Option<Timestamp> {
        let idle = self.stage == Stage::Active && self.open.is_empty();
        self.expire_after.filter(|_| idle).map(|time| self.idle_since.after(time))
    }
}

/// All queues.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct Queues {
    list: BTreeMap<QueueId, Queue>,
    tokens: BTreeMap<TokenHash, QueueId>,
    /// The newest that was ever made.
    last: Option<QueueId>,
    /// Those that expire unless something happens in them, by the time they do.
    idle: BTreeSet<(Timestamp, QueueId)>,
}

impl Queues {
    pub(super) fn get(&self, id: QueueId) -> Option<&Queue> {
        self.list.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (QueueId, &Queue)> + '_ {
        self.list.iter().map(|(id, queue)| (*id, queue))
    }

    /// Changes a queue, and with it when it expires.
    fn change(&mut self, id: QueueId, change: impl FnOnce(&mut Queue)) {
        let Some(queue) = self.list.get_mut(&id) else { return };
        let before = queue.due();
        change(queue);
        let now = queue.due();
        if before != now {
            before.map(|due| self.idle.remove(&(due, id)));
            now.map(|due| self.idle.insert((due, id)));
        }
    }

    /// A job was submitted to it.
    pub(super) fn admit(&mut self, id: Option<QueueId>, at: Timestamp) {
        let Some(id) = id else { return };
        self.change(id, |queue| {
            queue.held += 1;
            queue.idle_since = at;
        });
    }

    /// A job in it is open now.
    pub(super) fn open(&mut self, id: Option<QueueId>, job: Lsn) {
        let Some(id) = id else { return };
        self.change(id, |queue| {
            queue.open.insert(job);
        });
    }

    /// A job in it has ended.
    pub(super) fn close(&mut self, id: Option<QueueId>, job: Lsn, at: Timestamp) {
        let Some(id) = id else { return };
        self.change(id, |queue| {
            queue.open.remove(job);
            queue.idle_since = at;
        });
    }

    /// The replay that a queue belongs to.
    pub(super) fn replay_of(&self, id: Option<QueueId>) -> Option<Lsn> {
        self.list.get(&id?)?.replay
    }

    /// It belongs to a replay from now on. False when it doesn't exist, or was used before.
    pub(super) fn give_to(&mut self, id: QueueId, replay: Lsn) -> bool {
        let Some(queue) = self.list.get_mut(&id) else { return false };
        let is_new = queue.state() == QueueState::Active && queue.held == 0;
        if is_new && queue.replay.is_none() {
            queue.replay = Some(replay);
            return true;
        }
        false
    }

    /// A job in it was retired.
    pub(super) fn drop_result(&mut self, id: Option<QueueId>) {
        let Some(id) = id else { return };
        self.change(id, |queue| queue.held = queue.held.saturating_sub(1));
    }
}

impl Views {
    /// The transitions of queues.
    pub(super) fn queue_transition(&mut self, record: &Record) -> Result<(), Illegal> {
        match &record.event {
            Event::QueueCreated { .. } => self.queue_created(record),
            Event::QueueDrained { queue } => {
                self.stage_queue(record, *queue, Stage::Drained, &[QueueState::Active])
            }
            Event::QueueCancelled { queue } => self.queue_cancelled(record, *queue),
            Event::QueueExpired { queue } => {
                let open = self.queues.get(*queue).map_or(0, |queue| queue.open.len());
                ensure(open == 0, "the queue has open jobs")?;
                self.stage_queue(record, *queue, Stage::Expired, &[QueueState::Active])
            }
            Event::QueueRetired { queue } => self.queue_retired(*queue),
            _ => Err(Illegal("it is not about a queue")),
        }
    }

    fn queue_created(&mut self, record: &Record) -> Result<(), Illegal> {
        let Event::QueueCreated {
            queue: id, token, retries_max, expire_after, max_running, ..
        } = &record.event
        else {
            return Err(Illegal("it makes no queue"));
        };
        ensure(Some(*id) == self.next_queue(), "the queue's number is not the next")?;
        let known = token.is_some_and(|token| self.queues.tokens.contains_key(&token));
        ensure(!known, "the queue's token is another's")?;
        let queue = Queue {
            stage: Stage::Active,
            created: record.lsn,
            created_at: record.at,
            tail: record.lsn,
            token: *token,
            retries_max: *retries_max,
            expire_after: *expire_after,
            max_running: *max_running,
            open: Keys::default(),
            held: 0,
            idle_since: record.at,
            replay: None,
        };
        self.queues.idle.extend(queue.due().map(|due| (due, *id)));
        self.queues.list.insert(*id, queue);
        self.queues.tokens.extend(token.map(|token| (token, *id)));
        self.queues.last = Some(*id);
        if let Some(max) = max_running {
            self.order.limit(Some(*id), *max);
        }
        Ok(())
    }

    fn stage_queue(
        &mut self,
        record: &Record,
        id: QueueId,
        stage: Stage,
        from: &[QueueState],
    ) -> Result<(), Illegal> {
        let state = self.queues.get(id).map(Queue::state).ok_or(Illegal("no such queue"))?;
        ensure(from.contains(&state), "the queue's state does not allow it")?;
        self.queues.change(id, |queue| {
            queue.stage = stage;
            queue.tail = record.lsn;
        });
        Ok(())
    }

    fn queue_cancelled(&mut self, record: &Record, id: QueueId) -> Result<(), Illegal> {
        use QueueState::{Active, Complete, Draining, Expired};
        self.stage_queue(record, id, Stage::Cancelled, &[Active, Draining, Complete, Expired])?;
        let open = self.queues.get(id).map(|queue| queue.open.clone()).unwrap_or_default();
        for job in open.iter() {
            let execution = self.jobs.get(job).map(|found| found.execution);
            self.end_job(job, End::Cancelled, record.lsn);
            if let Some(execution) = execution {
                self.settle(execution);
            }
        }
        Ok(())
    }

    fn queue_retired(&mut self, id: QueueId) -> Result<(), Illegal> {
        let queue = self.queues.get(id).ok_or(Illegal("no such queue"))?;
        ensure(queue.state().is_over(), "the queue is not over")?;
        ensure(queue.held == 0, "the queue holds results")?;
        ensure(self.order.running(Some(id)) == 0, "an attempt of the queue is under way")?;
        if let Some(queue) = self.queues.list.remove(&id) {
            queue.token.map(|token| self.queues.tokens.remove(&token));
        }
        self.order.forget(Some(id));
        Ok(())
    }
}

/// A queue as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueRow {
    pub queue: QueueId,
    pub state: QueueState,
    /// The record that made it, which has its name and metadata.
    pub created: Lsn,
    pub created_at: Timestamp,
    /// The newest record about it.
    pub tail: Lsn,
    /// Reachable by a token.
    pub remote: bool,
    /// None: the service's setting.
    pub retries_max: Option<u32>,
    /// None: never.
    pub expire_after: Option<Millis>,
    /// None: no limit of its own.
    pub max_running: Option<u32>,
    /// Jobs that have not ended.
    pub open: u64,
    /// Jobs that are not retired.
    pub held: u64,
    /// Attempts under way on its account.
    pub running: u32,
    /// When its last job ended or, before the first, when it was made.
    pub idle_since: Timestamp,
    /// Whose it is, when it is a replay's own.
    pub replay: Option<Lsn>,
}

impl Views {
    /// A queue that was made and not forgotten.
    pub fn queue(&self, id: QueueId) -> Option<QueueRow> {
        self.queues.get(id).map(|queue| self.queue_row(id, queue))
    }

    /// All queues after `after`, in the order they were made.
    pub fn queues(&self, after: Option<QueueId>) -> impl Iterator<Item = QueueRow> + '_ {
        let behind = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let found = self.queues.list.range((behind, std::ops::Bound::Unbounded));
        found.map(|(id, queue)| self.queue_row(*id, queue))
    }

    fn queue_row(&self, id: QueueId, queue: &Queue) -> QueueRow {
        QueueRow {
            queue: id,
            state: queue.state(),
            created: queue.created,
            created_at: queue.created_at,
            tail: queue.tail,
            remote: queue.token.is_some(),
            retries_max: queue.retries_max,
            expire_after: queue.expire_after,
            max_running: queue.max_running,
            open: queue.open.len() as u64,
            held: queue.held,
            running: self.order.running(Some(id)),
            idle_since: queue.idle_since,
            replay: queue.replay,
        }
    }

    /// Where a queue is in its life.
    pub fn queue_state(&self, id: QueueId) -> Option<QueueState> {
        self.queues.get(id).map(Queue::state)
    }

    /// The queue that a token gives access to. What differs in time is the look-up of a hash, from
    /// which nothing about the token follows.
    pub fn queue_of_token(&self, token: &TokenHash) -> Option<QueueId> {
        self.queues.tokens.get(token).copied()
    }

    /// The number of the next queue; none when all are used up.
    pub fn next_queue(&self) -> Option<QueueId> {
        match self.queues.last {
            None => QueueId::new(1),
            Some(last) => last.get().checked_add(1).and_then(QueueId::new),
        }
    }

    /// Whether a queue of this number was ever made.
    pub fn was_queue(&self, id: QueueId) -> bool {
        self.queues.last.is_some_and(|last| id <= last)
    }

    /// Queues that expire unless something happens in them, by the time they do.
    pub fn idle_queues(&self) -> impl Iterator<Item = (Timestamp, QueueId)> + '_ {
        self.queues.idle.iter().copied()
    }

    /// When the next queue that was not due at `now` expires unless something happens in it.
    pub fn next_expiry_after(&self, now: Timestamp) -> Option<Timestamp> {
        let last = QueueId::new(u32::MAX)?;
        let later = (std::ops::Bound::Excluded((now, last)), std::ops::Bound::Unbounded);
        self.queues.idle.range(later).next().map(|(due, _)| *due)
    }

    /// The jobs of a queue that have not ended, oldest first.
    pub fn open_in(&self, id: QueueId) -> impl Iterator<Item = Lsn> + '_ {
        let open = self.queues.get(id).map(|queue| &queue.open);
        open.into_iter().flat_map(Keys::iter)
    }

    /// Those of them that come after `after`.
    pub(super) fn open_after(&self, id: QueueId, after: Lsn) -> impl Iterator<Item = Lsn> + '_ {
        let open = self.queues.get(id).map(|queue| &queue.open);
        open.into_iter().flat_map(move |open| open.after(after))
    }

    /// Whether an execution could run if the queues that want it, all of them, might run more.
    pub fn is_held_by_limits(&self, execution: Lsn) -> bool {
        let ready = self.executions.get(execution).is_some_and(|found| found.phase.is_ready());
        ready && self.places(execution).all(|(party, ..)| self.order.is_full(party))
    }

    /// Whether a queue's own limit keeps its jobs waiting.
    pub fn queue_is_full(&self, id: QueueId) -> bool {
        self.order.is_full(Some(id))
    }
}
