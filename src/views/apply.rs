//! The only way a view changes, and the few moves every transition is made of.

use std::cmp::Reverse;

use super::Views;
use super::keys::Keys;
use super::order::{Level, Party};
use super::state::{End, PairKey, Phase, Want};
use super::workers::HostTag;
use crate::domain::{Lsn, Millis, Record, Timestamp};

/// A record does not follow from the state before it: the log is damaged, or the rules that decided
/// it are wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("record {found} cannot be applied: the next one is {expected}")]
    Gap { expected: Lsn, found: Lsn },
    #[error("record {lsn} links back to {found}, but the newest about its subject is {expected}")]
    Link { lsn: Lsn, expected: Lsn, found: Lsn },
    #[error("record {lsn} cannot be applied: {what}")]
    Illegal { lsn: Lsn, what: &'static str },
}

/// What is illegal about a transition; [`Views::apply`] adds the LSN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Illegal(pub(super) &'static str);

/// Fails with `what` unless `legal`.
pub(super) const fn ensure(legal: bool, what: &'static str) -> Result<(), Illegal> {
    if legal { Ok(()) } else { Err(Illegal(what)) }
}

/// By how much a clock that goes back was set back: less is a small correction.
const SET_BACK: Millis = Millis(1_000);

impl Views {
    /// Folds the next record. After an error the state is good for nothing.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        let lsn = record.lsn;
        if lsn != self.lsn.next() {
            return Err(ApplyError::Gap { expected: self.lsn.next(), found: lsn });
        }
        let expected = self.tail(record.event.subject());
        if record.prev != expected {
            return Err(ApplyError::Link { lsn, expected, found: record.prev });
        }
        // When that would have been on a clock that was set back, nobody knows; sooner is better
        // than never.
        let due = if self.is_set_back(record.at) { Timestamp(i64::MAX) } else { record.at };
        self.at = record.at;
        self.promote(due);
        self.transition(record).map_err(|Illegal(what)| ApplyError::Illegal { lsn, what })?;
        self.lsn = lsn;
        Ok(())
    }

    /// Whether the clock was set back between the newest record and `now`.
    pub fn is_set_back(&self, now: Timestamp) -> bool {
        self.at.since(now) > SET_BACK
    }

    /// Whatever was due when the record was decided joins the ready order. The time is the
    /// record's, so a fold on another day gives the same.
    fn promote(&mut self, at: Timestamp) {
        while let Some((until, execution)) = self.waiting.first().copied() {
            if until > at {
                break;
            }
            self.waiting.pop_first();
            self.set_phase(execution, Phase::Ready);
        }
    }

    /// Moves an execution to another phase, and with it through every order it is in.
    pub(super) fn set_phase(&mut self, id: Lsn, phase: Phase) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        let was = std::mem::replace(&mut execution.phase, phase);
        let party = execution.party;
        let pair = PairKey::of(execution.worker, execution.action);
        if was.is_ready() != phase.is_ready() {
            self.reorder(id, phase.is_ready());
        }
        if let Phase::BackingOff { until } = was {
            self.waiting.remove(&(until, id));
        }
        if let Phase::BackingOff { until } = phase {
            self.waiting.insert((until, id));
        }
        if phase.is_under_way() && !was.is_under_way() {
            self.under_way.insert(id);
        }
        if was.is_under_way() && !phase.is_under_way() {
            self.under_way.remove(&id);
            self.order.release(party);
        }
        if let Some(offers) = &mut self.offers {
            offers.moved(pair, id, was, phase);
        }
        if let Phase::Completed { units, .. } = phase {
            self.held_units = self.held_units.saturating_add(units.into());
        }
    }

    /// Lets an execution stand in the lines of all who want it, or takes it out.
    fn reorder(&mut self, id: Lsn, stands: bool) {
        let places: Vec<_> = self.places(id).collect();
        for (party, level, job) in places {
            if stands {
                self.order.insert(party, level, job);
            } else {
                self.order.remove(party, level, job);
            }
        }
    }

    /// Where an execution stands, or would stand, for each party that wants it: at the place of
    /// the party's most wanting job.
    pub(super) fn places(&self, id: Lsn) -> impl Iterator<Item = (Party, Level, Lsn)> + '_ {
        let host = self.host_of(id);
        let mut before = (id, None, Reverse(i32::MAX), Lsn::ZERO);
        std::iter::from_fn(move || {
            let (execution, party, priority, job) = self.wants.after(before).next()?;
            before = (id, party, Reverse(i32::MIN), Lsn(u64::MAX));
            (execution == id).then_some((party, (host?, priority), job))
        })
    }

    /// Where an execution stands, or would stand, for one party.
    pub(super) fn place(&self, id: Lsn, party: Party) -> Option<(Level, Lsn)> {
        let first = (id, party, Reverse(i32::MAX), Lsn::ZERO);
        let (execution, of, priority, job) = self.wants.after(first).next()?;
        ((execution, of) == (id, party)).then_some(((self.host_of(id)?, priority), job))
    }

    fn host_of(&self, execution: Lsn) -> Option<HostTag> {
        let worker = self.executions.get(execution)?.worker;
        self.workers.get(worker).map(|worker| worker.host)
    }

    /// Changes who of a party wants an execution, and with it the place in that party's line.
    pub(super) fn rewant(&mut self, id: Lsn, party: Party, change: impl FnOnce(&mut Keys<Want>)) {
        let before = self.place(id, party);
        change(&mut self.wants);
        let now = self.place(id, party);
        let ready = self.executions.get(id).is_some_and(|found| found.phase.is_ready());
        if ready && before != now {
            if let Some((level, job)) = before {
                self.order.remove(party, level, job);
            }
            if let Some((level, job)) = now {
                self.order.insert(party, level, job);
            }
        }
    }

    /// A job begins to want an execution.
    pub(super) fn want(&mut self, execution: Lsn, party: Party, priority: i32, job: Lsn) {
        self.rewant(execution, party, |wants| {
            wants.insert((execution, party, Reverse(priority), job));
        });
        self.queues.open(party, job);
        self.recordings.open(job);
        self.count_open(execution, true);
        self.raise_priority(execution, priority);
    }

    fn count_open(&mut self, execution: Lsn, more: bool) {
        let worker = self.executions.get(execution).map(|execution| execution.worker);
        if let Some(worker) = worker.and_then(|ix| self.workers.get_mut(ix)) {
            worker.open = if more { worker.open + 1 } else { worker.open.saturating_sub(1) };
        }
    }

    /// A job ends by the record `lsn` and wants nothing any more. What that means for its
    /// execution is the caller's to settle.
    pub(super) fn end_job(&mut self, job: Lsn, end: End, lsn: Lsn) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        entry.end = Some(end);
        entry.ended = lsn;
        let (execution, party, priority) = (entry.execution, entry.queue, entry.priority);
        self.rewant(execution, party, |wants| {
            wants.remove((execution, party, Reverse(priority), job));
        });
        self.queues.close(party, job, self.at);
        self.recordings.close(job, lsn);
        self.count_open(execution, false);
    }

    /// After jobs that wanted it have ended: an execution that nobody wants ends, others get the
    /// priority that is left.
    pub(super) fn settle(&mut self, id: Lsn) {
        if self.wanting(id).next().is_none() {
            self.set_phase(id, Phase::Ended);
        } else {
            self.settle_priority(id);
        }
    }

    /// Somebody wants an execution with this priority now.
    pub(super) fn raise_priority(&mut self, id: Lsn, priority: i32) {
        if let Some(execution) = self.executions.get_mut(id) {
            execution.priority = execution.priority.max(priority);
        }
    }

    /// Gives an execution the highest priority of those who still want it, which is not above what
    /// it has. Nobody: unchanged.
    pub(super) fn settle_priority(&mut self, id: Lsn) {
        let Some(current) = self.executions.get(id).map(|execution| execution.priority) else {
            return;
        };
        let mut top = None;
        for (_, (_, Reverse(priority)), _) in self.places(id) {
            top = top.max(Some(priority));
            // With many queues all of them are looked at only when the highest goes.
            if priority == current {
                break;
            }
        }
        if let (Some(top), Some(execution)) = (top, self.executions.get_mut(id)) {
            execution.priority = top;
        }
    }

    /// One job less refers to an execution; the last one takes it along.
    pub(super) fn release(&mut self, id: Lsn) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        execution.refs = execution.refs.saturating_sub(1);
        if execution.refs > 0 {
            return;
        }
        if let Phase::Completed { units, .. } = execution.phase {
            self.held_units = self.held_units.saturating_sub(units.into());
        }
        let pair = PairKey::of(execution.worker, execution.action);
        if let Some(offers) = &mut self.offers {
            offers.reusable.remove(pair, Reverse(id));
        }
        self.executions.remove(id);
    }
}
