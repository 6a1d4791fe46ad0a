//! What recordings and running replays need, whatever became of the jobs they are about.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::domain::{Event, Lsn, QueueId, Record, Run, WorkerId};
use crate::replay::selection::Range;
use crate::views::Held;

/// Records beyond those of what is still held.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// Of recordings of this instance, ascending. At most one recording is under way, so they don't overlap.
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
    pub(crate) fn new(held: &Held) -> Self {
        let last = held.lsn();
        let own = held.recordings().iter().filter(|row| !row.imported);
        Self {
            ranges: own.map(|row| Range::of(row, last)).collect(),
            queues: held.replays().iter().map(|replay| replay.queue).collect(),
            replays_from: held.replays().iter().map(|replay| replay.replay).min(),
            ..Self::default()
        }
    }

    /// Which parts of the log, up to `last`, must be looked at first. Ascending and apart.
    pub(crate) fn spans(&self, last: Lsn) -> Vec<RangeInclusive<Lsn>> {
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
    pub(crate) fn look(&mut self, record: &Record) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ActionId, AttemptNo, Blob, Cause, Guid, Host, ObjectRef, Outcome, Recorded, RunnerName,
        Timestamp, Usage,
    };
    use crate::views::Published;

    /// A log and its fold.
    #[derive(Default)]
    struct Story(Published, Vec<Record>);

    impl Story {
        fn tell(&mut self, event: Event) -> Lsn {
            let at = Timestamp(i64::try_from(self.1.len()).unwrap());
            let record = self.0.views.stamp(at, Cause::UNKNOWN, event);
            self.0.apply(&record).unwrap();
            self.1.push(record);
            self.0.lsn()
        }

        fn submit(&mut self, action: u8, run: Run, replay: Option<(QueueId, Recorded)>) -> Lsn {
            self.tell(Event::JobSubmitted {
                worker: WorkerId::of(b"worker"),
                action: ActionId::of(&[action]),
                function: "F".into(),
                object: inline(&[action]),
                priority: 2,
                queue: replay.map(|(queue, _)| queue),
                retries_max: 3,
                run,
                recorded: replay.map(|(_, recorded)| recorded),
            })
        }

        fn complete(&mut self, execution: Lsn, queue: Option<QueueId>) {
            let attempt = AttemptNo(1);
            let runner = RunnerName::local();
            self.tell(Event::AttemptAssigned { execution, attempt, runner, queue });
            self.tell(Event::AttemptStarted { execution, attempt, sandbox: "off".into() });
            let output = inline(b"output");
            let outcome = Outcome::Completed { output, cacheable: true, bytes: 6, stderr: None };
            let usage = Usage::default();
            let finished =
                Event::AttemptFinished { execution, attempt, outcome, usage, retry_at: None };
            self.tell(finished);
        }

        fn pins(&self) -> Pins {
            let held = self.0.views.held();
            let mut pins = Pins::new(&held);
            for span in pins.spans(held.lsn()) {
                let within = self.1.iter().filter(|record| span.contains(&record.lsn));
                within.for_each(|record| pins.look(record));
            }
            pins
        }
    }

    fn inline(bytes: &[u8]) -> ObjectRef {
        ObjectRef::Inline(Blob(bytes.to_vec().into()))
    }

    #[test]
    fn what_recorded_and_replayed_jobs_want_is_needed_though_all_of_them_are_retired() {
        let mut story = Story::default();
        let worker = WorkerId::of(b"worker");
        story.tell(Event::WorkerRegistered {
            worker,
            descriptor: inline(b"worker"),
            name: "w".into(),
            host: Host::Linux,
            build_system: Guid([1; 16]),
            functions: Vec::new(),
        });
        let (reused, other) =
            (story.submit(1, Run::Opens, None), story.submit(2, Run::Opens, None));
        story.complete(reused, None);
        story.complete(other, None);
        let recording = story.tell(Event::RecordingStarted { name: None });
        let cached = story.submit(1, Run::Cached(reused), None);
        let own = story.submit(3, Run::Opens, None);
        story.tell(Event::RecordingStopped { recording });
        story.complete(own, None);
        let after = story.submit(4, Run::Opens, None);
        story.complete(after, None);
        let jobs = vec![reused, other, cached, own, after];
        story.tell(Event::JobsRetired { jobs });
        let pins = story.pins();
        assert!(pins.needs_job(cached) && pins.needs_job(own) && pins.needs_worker(worker));
        assert!(pins.needs_execution(reused) && pins.needs_execution(own));
        for unneeded in [other, after] {
            assert!(!pins.needs_job(unneeded) && !pins.needs_execution(unneeded));
        }
        assert!(!pins.needs_job(reused), "its action has a job of its own in the recording");

        let queue = QueueId::new(1).unwrap();
        story.tell(Event::QueueCreated {
            queue,
            token: None,
            name: None,
            metadata: None,
            retries_max: None,
            expire_after: None,
            max_running: None,
        });
        let plan = inline(b"{}");
        let replay = story.tell(Event::ReplayStarted { recording, queue, plan, total: 2 });
        let recorded = Recorded { job: own, position: 0 };
        let replayed = story.submit(3, Run::Opens, Some((queue, recorded)));
        story.complete(replayed, Some(queue));
        story.tell(Event::JobRetired { job: replayed });
        let pins = story.pins();
        assert!(pins.needs_job(replayed) && pins.needs_execution(replayed));
        assert!(pins.needs_execution(reused), "the recording is there as before");
        story.tell(Event::ReplayEnded { replay, reason: None });
        assert!(!story.pins().needs_job(replayed));
        story.tell(Event::RecordingDeleted { recording });
        let pins = story.pins();
        assert!(!pins.needs_job(own) && !pins.needs_execution(reused));
        assert!(!pins.needs_worker(worker) && pins.spans(story.0.lsn()).is_empty());
    }
}
