//! What the records say of jobs: what was asked for, and how it ended.
//!
//! [`Recorded`] is the whole of a recording. [`Ends`] is the part of it that waits for ends; a
//! replay follows its own jobs in the live log with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Event, JobState, Lsn, Outcome, QueueId, Record, Run, Timestamp, WorkerId};

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub job: Lsn,
    /// Final.
    pub state: JobState,
    pub by: By,
}

/// What ended a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// This record. When the job completed, it is the `AttemptFinished` that has the output.
    Record(Lsn),
    /// It completed with its submission, by this execution's result.
    Result(Lsn),
}

/// Waits for the ends of jobs. Memory is that of the jobs that have not ended.
#[derive(Debug, Default)]
pub struct Ends {
    open: BTreeMap<Lsn, Open>,
    /// By the execution they want.
    wants: BTreeSet<(Lsn, Lsn)>,
    /// By their queue.
    queues: BTreeSet<(QueueId, Lsn)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    execution: Lsn,
    queue: Option<QueueId>,
}

impl Ends {
    /// Follows a job from its submission on. Its end when it ends with it.
    pub fn track(&mut self, job: Lsn, queue: Option<QueueId>, run: Run) -> Option<End> {
        let execution = match run {
            Run::Opens => job,
            Run::Joins(execution) => execution,
            Run::Cached(execution) => {
                return Some(End { job, state: JobState::Completed, by: By::Result(execution) });
            }
        };
        self.want(job, Open { execution, queue });
        None
    }

    fn want(&mut self, job: Lsn, open: Open) {
        self.open.insert(job, open);
        self.wants.insert((open.execution, job));
        if let Some(queue) = open.queue {
            self.queues.insert((queue, job));
        }
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a job has not ended.
    pub fn is_open(&self, job: Lsn) -> bool {
        self.open.contains_key(&job)
    }

    /// Whether a record is about a job that has not ended: itself, its execution or its queue.
    pub fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::JobCancelled { job, .. } | Event::JobReprioritised { job, .. } => {
                self.is_open(*job)
            }
            Event::QueueCancelled { queue } => self.in_queue(*queue).next().is_some(),
            Event::AttemptAssigned { execution, .. }
            | Event::AttemptStarted { execution, .. }
            | Event::AttemptFinished { execution, .. }
            | Event::JobsGaveUp { execution, .. }
            | Event::AttemptLost { execution, .. }
            | Event::ExecutionRetracted { execution, .. } => {
                self.wanting(*execution).next().is_some()
            }
            _ => false,
        }
    }

    /// Folds the next record and gives the ends that came with it.
    pub fn apply(&mut self, record: &Record) -> Vec<End> {
        let by = By::Record(record.lsn);
        match &record.event {
            Event::JobCancelled { job, .. } => self.end([*job], JobState::Cancelled, by),
            Event::QueueCancelled { queue } => {
                let jobs: Vec<Lsn> = self.in_queue(*queue).collect();
                self.end(jobs, JobState::Cancelled, by)
            }
            Event::JobsGaveUp { abandoned, jobs, .. } => {
                let state = if *abandoned { JobState::Abandoned } else { JobState::Failed };
                self.end(jobs.iter().copied(), state, by)
            }
            Event::AttemptFinished { execution, outcome, retry_at: None, .. } => {
                let state = match outcome {
                    Outcome::Completed { .. } => JobState::Completed,
                    Outcome::Failed(failure) if failure.kind.abandons() => JobState::Abandoned,
                    Outcome::Failed(_) => JobState::Failed,
                };
                let jobs: Vec<Lsn> = self.wanting(*execution).collect();
                self.end(jobs, state, by)
            }
            _ => Vec::new(),
        }
    }

    fn wanting(&self, execution: Lsn) -> impl Iterator<Item = Lsn> {
        let range = (execution, Lsn::ZERO)..=(execution, Lsn(u64::MAX));
        self.wants.range(range).map(|(_, job)| *job)
    }

    fn in_queue(&self, queue: QueueId) -> impl Iterator<Item = Lsn> {
        self.queues.range((queue, Lsn::ZERO)..=(queue, Lsn(u64::MAX))).map(|(_, job)| *job)
    }

    fn end(&mut self, jobs: impl IntoIterator<Item = Lsn>, state: JobState, by: By) -> Vec<End> {
        let mut ends = Vec::new();
        for job in jobs {
            let Some(open) = self.open.remove(&job) else { continue };
            self.wants.remove(&(open.execution, job));
            if let Some(queue) = open.queue {
                self.queues.remove(&(queue, job));
            }
            ends.push(End { job, state, by });
        }
        ends
    }
}

/// A recorded job. Its action, priority and so on are in its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its record.
    pub lsn: Lsn,
    /// When it was submitted.
    pub at: Timestamp,
    /// The record that ended it: of a completed one, the `AttemptFinished` with its output; zero
    /// when the recording has none.
    pub end: Lsn,
    pub queue: Option<QueueId>,
    worker: u32,
    /// Pending as long as it has not ended.
    pub state: JobState,
}

/// The jobs of a recording in the order of their submission.
#[derive(Debug)]
pub struct Recorded {
    start: Lsn,
    stop: Lsn,
    jobs: Vec<Job>,
    workers: Vec<WorkerId>,
    /// Positions in `workers`.
    numbers: BTreeMap<WorkerId, u32>,
    ends: Ends,
    /// The results of executions whose own job doesn't tell.
    results: BTreeMap<Lsn, Lsn>,
    /// Executions whose results are before all that was folded, with the jobs that got them.
    lacking: BTreeMap<Lsn, Vec<Lsn>>,
}

impl Recorded {
    /// Nothing yet, of a recording that begins with the record `start` and ends with `stop`.
    pub fn new(start: Lsn, stop: Lsn) -> Self {
        Self {
            start,
            stop,
            jobs: Vec::new(),
            workers: Vec::new(),
            numbers: BTreeMap::new(),
            ends: Ends::default(),
            results: BTreeMap::new(),
            lacking: BTreeMap::new(),
        }
    }

    /// The jobs, by LSN.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The job of that LSN.
    pub fn job(&self, lsn: Lsn) -> Option<&Job> {
        self.index(lsn).and_then(|index| self.jobs.get(index))
    }

    /// The worker of a job of this recording.
    pub fn worker(&self, job: &Job) -> WorkerId {
        self.workers.get(job.worker as usize).copied().unwrap_or_default()
    }

    /// The workers of all jobs, in order of their first job.
    pub fn workers(&self) -> &[WorkerId] {
        &self.workers
    }

    /// How many jobs have not ended.
    pub fn open_len(&self) -> usize {
        self.ends.len()
    }

    /// Executions that jobs got results of which were in no record so far, in order.
    pub fn lacking(&self) -> impl Iterator<Item = Lsn> {
        self.lacking.keys().copied()
    }

    /// Whether a record after the recording's end belongs to it.
    pub fn concerns(&self, event: &Event) -> bool {
        match event {
            Event::JobRescheduled { job, .. } => self.index(*job).is_some(),
            event => self.ends.concerns(event),
        }
    }

    /// Folds the next record. LSNs ascend, but results that were [`Self::lacking`] may come when
    /// they are found.
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::JobSubmitted { worker, queue, run, .. }
                if (self.start..=self.stop).contains(&record.lsn) =>
            {
                let worker = self.number(*worker);
                let (lsn, at, end, queue) = (record.lsn, record.at, Lsn::ZERO, *queue);
                let state = JobState::Pending;
                self.jobs.push(Job { lsn, at, end, queue, worker, state });
                let end = self.ends.track(record.lsn, queue, *run);
                self.settle(end);
            }
            Event::JobRescheduled { job, run, .. } => {
                let Some(found) = self.index(*job).and_then(|index| self.jobs.get_mut(index))
                else {
                    return;
                };
                (found.state, found.end) = (JobState::Pending, Lsn::ZERO);
                let queue = found.queue;
                let end = match run {
                    // The execution bears the name of this very record.
                    Run::Opens => self.ends.track(*job, queue, Run::Joins(record.lsn)),
                    run => self.ends.track(*job, queue, *run),
                };
                self.settle(end);
            }
            event => {
                let ends = self.ends.apply(record);
                self.settle(ends);
                if let Event::AttemptFinished { execution, outcome, .. } = event
                    && matches!(outcome, Outcome::Completed { .. })
                {
                    self.completed(*execution, record.lsn);
                }
            }
        }
    }

    fn index(&self, job: Lsn) -> Option<usize> {
        self.jobs.binary_search_by_key(&job, |job| job.lsn).ok()
    }

    fn number(&mut self, worker: WorkerId) -> u32 {
        let next = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(worker).or_insert(next);
        if number == next {
            self.workers.push(worker);
        }
        number
    }

    fn settle(&mut self, ends: impl IntoIterator<Item = End>) {
        for End { job, state, by } in ends {
            let end = match by {
                By::Record(lsn) => lsn,
                By::Result(execution) => self.result(execution, job),
            };
            if let Some(job) = self.index(job).and_then(|index| self.jobs.get_mut(index)) {
                (job.state, job.end) = (state, end);
            }
        }
    }

    /// The record with an execution's result, zero as long as it's unknown.
    fn result(&mut self, execution: Lsn, job: Lsn) -> Lsn {
        if let Some(end) = self.results.get(&execution).copied().or_else(|| self.own(execution)) {
            return end;
        }
        self.lacking.entry(execution).or_default().push(job);
        Lsn::ZERO
    }

    /// The result of an execution by the job that opened it.
    fn own(&self, execution: Lsn) -> Option<Lsn> {
        let job = self.job(execution)?;
        (job.state == JobState::Completed && job.end != Lsn::ZERO).then_some(job.end)
    }

    fn completed(&mut self, execution: Lsn, lsn: Lsn) {
        if self.own(execution) != Some(lsn) {
            // Its own job was cancelled, or is not of this recording.
            self.results.insert(execution, lsn);
        }
        for job in self.lacking.remove(&execution).unwrap_or_default() {
            if let Some(job) = self.index(job).and_then(|index| self.jobs.get_mut(index)) {
                job.end = lsn;
            }
        }
    }
}
