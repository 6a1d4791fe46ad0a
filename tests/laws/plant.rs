//! The rules and the views alone, for what is too large to be told twice.

use ledgerun::decide::{Facts, Policy, decide};
use ledgerun::domain::{
    ActionId, Answer, AttemptRef, Blob, Cause, Command, Event, Lsn, NewJob, NewQueue, ObjectRef,
    QueueId, Rejection, Target, Timestamp,
};
use ledgerun::views::Published;

use super::history;
use super::model::Party;
use super::runs::report;

/// One worker, one runner, and a clock that stands still.
pub(crate) struct Plant {
    pub(crate) published: Published,
    pub(crate) now: Timestamp,
    /// Attempts that have not ended.
    pub(crate) under_way: Vec<AttemptRef>,
}

impl Plant {
    pub(crate) fn new() -> Self {
        let now = Timestamp(1_700_000_000_000_000);
        let mut plant = Self { published: Published::default(), now, under_way: Vec::new() };
        plant.published.views.keep_offers();
        plant.execute(&Command::RegisterWorker(history::worker(0)));
        plant
    }

    /// The events a command leads to, and its answer.
    pub(crate) fn execute(&mut self, command: &Command) -> (Vec<Event>, Answer) {
        self.attempt(command).unwrap()
    }

    /// The same of a command that may be refused.
    pub(crate) fn attempt(&mut self, command: &Command) -> Result<(Vec<Event>, Answer), Rejection> {
        let facts = Facts { now: self.now, jitter: 1, policy: Policy::default(), runners: 1 };
        let decision = decide(&self.published.views, command, &facts)?;
        for event in &decision.events {
            let record = self.published.views.stamp(self.now, Cause::UNKNOWN, event.clone());
            self.published.apply(&record).unwrap();
        }
        Ok((decision.events, decision.answer))
    }

    pub(crate) fn queue(&mut self, max_running: Option<u32>) -> QueueId {
        let new = NewQueue { max_running, ..NewQueue::default() };
        match self.execute(&Command::CreateQueue(new)).1 {
            Answer::QueueCreated { queue } => queue,
            other => panic!("{other:?}"),
        }
    }

    /// Submits an action of that number.
    pub(crate) fn submit(&mut self, queue: Party, action: u32, priority: i32) -> Lsn {
        self.execute(&submission(queue, action, priority));
        self.published.lsn()
    }

    /// Hands out what is next: the execution and whose turn it was.
    pub(crate) fn assign(&mut self) -> Option<(Lsn, Party)> {
        let command = Command::Assign { runner: history::runner(0), host: history::host(0) };
        let (events, answer) = self.execute(&command);
        let Answer::Assigned(attempt) = answer else { return None };
        self.under_way.push(attempt);
        match events[..] {
            [Event::AttemptAssigned { execution, queue, .. }] => Some((execution, queue)),
            _ => panic!("{events:?}"),
        }
    }

    /// All attempts under way complete.
    pub(crate) fn complete(&mut self) {
        for attempt in std::mem::take(&mut self.under_way) {
            self.execute(&report(attempt, history::COMPLETED));
        }
    }
}

/// A submission of the action of that number.
pub(crate) fn submission(queue: Party, action: u32, priority: i32) -> Command {
    let action = action.to_be_bytes();
    Command::SubmitJob(NewJob {
        target: Target::Worker(history::worker_id(0)),
        action: ActionId::of(&action),
        function: "function".into(),
        object: ObjectRef::Inline(Blob(action.to_vec().into())),
        priority,
        queue,
        fresh: false,
        replayed: None,
    })
}
