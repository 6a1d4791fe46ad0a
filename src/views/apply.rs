//! The only way a view changes, and the few moves every transition is made of.

use std::cmp::Reverse;

use super::Views;
use super::state::{End, PairKey, Phase, Place};
use crate::domain::{Lsn, Record, Timestamp};

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
        self.promote(record.at);
        self.transition(record).map_err(|Illegal(what)| ApplyError::Illegal { lsn, what })?;
        self.lsn = lsn;
        Ok(())
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
        let Some(place) = self.place(id) else { return };
        let Some(execution) = self.executions.get_mut(id) else { return };
        let was = std::mem::replace(&mut execution.phase, phase);
        let pair = (PairKey::of(execution.worker, execution.action), id);
        if was.is_ready() && !phase.is_ready() {
            self.ready.remove(&place);
        }
        if phase.is_ready() && !was.is_ready() {
            self.ready.insert(place);
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
        }
        if was.is_live() && !phase.is_live() {
            self.live.remove(&pair);
        }
        if matches!(phase, Phase::Completed { cacheable: true, .. }) {
            self.reusable.insert(pair);
        }
    }

    /// Where an execution stands, or would stand, in the ready order.
    pub(super) fn place(&self, id: Lsn) -> Option<Place> {
        let execution = self.executions.get(id)?;
        let worker = self.workers.get(execution.worker)?;
        Some((worker.host, Reverse(execution.priority), id))
    }

    /// A job begins to want an execution.
    pub(super) fn want(&mut self, execution: Lsn, priority: i32, job: Lsn) {
        self.wants.insert((execution, Reverse(priority), job));
        self.count_open(execution, true);
        self.settle_priority(execution);
    }

    fn count_open(&mut self, execution: Lsn, more: bool) {
        let worker = self.executions.get(execution).map(|execution| execution.worker);
        if let Some(worker) = worker.and_then(|ix| self.workers.get_mut(ix)) {
            worker.open = if more { worker.open + 1 } else { worker.open.saturating_sub(1) };
        }
    }

    /// A job ends by the record `lsn` and wants nothing any more. The execution's priority is the
    /// caller's to settle.
    pub(super) fn end_job(&mut self, job: Lsn, end: End, lsn: Lsn) {
        let Some(entry) = self.jobs.get_mut(job) else { return };
        entry.end = Some(end);
        entry.ended = lsn;
        let (execution, priority) = (entry.execution, entry.priority);
        if self.wants.remove(&(execution, Reverse(priority), job)) {
            self.count_open(execution, false);
        }
    }

    /// Gives an execution the highest priority of those who want it. Nobody: unchanged.
    pub(super) fn settle_priority(&mut self, id: Lsn) {
        let Some(top) = self.wanting(id).next().map(|(_, Reverse(priority), _)| priority) else {
            return;
        };
        let Some(place) = self.place(id) else { return };
        let Some(execution) = self.executions.get_mut(id) else { return };
        if execution.priority != top {
            execution.priority = top;
            if execution.phase.is_ready() {
                self.ready.remove(&place);
                self.ready.insert((place.0, Reverse(top), id));
            }
        }
    }

    /// One job less refers to an execution; the last one takes it along.
    pub(super) fn release(&mut self, id: Lsn) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        execution.refs = execution.refs.saturating_sub(1);
        if execution.refs == 0 {
            let pair = (PairKey::of(execution.worker, execution.action), id);
            self.reusable.remove(&pair);
            self.executions.remove(id);
        }
    }
}
