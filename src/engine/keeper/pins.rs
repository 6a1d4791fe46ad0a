//! What recordings and running replays need, whatever became of the jobs they are about.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::domain::{Event, Lsn, QueueId, Record, Run, WorkerId};
use crate::views::Held;

/// A recording of this instance.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: Lsn,
    /// Jobs submitted up to here are its own.
    stop: Lsn,
    /// Up to here the log tells of them.
    settled: Lsn,
}

/// Records beyond those of what is still held.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Ascending. At most one recording is under way, so they don't overlap.
    ranges: Vec<Range>,
    /// Of running replays.
    queues: BTreeSet<QueueId>,
    /// First record about any of these.
    replays_from: Option<Lsn>,
    /// Jobs of running replays.
    jobs: BTreeSet<Lsn>,
    /// Executions that recorded jobs or those of replays want and that were opened elsewhere.
    executions: BTreeSet<Lsn>,
    /// Of recorded jobs.
    workers: BTreeSet<WorkerId>,
}

impl Pins {
    /// Nothing but the ranges. The rest is told by the records of [`Self::spans`], in order.
    pub(super) fn new(held: &Held) -> Self {
        let last = held.lsn();
        let own = held.recordings().iter().filter(|row| !row.imported);
        let ranges = own.map(|row| Range {
            start: row.start,
            stop: row.stop.unwrap_or(last),
            settled: row.settled.unwrap_or(last),
        });
        Self {
            ranges: ranges.collect(),
            queues: held.replays().iter().map(|replay| replay.queue).collect(),
            replays_from: held.replays().iter().map(|replay| replay.replay).min(),
            ..Self::default()
        }
    }

    /// Which parts of the log, up to `last`, must be looked at first. Ascending and apart.
    pub(super) fn spans(&self, last: Lsn) -> Vec<RangeInclusive<Lsn>> {
        let mut spans: Vec<(Lsn, Lsn)> =
            self.ranges.iter().map(|range| (range.start, range.settled)).collect();
        spans.extend(self.replays_from.map(|from| (from, last)));
        spans.sort_unstable();
        let mut apart: Vec<(Lsn, Lsn)> = Vec::new();
        for (from, to) in spans {
            match apart.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => apart.push((from, to)),
            }
        }
        apart.into_iter().map(|(from, to)| from..=to).collect()
    }

    /// Takes in a record of [`Self::spans`].
    pub(super) fn look(&mut self, record: &Record) {
        match &record.event {
            Event::JobSubmitted { worker, queue, run, .. } => {
                let recorded = self.is_recorded(record.lsn);
                let replayed = queue.is_some_and(|queue| self.queues.contains(&queue));
                if recorded {
                    self.workers.insert(*worker);
                }
                if replayed && !recorded {
                    self.jobs.insert(record.lsn);
                }
                if recorded || replayed {
                    self.want(record.lsn, *run);
                }
            }
            Event::JobRescheduled { job, run, .. } => {
                let told = |range: &Range| record.lsn <= range.settled;
                if self.range_of(*job).is_some_and(told) || self.jobs.contains(job) {
                    self.want(record.lsn, *run);
                }
            }
            _ => {}
        }
    }

    fn want(&mut self, lsn: Lsn, run: Run) {
        let execution = match run {
            Run::Opens => lsn,
            Run::Joins(execution) | Run::Cached(execution) => execution,
        };
        // Of those in a range it goes without saying.
        if !self.is_recorded(execution) {
            self.executions.insert(execution);
        }
    }

    fn range_of(&self, lsn: Lsn) -> Option<&Range> {
        let after = self.ranges.partition_point(|range| range.start <= lsn);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (lsn <= range.stop).then_some(range)
    }

    /// Whether a record is in the range of a recording.
    pub(super) fn is_recorded(&self, lsn: Lsn) -> bool {
        self.range_of(lsn).is_some()
    }

    /// Whether the action of a job is needed.
    pub(super) fn needs_job(&self, job: Lsn) -> bool {
        self.is_recorded(job) || self.jobs.contains(&job)
    }

    /// Whether the attempts of an execution are needed.
    pub(super) fn needs_execution(&self, execution: Lsn) -> bool {
        self.is_recorded(execution) || self.executions.contains(&execution)
    }

    /// Whether a worker's descriptor is needed.
    pub(super) fn needs_worker(&self, worker: WorkerId) -> bool {
        self.workers.contains(&worker)
    }
}
