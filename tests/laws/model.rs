//! The semantics of jobs and queues, told naively: lists and loops, no events, no indexes.

use std::collections::BTreeMap;

use ledgerun::domain::{
    ActionId, AttemptRef, Host, JobState, Lsn, Millis, QueueId, QueueState, RunnerName, Timestamp,
    WorkerId,
};
use ledgerun::views::QueueCounts;

use super::recordings::Recording;
use super::replays::Replay;
use super::turns::Turn;

/// Who takes turns: a queue, or all jobs outside of queues.
pub(crate) type Party = Option<QueueId>;

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) execution: Lsn,
    pub(crate) queue: Party,
    pub(crate) priority: i32,
    pub(crate) retries: u32,
    pub(crate) retries_max: u32,
    /// Set once it has ended: how, and by which record.
    pub(crate) end: Option<(JobState, Lsn)>,
    pub(crate) retired: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Ready,
    Waits(Timestamp),
    Retracted(Option<RunnerName>),
    Submitting(RunnerName),
    Running(RunnerName),
    Completed(bool),
    Ended,
}

#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) pair: (WorkerId, ActionId),
    pub(crate) host: Host,
    pub(crate) attempts: u32,
    pub(crate) phase: Phase,
    /// Whose turn the newest attempt was.
    pub(crate) account: Party,
}

impl Execution {
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Completed(_) | Phase::Ended)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Submitting(_) | Phase::Running(_))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// Never complete: that follows from the jobs of one that drains.
    pub(crate) stage: QueueState,
    pub(crate) retries_max: Option<u32>,
    pub(crate) expire_after: Option<Millis>,
    pub(crate) max_running: Option<u32>,
    pub(crate) idle_since: Timestamp,
    pub(crate) forgotten: bool,
    /// Whose own it is.
    pub(crate) replay: Option<Lsn>,
}

/// Everything that was ever submitted or made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<Lsn, Job>,
    pub(crate) executions: BTreeMap<Lsn, Execution>,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
    pub(crate) recordings: BTreeMap<Lsn, Recording>,
    pub(crate) replays: BTreeMap<Lsn, Replay>,
    /// Every assignment.
    pub(crate) turns: Vec<Turn>,
    /// Registered workers in the order of their newest registration.
    pub(crate) workers: Vec<(WorkerId, Host, Vec<String>)>,
}

impl Model {
    pub(crate) fn state(&self, job: Lsn) -> Option<JobState> {
        let job = self.jobs.get(&job).filter(|job| !job.retired)?;
        Some(self.state_of(job))
    }

    fn state_of(&self, job: &Job) -> JobState {
        if let Some((end, _)) = job.end {
            return end;
        }
        match self.executions[&job.execution].phase {
            Phase::Ready | Phase::Waits(_) => JobState::Pending,
            Phase::Retracted(_) => JobState::Retracted,
            Phase::Submitting(_) => JobState::Submitting,
            Phase::Running(_) => JobState::Running,
            Phase::Completed(_) | Phase::Ended => panic!("an open job of an ended execution"),
        }
    }

    pub(crate) fn wanting(&self, execution: Lsn) -> Vec<Lsn> {
        let wants = |(_, job): &(&Lsn, &Job)| job.execution == execution && job.end.is_none();
        self.jobs.iter().filter(wants).map(|(lsn, _)| *lsn).collect()
    }

    pub(crate) fn open_of(&self, worker: WorkerId) -> usize {
        let of = |job: &&Job| self.executions[&job.execution].pair.0 == worker;
        self.jobs.values().filter(|job| job.end.is_none()).filter(of).count()
    }

    pub(crate) fn resolve(&self, function: &str) -> Option<WorkerId> {
        let offers = |(_, _, functions): &&(WorkerId, Host, Vec<String>)| {
            functions.iter().any(|name| name == function)
        };
        self.workers.iter().rev().find(offers).map(|(id, ..)| *id)
    }

    fn is_held(&self, execution: Lsn) -> bool {
        self.executions[&execution].phase == Phase::Completed(true)
            && self.jobs.values().any(|job| job.execution == execution && !job.retired)
    }

    /// What a submission gets: the newest execution in flight or with a result that is held.
    pub(crate) fn shared(&self, pair: (WorkerId, ActionId)) -> Option<Lsn> {
        let of = |(lsn, execution): &(&Lsn, &Execution)| {
            execution.pair == pair && (execution.is_live() || self.is_held(**lsn))
        };
        self.executions.iter().rev().find(of).map(|(lsn, _)| *lsn)
    }

    pub(crate) fn live(&self, pair: (WorkerId, ActionId)) -> Option<Lsn> {
        let of =
            |(_, execution): &(&Lsn, &Execution)| execution.pair == pair && execution.is_live();
        self.executions.iter().rev().find(of).map(|(lsn, _)| *lsn)
    }

    pub(crate) fn open(&mut self, lsn: Lsn, pair: (WorkerId, ActionId)) {
        let (_, host, _) = self.workers.iter().find(|(id, ..)| *id == pair.0).unwrap().clone();
        let execution = Execution { pair, host, attempts: 0, phase: Phase::Ready, account: None };
        self.executions.insert(lsn, execution);
    }

    pub(crate) fn is_current(&self, attempt: AttemptRef) -> bool {
        self.executions.get(&attempt.execution).is_some_and(|execution| {
            execution.is_under_way() && execution.attempts == attempt.attempt.0
        })
    }

    /// A job ends by the record `by`, which is written at `at`.
    pub(crate) fn end(&mut self, job: Lsn, end: JobState, by: Lsn, at: Timestamp) {
        let job = self.jobs.get_mut(&job).unwrap();
        job.end = Some((end, by));
        if let Some(queue) = job.queue {
            self.queues.get_mut(&queue).unwrap().idle_since = at;
        }
    }

    /// These jobs are cancelled; what nobody wants any more ends.
    pub(crate) fn cancel(&mut self, jobs: &[Lsn], by: Lsn, at: Timestamp) {
        for job in jobs {
            self.end(*job, JobState::Cancelled, by, at);
        }
        for job in jobs {
            let execution = self.jobs[job].execution;
            if self.wanting(execution).is_empty() {
                self.executions.get_mut(&execution).unwrap().phase = Phase::Ended;
            }
        }
    }

    /// Everybody who wants the execution ends with it.
    pub(crate) fn end_all(&mut self, id: Lsn, end: JobState, phase: Phase, by: Lsn, at: Timestamp) {
        for job in self.wanting(id) {
            self.end(job, end, by, at);
        }
        self.executions.get_mut(&id).unwrap().phase = phase;
    }

    /// An attempt failed in a way that may be tried again. Each job by its own limit: returns
    /// those that share the next try and those that have none left.
    pub(crate) fn sorted_by_retries(&self, execution: Lsn) -> (Vec<Lsn>, Vec<Lsn>) {
        let has_more = |job: &Lsn| self.jobs[job].retries < self.jobs[job].retries_max;
        self.wanting(execution).into_iter().partition(has_more)
    }

    pub(crate) fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(&id).filter(|queue| !queue.forgotten)
    }

    /// Jobs of a queue that have not ended, oldest first.
    pub(crate) fn open_in(&self, queue: QueueId) -> Vec<Lsn> {
        let open =
            self.jobs.iter().filter(|(_, job)| job.queue == Some(queue) && job.end.is_none());
        open.map(|(lsn, _)| *lsn).collect()
    }

    /// Jobs of a queue that are not retired.
    pub(crate) fn held_in(&self, queue: QueueId) -> usize {
        self.jobs.values().filter(|job| job.queue == Some(queue) && !job.retired).count()
    }

    pub(crate) fn queue_state(&self, id: QueueId) -> Option<QueueState> {
        let queue = self.queue(id)?;
        let drained = queue.stage == QueueState::Draining && self.open_in(id).is_empty();
        Some(if drained { QueueState::Complete } else { queue.stage })
    }

    /// When a queue expires unless something happens in it.
    pub(crate) fn expiry(&self, id: QueueId) -> Option<Timestamp> {
        let queue = self.queue(id)?;
        let idle = queue.stage == QueueState::Active && self.open_in(id).is_empty();
        queue.expire_after.filter(|_| idle).map(|time| queue.idle_since.after(time))
    }

    /// Each job of a queue counted once, retired ones too.
    pub(crate) fn counts(&self, queue: QueueId) -> QueueCounts {
        let mut counts = QueueCounts::default();
        for job in self.jobs.values().filter(|job| job.queue == Some(queue)) {
            *match self.state_of(job) {
                JobState::Pending | JobState::Retracted => &mut counts.queued,
                JobState::Submitting | JobState::Running => &mut counts.running,
                JobState::Completed => &mut counts.completed,
                JobState::Failed => &mut counts.failed,
                JobState::Abandoned => &mut counts.abandoned,
                JobState::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        counts
    }

    /// Jobs that ended and are not retired, with the record that ended them, in that order; all,
    /// or those of one queue.
    pub(crate) fn feed(&self, queue: Option<QueueId>) -> Vec<(Lsn, Lsn, JobState)> {
        let of = |job: &&Job| !job.retired && (queue.is_none() || job.queue == queue);
        let mut feed: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| of(job))
            .filter_map(|(lsn, job)| job.end.map(|(end, by)| (by, *lsn, end)))
            .collect();
        feed.sort_unstable_by_key(|(by, job, _)| (*by, *job));
        feed
    }
}
