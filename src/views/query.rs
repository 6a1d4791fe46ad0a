//! What rules and readers ask about one thing.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Views;
use super::names::NameIx;
use super::state::{
    ExecutionRow, ExecutionState, Job, JobRow, LaunchRow, Phase, RESULT_UNIT_BYTES, Retries, Want,
};
use super::workers::{WorkerIx, WorkerRow};
use crate::domain::{
    AttemptRef, FunctionKey, Host, JobState, Lsn, QueueId, RunnerName, Timestamp, WorkerId,
};

impl Views {
    /// A job that was submitted and not retired.
    pub fn job(&self, job: Lsn) -> Option<JobRow> {
        let found = self.jobs.get(job)?;
        let execution = self.executions.get(found.execution)?;
        let state = self.state_of(found);
        let output_at = match execution.phase {
            Phase::Completed { at, .. } if state == JobState::Completed => Some(at),
            _ => None,
        };
        Some(JobRow {
            job,
            state,
            execution: found.execution,
            worker: self.worker_id(execution.worker),
            action: execution.action,
            function: self.functions.text(found.function),
            queue: found.queue,
            priority: found.priority,
            retry_count: found.retry_count,
            retries_max: found.retries_max,
            submitted_at: found.submitted_at,
            ended: found.end.map(|_| found.ended),
            cached: found.cached,
            output_at,
            tail: found.tail,
            execution_tail: execution.tail,
        })
    }

    /// Where a job is.
    pub fn job_state(&self, job: Lsn) -> Option<JobState> {
        self.jobs.get(job).map(|found| self.state_of(found))
    }

    /// Whether there was a job of this name that was retired.
    pub fn is_retired(&self, job: Lsn) -> bool {
        self.retired.contains(job)
    }

    /// How many jobs there are, ended ones included, retired ones not.
    pub const fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// An execution that a job refers to which is not retired.
    pub fn execution(&self, id: Lsn) -> Option<ExecutionRow> {
        let found = self.executions.get(id)?;
        let runner = |ix: NameIx| RunnerName(self.runners.text(ix));
        let attempt = found.attempt;
        Some(ExecutionRow {
            execution: id,
            worker: self.worker_id(found.worker),
            action: found.action,
            state: match found.phase {
                Phase::Ready => ExecutionState::Ready,
                Phase::BackingOff { until } => ExecutionState::BackingOff { until },
                Phase::Retracted { avoid } => {
                    ExecutionState::Retracted { avoid: avoid.map(runner) }
                }
                Phase::Submitting { runner: ix } => {
                    ExecutionState::Submitting { attempt, runner: runner(ix) }
                }
                Phase::Running { runner: ix } => {
                    ExecutionState::Running { attempt, runner: runner(ix) }
                }
                Phase::Completed { at, cacheable, .. } => {
                    ExecutionState::Completed { at, cacheable }
                }
                Phase::Ended => ExecutionState::Ended,
            },
            priority: found.priority,
            attempt,
            tail: found.tail,
        })
    }

    /// The jobs that want an execution: by queue, then most wanting first.
    pub fn jobs_wanting(&self, execution: Lsn) -> impl Iterator<Item = Lsn> + '_ {
        self.wanting(execution).map(|(_, _, _, job)| job)
    }

    /// The jobs that want an execution with their retries, in the same order.
    pub fn retries_of(&self, execution: Lsn) -> impl Iterator<Item = (Lsn, Retries)> + '_ {
        self.jobs_wanting(execution).filter_map(|job| {
            let found = self.jobs.get(job)?;
            Some((job, Retries { count: found.retry_count, max: found.retries_max }))
        })
    }

    /// How many jobs of its queue (or outside of queues) are handed out before this one, counting at
    /// most `max`. None when its execution is not ready.
    pub fn ready_position(&self, job: Lsn, max: usize) -> Option<usize> {
        let found = self.jobs.get(job).filter(|found| found.end.is_none())?;
        let (level, standing) = self.place(found.execution, found.queue)?;
        self.order.ahead(found.queue, level, standing, max)
    }

    /// How many executions are ready, of all platforms. One that several queues want counts for
    /// each.
    pub fn ready_count(&self) -> usize {
        self.order.len()
    }

    /// How many executions wait for their next try.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Attempts handed out and not over, in the order of their executions.
    pub fn attempts_under_way(&self) -> impl Iterator<Item = (AttemptRef, RunnerName)> + '_ {
        self.under_way.iter().filter_map(|id| {
            let found = self.executions.get(*id)?;
            let (Phase::Submitting { runner } | Phase::Running { runner }) = found.phase else {
                return None;
            };
            let attempt = AttemptRef { execution: *id, attempt: found.attempt };
            Some((attempt, RunnerName(self.runners.text(runner))))
        })
    }

    /// What it takes to launch an attempt; none when it is no longer the current one.
    pub fn launch_of(&self, attempt: AttemptRef) -> Option<LaunchRow> {
        if self.attempt_under_way(attempt.execution) != Some(attempt) {
            return None;
        }
        let found = self.executions.get(attempt.execution)?;
        let worker = self.workers.get(found.worker)?;
        Some(LaunchRow {
            attempt,
            worker: worker.id,
            action: found.action,
            action_at: found.action_at,
            descriptor_at: worker.registered,
        })
    }

    /// A worker that was ever registered; [`WorkerRow::retired`] says whether it takes jobs.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerRow> {
        let found = self.workers.get(self.workers.find(id)?)?;
        Some(found.row(&self.functions, &self.workers))
    }

    /// All workers that take jobs, in the order they were first registered.
    pub fn workers(&self) -> impl Iterator<Item = WorkerRow> + '_ {
        let active = self.workers.all().iter().filter(|worker| !worker.retired);
        active.map(|worker| worker.row(&self.functions, &self.workers))
    }

    /// Whether a worker takes jobs.
    pub fn is_registered(&self, id: WorkerId) -> bool {
        self.workers.active(id).is_some()
    }

    /// The record that has the descriptor of a worker that takes jobs.
    pub fn descriptor_at(&self, id: WorkerId) -> Option<Lsn> {
        self.workers.active(id).map(|(_, worker)| worker.registered)
    }

    /// Jobs of a worker that have not ended.
    pub fn open_jobs(&self, id: WorkerId) -> u64 {
        let worker = self.workers.find(id).and_then(|ix| self.workers.get(ix));
        worker.map_or(0, |worker| worker.open)
    }

    /// Who runs a function: the newest registered worker, then the lowest id.
    pub fn resolve(&self, key: &FunctionKey) -> Option<WorkerId> {
        self.workers.resolve(&self.functions, key)
    }

    /// When the next execution that waits for its next try is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(until, _)| *until)
    }

    pub(super) fn state_of(&self, job: &Job) -> JobState {
        if let Some(end) = job.end {
            return end.state();
        }
        let execution = self.executions.get(job.execution);
        execution.map_or(JobState::Pending, |execution| execution.phase.job_state())
    }

    pub(super) fn worker_id(&self, ix: WorkerIx) -> WorkerId {
        self.workers.get(ix).map(|worker| worker.id).unwrap_or_default()
    }

    pub(super) fn wanting(&self, execution: Lsn) -> impl Iterator<Item = Want> + '_ {
        let first = (execution, None, Reverse(i32::MAX), Lsn::ZERO);
        self.wants.after(first).take_while(move |(wanted, ..)| *wanted == execution)
    }

    /// The attempt of an execution that was handed out and is not over.
    pub fn attempt_under_way(&self, execution: Lsn) -> Option<AttemptRef> {
        let found = self.executions.get(execution)?;
        let current = AttemptRef { execution, attempt: found.attempt };
        found.phase.is_under_way().then_some(current)
    }

    /// The first execution in the order of `host`, or the first among those due at `now` (all when the
    /// clock was set back) when it comes before that one, and whose turn it is. One that was pulled
    /// back from `avoided` is left out.
    pub fn first_to_run(
        &self,
        host: &Host,
        now: Timestamp,
        avoided: Option<&RunnerName>,
    ) -> Option<(Lsn, Option<QueueId>)> {
        let tag = self.workers.host_tag(host)?;
        let avoided = avoided.and_then(|runner| self.runners.find(&runner.0));
        let execution = |job: Lsn| self.jobs.get(job).map(|found| found.execution);
        let shuns = |job: Lsn| {
            let found = execution(job).and_then(|id| self.executions.get(id));
            let phase = found.map(|found| found.phase);
            avoided.is_some() && phase == Some(Phase::Retracted { avoid: avoided })
        };
        let ready = self.order.first(tag, shuns);
        // Few: what is due joins the order with the next record, whatever it is about.
        let back = self.is_set_back(now);
        let due = self.waiting.iter().take_while(|(until, _)| back || *until <= now);
        let due = due.flat_map(|(_, id)| self.places(*id)).filter(|(_, level, _)| level.0 == tag);
        let due = due.filter_map(|(party, level, job)| self.order.rank(party, level, job)).min();
        let best = match (ready, due) {
            (Some(ready), Some(due)) => Some(ready.min(due)),
            (ready, due) => ready.or(due),
        };
        best.and_then(|rank| Some((execution(rank.job)?, rank.party)))
    }

    /// Size of all results that are held, in bytes, rounded up for each.
    pub const fn held_bytes(&self) -> u64 {
        self.held_units.saturating_mul(RESULT_UNIT_BYTES)
    }

    /// Names of the functions that jobs or workers ever had, in the order of first use.
    pub fn function_names(&self) -> &[Arc<str>] {
        self.functions.all()
    }
}
