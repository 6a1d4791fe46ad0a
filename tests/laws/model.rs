//! The semantics of jobs, told naively: lists and loops, no events, no indexes.

use std::collections::BTreeMap;

use ledgerun::domain::{
    ActionId, AttemptRef, Host, JobState, Lsn, RunnerName, Timestamp, WorkerId,
};

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) execution: Lsn,
    pub(crate) priority: i32,
    pub(crate) retries: u32,
    pub(crate) retries_max: u32,
    /// Set once it has ended.
    pub(crate) end: Option<JobState>,
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
}

impl Execution {
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Completed(_) | Phase::Ended)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Submitting(_) | Phase::Running(_))
    }
}

/// Everything that was ever submitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<Lsn, Job>,
    pub(crate) executions: BTreeMap<Lsn, Execution>,
    /// Registered workers in the order of their newest registration.
    pub(crate) workers: Vec<(WorkerId, Host, Vec<String>)>,
}

impl Model {
    pub(crate) fn state(&self, job: Lsn) -> Option<JobState> {
        let job = self.jobs.get(&job).filter(|job| !job.retired)?;
        Some(job.end.unwrap_or_else(|| match self.executions[&job.execution].phase {
            Phase::Ready | Phase::Waits(_) => JobState::Pending,
            Phase::Retracted(_) => JobState::Retracted,
            Phase::Submitting(_) => JobState::Submitting,
            Phase::Running(_) => JobState::Running,
            Phase::Completed(_) | Phase::Ended => panic!("an open job of an ended execution"),
        }))
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
        self.executions.insert(lsn, Execution { pair, host, attempts: 0, phase: Phase::Ready });
    }

    /// Priority of an execution: the highest of those who want it.
    pub(crate) fn priority(&self, execution: Lsn) -> i32 {
        self.wanting(execution).iter().map(|job| self.jobs[job].priority).max().unwrap()
    }

    /// Which execution is to run next: the most urgent, then the oldest.
    pub(crate) fn next(
        &self,
        runner: &RunnerName,
        host: &Host,
        now: Timestamp,
        runners: usize,
    ) -> Option<Lsn> {
        let fits = |(_, execution): &(&Lsn, &Execution)| {
            execution.host == *host
                && match &execution.phase {
                    Phase::Ready => true,
                    Phase::Waits(until) => *until <= now,
                    Phase::Retracted(avoid) => runners == 1 || avoid.as_ref() != Some(runner),
                    _ => false,
                }
        };
        let all = self.executions.iter().filter(fits).map(|(lsn, _)| *lsn);
        all.min_by_key(|lsn| (std::cmp::Reverse(self.priority(*lsn)), *lsn))
    }

    pub(crate) fn is_current(&self, attempt: AttemptRef) -> bool {
        self.executions.get(&attempt.execution).is_some_and(|execution| {
            execution.is_under_way() && execution.attempts == attempt.attempt.0
        })
    }

    pub(crate) fn cancel(&mut self, job: Lsn) {
        let execution = self.jobs[&job].execution;
        self.jobs.get_mut(&job).unwrap().end = Some(JobState::Cancelled);
        if self.wanting(execution).is_empty() {
            self.executions.get_mut(&execution).unwrap().phase = Phase::Ended;
        }
    }

    pub(crate) fn end_all(&mut self, execution: Lsn, end: JobState, phase: Phase) {
        for job in self.wanting(execution) {
            self.jobs.get_mut(&job).unwrap().end = Some(end);
        }
        self.executions.get_mut(&execution).unwrap().phase = phase;
    }

    /// Each job by its own limit: those with retries left share the next try, the others end.
    /// Returns whether anybody tries again.
    pub(crate) fn fail(&mut self, execution: Lsn, end: JobState, retryable: bool) -> bool {
        let mut again = false;
        for job in self.wanting(execution) {
            let job = self.jobs.get_mut(&job).unwrap();
            if retryable && job.retries < job.retries_max {
                job.retries += 1;
                again = true;
            } else {
                job.end = Some(end);
            }
        }
        if !again {
            self.executions.get_mut(&execution).unwrap().phase = Phase::Ended;
        }
        again
    }
}
