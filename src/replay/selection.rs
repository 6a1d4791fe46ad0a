//! Which records of the log belong to a recording of this instance.

use std::collections::{BTreeMap, BTreeSet};

use super::recorded::Recorded;
use super::source::Error;
use crate::domain::event::Subject;
use crate::domain::{Event, Lsn, Outcome, Record, WorkerId};
use crate::engine;
use crate::eventlog::{LogReader, readable};
use crate::views::{RecordingRow, Views};

/// The part of the log that a recording is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Its `RecordingStarted`.
    pub start: Lsn,
    /// Its `RecordingStopped`; jobs submitted up to here are its own.
    pub stop: Lsn,
    /// The record by which the last of them had ended.
    pub settled: Lsn,
}

impl Range {
    /// That of a recording of this instance. Of one that can still change: up to `last`.
    pub fn of(row: &RecordingRow, last: Lsn) -> Self {
        let stop = row.stop.unwrap_or(last);
        Self { start: row.start, stop, settled: row.settled.unwrap_or(last).max(stop) }
    }
}

/// Who may know where older records are, so that the log needn't be searched. Wrong or missing
/// hints cost time only.
pub trait Hints {
    /// The newest record about a worker, or zero.
    fn worker_tail(&self, worker: WorkerId) -> Lsn;

    /// The record with the result of an execution, or zero.
    fn result(&self, execution: Lsn) -> Lsn;
}

/// Knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoHints;

impl Hints for NoHints {
    fn worker_tail(&self, _: WorkerId) -> Lsn {
        Lsn::ZERO
    }

    fn result(&self, _: Lsn) -> Lsn {
        Lsn::ZERO
    }
}

impl Hints for Views {
    fn worker_tail(&self, worker: WorkerId) -> Lsn {
        self.tail(Subject::Worker(worker))
    }

    fn result(&self, execution: Lsn) -> Lsn {
        // Nothing happens to an execution after it has completed.
        self.tail(Subject::Execution(execution))
    }
}

impl Hints for engine::Handle {
    fn worker_tail(&self, worker: WorkerId) -> Lsn {
        self.read(|published| published.views.worker_tail(worker))
    }

    fn result(&self, execution: Lsn) -> Lsn {
        self.read(|published| published.views.result(execution))
    }
}

/// Finds out, record by record.
#[derive(Debug)]
pub(super) struct Selector {
    start: Lsn,
    pub(super) recorded: Recorded,
    /// Workers registered in the range so far.
    registered: BTreeSet<WorkerId>,
    /// Workers of recorded jobs that were registered before.
    workers: BTreeSet<WorkerId>,
    /// Records from outside of the range.
    context: Vec<Lsn>,
}

impl Selector {
    pub(super) fn new(start: Lsn, stop: Lsn) -> Self {
        Self {
            start,
            recorded: Recorded::new(start, stop),
            registered: BTreeSet::new(),
            workers: BTreeSet::new(),
            context: Vec::new(),
        }
    }

    /// The next record of the range.
    pub(super) fn within(&mut self, record: &Record) {
        match &record.event {
            Event::WorkerRegistered { worker, .. } => drop(self.registered.insert(*worker)),
            Event::JobSubmitted { worker, .. } if !self.registered.contains(worker) => {
                self.workers.insert(*worker);
            }
            _ => {}
        }
        self.recorded.apply(record);
    }

    /// A record after the range, in order; whether it belongs to the recording.
    pub(super) fn after(&mut self, record: &Record) -> bool {
        let concerns = self.recorded.concerns(&record.event);
        if concerns {
            self.context.push(record.lsn);
            self.recorded.apply(record);
        }
        concerns
    }

    /// Finds the older records; gives all from outside of the range, in order.
    pub(super) fn finish(
        mut self,
        log: &dyn LogReader,
        hints: &dyn Hints,
        each: &mut dyn FnMut(&Record),
    ) -> Result<(Recorded, Vec<Lsn>), Error> {
        let mut found = Vec::new();
        let mut executions = BTreeSet::new();
        for execution in self.recorded.lacking() {
            match log.get(hints.result(execution))? {
                Some(record) if is_result(&record, execution) => found.push(record),
                _ => drop(executions.insert(execution)),
            }
        }
        let mut workers = BTreeSet::new();
        for worker in &self.workers {
            match walk(log, *worker, hints.worker_tail(*worker), self.start)? {
                Some(records) => found.extend(records),
                None => drop(workers.insert(*worker)),
            }
        }
        if !executions.is_empty() || !workers.is_empty() {
            found.extend(search(log, executions, &workers, self.start)?);
        }
        for record in &found {
            each(record);
            self.recorded.apply(record);
            self.context.push(record.lsn);
        }
        self.context.sort_unstable();
        self.context.dedup();
        Ok((self.recorded, self.context))
    }
}

fn is_result(record: &Record, of: Lsn) -> bool {
    matches!(
        &record.event,
        Event::AttemptFinished { execution, outcome: Outcome::Completed { .. }, .. }
            if *execution == of
    )
}

/// A worker's last registration before `start`, backwards from the newest record about it.
fn walk(
    log: &dyn LogReader,
    of: WorkerId,
    tail: Lsn,
    start: Lsn,
) -> Result<Option<Vec<Record>>, Error> {
    let mut records = Vec::new();
    let mut next = tail;
    while let Some(record) = log.get(next)? {
        if record.event.subject() != Subject::Worker(of) || record.prev >= record.lsn {
            return Ok(None);
        }
        next = record.prev;
        if record.lsn >= start {
            continue;
        }
        match &record.event {
            Event::WorkerRegistered { .. } => {
                records.push(record);
                return Ok(Some(records));
            }
            Event::WorkerFunctionsDeclared { .. } => records.push(record),
            // It was registered once more afterwards.
            _ => records.clear(),
        }
    }
    Ok(None)
}

/// The same for several, and results of executions, by reading the log.
fn search(
    log: &dyn LogReader,
    mut executions: BTreeSet<Lsn>,
    workers: &BTreeSet<WorkerId>,
    start: Lsn,
) -> Result<Vec<Record>, Error> {
    let oldest = executions.first().copied().unwrap_or(start);
    let from = if workers.is_empty() { oldest } else { Lsn::FIRST };
    let mut registrations: BTreeMap<WorkerId, Vec<Record>> = BTreeMap::new();
    let mut found = Vec::new();
    for record in readable(log, from, Lsn(start.0.saturating_sub(1))) {
        let record = record?;
        match &record.event {
            Event::WorkerRegistered { worker, .. } if workers.contains(worker) => {
                registrations.insert(*worker, vec![record]);
            }
            Event::WorkerFunctionsDeclared { worker, .. } => {
                if let Some(records) = registrations.get_mut(worker) {
                    records.push(record);
                }
            }
            Event::AttemptFinished { execution, .. }
                if executions.contains(execution) && is_result(&record, *execution) =>
            {
                executions.remove(execution);
                found.push(record);
                if executions.is_empty() && workers.is_empty() {
                    break;
                }
            }
            _ => {}
        }
    }
    found.extend(registrations.into_values().flatten());
    Ok(found)
}
