//! The second half of the writer: makes rounds durable, publishes them, acts, answers.
//!
//! It is a thread of its own so that the next round is decided while this one is being written.
//! Rounds come in the order they were decided, and at most one waits.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::compactor::Adoption;
use super::handle::{BatchReply, Shared};
use super::rounds::{Next, Undurable};
use super::{Accepted, COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, Error};
use crate::clock::monotonic;
use crate::domain::{Lsn, Record, Rejection};
use crate::effects::{Effect, effects_of};
use crate::eventlog::{self, EventLog};
use crate::views::Tables;

/// How often the log's high-water mark is made durable while records come in.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Longest time the published views are locked for writing at once, in records.
const PUBLISH_RECORDS_MAX: usize = 256;

/// What the writer decided in one go.
#[derive(Default)]
pub(super) struct Round {
    pub(super) records: Vec<Record>,
    /// Bytes of the objects inside `records`, roughly.
    pub(super) bytes: usize,
    pub(super) replies: Vec<Reply>,
    /// The writer's tables after `records`, now and then, so that the published views hold what has
    /// not changed since together with it.
    pub(super) tables: Option<Tables>,
    /// A rewritten log to take for the log, after `records`.
    pub(super) adoption: Option<Box<Adoption>>,
}

impl Round {
    /// Whether `next` may be written together with this one.
    pub(super) const fn takes(&self, next: &Self) -> bool {
        // Tables are those after the last record of their round, and so is a log to take.
        self.tables.is_none()
            && self.adoption.is_none()
            && self.records.len() + next.records.len() <= COMMIT_EVENTS_MAX
            && self.bytes + next.bytes <= COMMIT_BYTES_MAX
    }

    /// Adds what was decided next.
    pub(super) fn absorb(&mut self, next: Self) {
        self.records.extend(next.records);
        self.bytes += next.bytes;
        self.replies.extend(next.replies);
        self.tables = next.tables;
        self.adoption = next.adoption;
    }
}

/// Somebody who waits for a round.
pub(super) enum Reply {
    Single(oneshot::Sender<Result<Accepted, Error>>, Result<Accepted, Rejection>),
    Batch(oneshot::Sender<BatchReply>, Vec<Result<Accepted, Rejection>>),
    /// Somebody who only waits for what was before.
    Settled(oneshot::Sender<()>),
    /// The engine itself, at the start.
    Boot(Sender<()>),
}

/// Why the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("cannot append to the log")]
    Append(#[from] eventlog::Error),
    #[error("a decided event does not apply")]
    Apply(#[from] crate::views::ApplyError),
    /// The other thread failed, and has said why.
    #[error("the log is not written any more")]
    Committer,
}

pub(super) struct Committer {
    pub(super) log: Box<dyn EventLog>,
    pub(super) shared: Arc<Shared>,
    pub(super) effects: Sender<Effect>,
}

impl Committer {
    /// Runs until the writer is gone or the log fails. After a failure everybody who waits learns
    /// that the outcome is unknown, and nothing is served any more.
    pub(super) fn run(mut self, rounds: &Undurable) -> Result<(), Failed> {
        let mut marked = monotonic();
        let mut dirty = false;
        loop {
            let patience = if dirty { MARK_EVERY } else { Duration::from_hours(1) };
            let open = match rounds.next(patience) {
                Next::Round(round) => {
                    dirty |= !round.records.is_empty();
                    self.write(&round.records)?;
                    rounds.written();
                    self.conclude(round)?;
                    true
                }
                Next::Nothing => true,
                Next::Closed => false,
            };
            if dirty && (!open || marked.elapsed() >= MARK_EVERY) {
                self.mark(&mut marked)?;
                dirty = false;
            }
            if !open {
                return Ok(());
            }
        }
    }

    fn mark(&mut self, marked: &mut Instant) -> Result<(), Failed> {
        self.log.sync_mark().map_err(|failed| self.poison(failed.into()))?;
        *marked = monotonic();
        Ok(())
    }

    /// Makes a round's records durable.
    fn write(&mut self, records: &[Record]) -> Result<(), Failed> {
        if records.is_empty() {
            return Ok(());
        }
        self.log.append(records).map_err(|failed| self.poison(failed.into()))
    }

    /// Publishes a round that is durable, then acts, then answers: in this order, so that nobody sees
    /// or hears what a crash could take back.
    fn conclude(&mut self, round: Round) -> Result<(), Failed> {
        if let Some(last) = round.records.last().map(|record| record.lsn) {
            let ended = self.publish(&round.records).map_err(|failed| self.poison(failed))?;
            self.shared.durable.send_replace(last);
            if let Some(past) = self.shared.past.get() {
                past.passed(last);
            }
            if let Some(ended) = ended {
                self.shared.ended.send_replace(ended);
            }
        }
        for reply in round.replies {
            // Whoever asked may have gone; the facts stand all the same.
            match reply {
                Reply::Single(reply, result) => drop(reply.send(result.map_err(Error::from))),
                Reply::Batch(reply, results) => drop(reply.send(Ok(results))),
                Reply::Settled(reply) => drop(reply.send(())),
                Reply::Boot(reply) => drop(reply.send(())),
            }
        }
        if let Some(tables) = round.tables {
            let replaced = self.shared.published_mut().views.adopt(tables);
            // Only now, when readers go on: it can be much to free.
            drop(replaced);
        }
        if let Some(adoption) = round.adoption {
            let Adoption { next, reply } = *adoption;
            let adopted = self.log.adopt(next).map_err(|failed| self.poison(failed.into()))?;
            // Who asked removes the old log; else the next start does.
            drop(reply.send(adopted));
        }
        Ok(())
    }

    /// Folds durable records into the published views and passes their effects on. Returns the
    /// newest record that ended a job.
    fn publish(&self, records: &[Record]) -> Result<Option<Lsn>, Failed> {
        let mut ended = None;
        for slice in records.chunks(PUBLISH_RECORDS_MAX) {
            let mut published = self.shared.published_mut();
            published.approach(slice);
            for record in slice {
                published.apply(record)?;
            }
        }
        for record in records {
            for effect in effects_of(record) {
                if matches!(effect, Effect::JobsEnded) {
                    ended = Some(record.lsn);
                } else {
                    // The dispatcher outlives this thread except in a crash, which reconcile mends.
                    let _ = self.effects.send(effect);
                }
            }
        }
        Ok(ended)
    }

    /// Before anybody's answer is dropped, so that whoever waits learns the reason.
    fn poison(&self, failed: Failed) -> Failed {
        self.shared.poison(&failed);
        failed
    }
}
