//! Commands on queues, each with what the model says must come of it.

use ledgerun::domain::{
    Answer, Command, Millis, NewQueue, ObjectId, QueueId, QueueState, QueueToken, Rejection,
    TokenHash,
};
use ledgerun::effects::{Effect, effects_of};

use super::bench::Bench;
use super::history::Settings;
use super::model::Queue;

/// The token of a queue that has one.
pub(crate) fn token(queue: QueueId) -> TokenHash {
    let mut id = [7; 12];
    id[..4].copy_from_slice(&queue.get().to_be_bytes());
    TokenHash::of(&QueueToken(ObjectId(id)))
}

impl Bench {
    pub(crate) fn create_queue(&mut self, settings: &Settings) {
        let Settings { retries_max, expire_after, max_running, default_expire_after } = *settings;
        self.policy.queue_expire_after = default_expire_after.map(Millis);
        let id = QueueId::new(self.model.queues.len() as u32 + 1).unwrap();
        let command = Command::CreateQueue(NewQueue {
            token: Some(token(id)),
            name: Some(format!("queue {id}")),
            metadata: None,
            retries_max,
            expire_after: expire_after.map(Millis),
            max_running,
        });
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!((answer, records.len()), (Answer::QueueCreated { queue: id }, 1));
        let expire_after = expire_after.or(default_expire_after).filter(|time| *time > 0);
        let queue = Queue {
            stage: QueueState::Active,
            retries_max,
            expire_after: expire_after.map(Millis),
            max_running: max_running.filter(|max| *max > 0),
            idle_since: self.now(),
            forgotten: false,
            replay: None,
        };
        self.model.queues.insert(id, queue);
    }

    /// What a command on a queue is refused with, of queues that are in no state of `allow`.
    fn refusal(
        &self,
        queue: QueueId,
        allow: &[QueueState],
        what: &'static str,
    ) -> Option<Rejection> {
        match self.model.queue_state(queue) {
            None => Some(Rejection::UnknownQueue(queue)),
            Some(state) if allow.contains(&state) => None,
            Some(state) => Some(Rejection::QueueState { queue, state, what }),
        }
    }

    /// Runs a command on a queue that leads to one record or to none.
    fn on_queue(&mut self, command: &Command, changes: bool) -> Vec<Effect> {
        let (records, answer) = self.execute(command).unwrap();
        assert_eq!((answer, records.len()), (Answer::Done, usize::from(changes)), "{command:?}");
        self.again(command);
        records.iter().flat_map(effects_of).collect()
    }

    pub(crate) fn drain_queue(&mut self, queue: QueueId) {
        use QueueState::{Active, Complete, Draining};
        let command = Command::DrainQueue { queue };
        if let Some(wrong) = self.refusal(queue, &[Active, Draining, Complete], "be drained") {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let was = self.model.queue_state(queue);
        let effects = self.on_queue(&command, was == Some(Active));
        assert_eq!(effects, []);
        self.model.queues.get_mut(&queue).unwrap().stage = Draining;
    }

    pub(crate) fn cancel_queue(&mut self, queue: QueueId) {
        let command = Command::CancelQueue { queue };
        if let Some(wrong) = self.refusal(queue, &QueueState::ALL, "be cancelled") {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let changes = self.model.queue_state(queue) != Some(QueueState::Cancelled);
        let effects = self.on_queue(&command, changes);
        if changes {
            let by = self.staging.lsn();
            let open = self.model.open_in(queue);
            self.model.cancel(&open, by, self.now());
            self.model.queues.get_mut(&queue).unwrap().stage = QueueState::Cancelled;
            assert_eq!(effects, [Effect::KillUnwanted, Effect::JobsEnded]);
        }
    }

    /// Its time may be over, and somebody may have asked about it `quiet` milliseconds ago.
    pub(crate) fn expire_queue(&mut self, queue: QueueId, quiet: u32) {
        let quiet_since = ledgerun::domain::Timestamp(self.now().0 - i64::from(quiet) * 1_000);
        let command = Command::ExpireQueue { queue, quiet_since };
        if let Some(wrong) = self.refusal(queue, &QueueState::ALL, "expire") {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let time = self.model.queues[&queue].expire_after;
        let due = self.model.expiry(queue).zip(time);
        let due = due.map(|(due, time)| due.max(quiet_since.after(time)));
        let changes = due.is_some_and(|due| due <= self.now());
        let effects = self.on_queue(&command, changes);
        assert_eq!(effects, []);
        if changes {
            self.model.queues.get_mut(&queue).unwrap().stage = QueueState::Expired;
        }
    }

    pub(crate) fn retire_queue(&mut self, queue: QueueId) {
        use QueueState::{Cancelled, Complete, Expired};
        let command = Command::RetireQueue { queue };
        let known = self.model.queues.get(&queue);
        if known.is_some_and(|known| known.forgotten) {
            self.again(&command);
            return;
        }
        let over = [Complete, Cancelled, Expired];
        let mut wrong = self.refusal(queue, &over, "be forgotten");
        if wrong.is_none() {
            let held = self.model.held_in(queue) as u64;
            if held > 0 {
                wrong = Some(Rejection::QueueHolds { queue, held });
            } else if self.model.running(Some(queue)) > 0 {
                let state = self.model.queue_state(queue).unwrap();
                let what = "be forgotten while it runs";
                wrong = Some(Rejection::QueueState { queue, state, what });
            }
        }
        if let Some(wrong) = wrong {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        assert_eq!(self.on_queue(&command, true), []);
        self.model.queues.get_mut(&queue).unwrap().forgotten = true;
    }
}
