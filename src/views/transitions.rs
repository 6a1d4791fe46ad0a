//! The transitions of `docs/architecture.md`, one function for each event.

use super::Views;
use super::apply::{Illegal, ensure};
use super::names::NameIx;
use super::state::{End, Execution, Job, PairKey, Phase};
use super::workers::{Registration, WorkerIx};
use crate::domain::{
    ActionId, AttemptNo, AttemptRef, Event, Function, Guid, Lsn, Outcome, Record, Run, Timestamp,
    WorkerId,
};

impl Views {
    pub(super) fn transition(&mut self, record: &Record) -> Result<(), Illegal> {
        let lsn = record.lsn;
        match &record.event {
            Event::WorkerRegistered { .. } => self.worker_registered(record),
            Event::WorkerFunctionsDeclared { worker, functions } => {
                self.functions_declared(lsn, *worker, functions)
            }
            Event::WorkerRetired { worker } => self.worker_retired(lsn, *worker),
            Event::JobSubmitted { .. } => self.job_submitted(record),
            Event::JobCancelled { job, stop } => self.job_cancelled(lsn, *job, *stop),
            Event::JobReprioritised { job, priority } => {
                self.job_reprioritised(lsn, *job, *priority)
            }
            Event::JobRescheduled { job, retry_count, run, former } => {
                self.job_rescheduled(lsn, *job, *retry_count, *run, *former)
            }
            Event::JobRetired { job } => self.job_retired(*job),
            Event::AttemptAssigned { execution, attempt, runner } => {
                let runner = self.runners.intern(&runner.0);
                self.attempt_assigned(lsn, *execution, *attempt, runner)
            }
            Event::AttemptStarted { execution, attempt, .. } => {
                self.attempt_started(lsn, *execution, *attempt)
            }
            Event::AttemptFinished { execution, attempt, outcome, retry_at, .. } => {
                self.under_way(*execution, *attempt)?;
                if let Some(until) = retry_at {
                    return self.attempt_failed(lsn, *execution, outcome, *until);
                }
                self.execution_ended(lsn, *execution, outcome);
                Ok(())
            }
            Event::JobsGaveUp { execution, abandoned, jobs } => {
                self.jobs_gave_up(lsn, *execution, *abandoned, jobs)
            }
            Event::AttemptLost { execution, attempt } => {
                self.under_way(*execution, *attempt)?;
                self.set_phase(*execution, Phase::Ready);
                self.touch(lsn, *execution);
                Ok(())
            }
            Event::ExecutionRetracted { execution, stop, avoid } => {
                let avoid = avoid.as_ref().map(|runner| self.runners.intern(&runner.0));
                self.execution_retracted(lsn, *execution, *stop, avoid)
            }
        }
    }

    fn intern_all(&mut self, functions: &[Function]) -> Vec<(NameIx, Guid)> {
        functions.iter().map(|f| (self.functions.intern(&f.name), f.version)).collect()
    }

    fn worker_registered(&mut self, record: &Record) -> Result<(), Illegal> {
        let Event::WorkerRegistered { worker, name, host, build_system, functions, .. } =
            &record.event
        else {
            return Err(Illegal("it is no registration"));
        };
        ensure(self.workers.active(*worker).is_none(), "the worker is registered already")?;
        let functions = self.intern_all(functions);
        self.workers.register(Registration {
            id: *worker,
            name,
            host,
            build_system: *build_system,
            functions,
            lsn: record.lsn,
            at: record.at,
        });
        Ok(())
    }

    fn active_worker(&self, worker: WorkerId) -> Result<WorkerIx, Illegal> {
        let found = self.workers.active(worker);
        found.map(|(ix, _)| ix).ok_or(Illegal("the worker is not registered"))
    }

    fn functions_declared(
        &mut self,
        lsn: Lsn,
        worker: WorkerId,
        functions: &[Function],
    ) -> Result<(), Illegal> {
        let ix = self.active_worker(worker)?;
        let functions = self.intern_all(functions);
        self.workers.offer(ix, functions);
        if let Some(worker) = self.workers.get_mut(ix) {
            worker.tail = lsn;
        }
        Ok(())
    }

    fn worker_retired(&mut self, lsn: Lsn, worker: WorkerId) -> Result<(), Illegal> {
        let ix = self.active_worker(worker)?;
        let open = self.workers.get(ix).map_or(0, |worker| worker.open);
        ensure(open == 0, "the worker has open jobs")?;
        self.workers.retire(ix);
        if let Some(worker) = self.workers.get_mut(ix) {
            worker.tail = lsn;
        }
        Ok(())
    }

    fn job_submitted(&mut self, record: &Record) -> Result<(), Illegal> {
        let Event::JobSubmitted {
            worker, action, function, priority, queue, retries_max, run, ..
        } = &record.event
        else {
            return Err(Illegal("it is no submission"));
        };
        let lsn = record.lsn;
        let ix = self.active_worker(*worker)?;
        let execution = self.enter(lsn, ix, *action, lsn, *priority, *run)?;
        let cached = matches!(run, Run::Cached(_));
        let job = Job {
            execution,
            submitted_at: record.at,
            tail: lsn,
            ended: if cached { lsn } else { Lsn::ZERO },
            queue: *queue,
            function: self.functions.intern(function),
            priority: *priority,
            retry_count: 0,
            retries_max: *retries_max,
            end: cached.then_some(End::Completed),
            cached,
        };
        self.jobs.insert(lsn, job);
        if !cached {
            self.want(execution, *priority, lsn);
        }
        Ok(())
    }

    /// Finds or opens the execution a job is to refer to, and counts the reference.
    fn enter(
        &mut self,
        lsn: Lsn,
        worker: WorkerIx,
        action: ActionId,
        action_at: Lsn,
        priority: i32,
        run: Run,
    ) -> Result<Lsn, Illegal> {
        let id = match run {
            Run::Opens => {
                let execution = Execution {
                    action_at,
                    tail: lsn,
                    phase: Phase::Ready,
                    action,
                    worker,
                    refs: 1,
                    priority,
                    attempt: AttemptNo(0),
                };
                self.executions.insert(lsn, execution);
                self.live.insert((PairKey::of(worker, action), lsn));
                self.ready.extend(self.place(lsn));
                return Ok(lsn);
            }
            Run::Joins(id) | Run::Cached(id) => id,
        };
        let found = self.executions.get_mut(id).ok_or(Illegal("no such execution"))?;
        ensure((found.worker, found.action) == (worker, action), "the execution is of another")?;
        let fits = match run {
            Run::Cached(_) => matches!(found.phase, Phase::Completed { .. }),
            _ => found.phase.is_live(),
        };
        ensure(fits, "the execution's phase does not allow it")?;
        found.refs =
            found.refs.checked_add(1).ok_or(Illegal("too many jobs share one execution"))?;
        Ok(id)
    }

    fn open_job(&self, job: Lsn) -> Result<&Job, Illegal> {
        let found = self.jobs.get(job).ok_or(Illegal("no such job"))?;
        ensure(found.end.is_none(), "the job has ended").map(|()| found)
    }

    fn job_cancelled(
        &mut self,
        lsn: Lsn,
        job: Lsn,
        stop: Option<AttemptRef>,
    ) -> Result<(), Illegal> {
        let execution = self.open_job(job)?.execution;
        let alone = self.wanting(execution).take(2).count() == 1;
        let expected = self.attempt_under_way(execution).filter(|_| alone);
        ensure(stop == expected, "it stops another attempt than the one nobody wants any more")?;
        self.end_job(job, End::Cancelled, lsn);
        self.touch_job(lsn, job);
        if alone {
            self.set_phase(execution, Phase::Ended);
        } else {
            self.settle_priority(execution);
        }
        Ok(())
    }

    fn job_reprioritised(&mut self, lsn: Lsn, job: Lsn, priority: i32) -> Result<(), Illegal> {
        let found = self.open_job(job)?;
        let (execution, was) = (found.execution, found.priority);
        self.wants.remove(&(execution, std::cmp::Reverse(was), job));
        self.wants.insert((execution, std::cmp::Reverse(priority), job));
        if let Some(found) = self.jobs.get_mut(job) {
            found.priority = priority;
            found.tail = lsn;
        }
        self.settle_priority(execution);
        Ok(())
    }

    fn job_rescheduled(
        &mut self,
        lsn: Lsn,
        job: Lsn,
        retry_count: u32,
        run: Run,
        former: Lsn,
    ) -> Result<(), Illegal> {
        let found = self.jobs.get(job).ok_or(Illegal("no such job"))?;
        ensure(
            matches!(found.end, Some(End::Failed | End::Abandoned)),
            "the job neither failed nor was abandoned",
        )?;
        let counts = found.retry_count.checked_add(1) == Some(retry_count);
        ensure(counts && retry_count <= found.retries_max, "its retry count is wrong")?;
        ensure(!matches!(run, Run::Cached(_)), "a job is rescheduled to run")?;
        let (old, priority) = (found.execution, found.priority);
        let left = self.executions.get(old).ok_or(Illegal("no such execution"))?;
        ensure(former == left.tail, "it leaves another execution behind than it says")?;
        let (worker, action) = (left.worker, left.action);
        let retired = self.workers.get(worker).is_none_or(|worker| worker.retired);
        ensure(!retired, "the worker is not registered")?;
        let execution = self.enter(lsn, worker, action, job, priority, run)?;
        self.release(old);
        if let Some(found) = self.jobs.get_mut(job) {
            found.execution = execution;
            found.end = None;
            found.ended = Lsn::ZERO;
            found.retry_count = retry_count;
            found.tail = lsn;
        }
        self.want(execution, priority, job);
        Ok(())
    }

    fn job_retired(&mut self, job: Lsn) -> Result<(), Illegal> {
        let found = self.jobs.get(job).ok_or(Illegal("no such job"))?;
        ensure(found.end.is_some(), "the job has not ended")?;
        let execution = found.execution;
        self.jobs.remove(job);
        self.retired.insert(job);
        self.release(execution);
        Ok(())
    }

    fn touch(&mut self, lsn: Lsn, execution: Lsn) {
        if let Some(execution) = self.executions.get_mut(execution) {
            execution.tail = lsn;
        }
    }

    fn touch_job(&mut self, lsn: Lsn, job: Lsn) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.tail = lsn;
        }
    }

    /// Fails unless this very attempt is under way.
    fn under_way(&self, execution: Lsn, attempt: AttemptNo) -> Result<(), Illegal> {
        let current = self.attempt_under_way(execution);
        ensure(current == Some(AttemptRef { execution, attempt }), "the attempt is not under way")
    }

    fn attempt_assigned(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        attempt: AttemptNo,
        runner: NameIx,
    ) -> Result<(), Illegal> {
        let execution = self.executions.get_mut(id).ok_or(Illegal("no such execution"))?;
        ensure(execution.phase.is_ready(), "the execution is not ready")?;
        let counts = execution.attempt.0.checked_add(1) == Some(attempt.0);
        ensure(counts, "the attempt's number is not the next")?;
        execution.attempt = attempt;
        execution.tail = lsn;
        self.set_phase(id, Phase::Submitting { runner });
        Ok(())
    }

    fn attempt_started(&mut self, lsn: Lsn, id: Lsn, attempt: AttemptNo) -> Result<(), Illegal> {
        self.under_way(id, attempt)?;
        let phase = self.executions.get(id).map(|execution| execution.phase);
        let Some(Phase::Submitting { runner }) = phase else {
            return Err(Illegal("the attempt has started already"));
        };
        self.set_phase(id, Phase::Running { runner });
        self.touch(lsn, id);
        Ok(())
    }

    /// The attempt failed and is to be repeated at `until`.
    fn attempt_failed(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        outcome: &Outcome,
        until: Timestamp,
    ) -> Result<(), Illegal> {
        ensure(matches!(outcome, Outcome::Failed(_)), "a completed attempt is not repeated")?;
        let wanting: Vec<Lsn> = self.wanting(id).map(|(_, _, job)| job).collect();
        for job in wanting {
            let Some(job) = self.jobs.get_mut(job) else { continue };
            ensure(job.retry_count < job.retries_max, "a job has no retry left")?;
            job.retry_count += 1;
        }
        self.set_phase(id, Phase::BackingOff { until });
        self.touch(lsn, id);
        Ok(())
    }

    /// Everybody who still wants the execution ends with it.
    fn execution_ended(&mut self, lsn: Lsn, id: Lsn, outcome: &Outcome) {
        let (end, phase) = match outcome {
            Outcome::Completed { cacheable, .. } => {
                (End::Completed, Phase::Completed { at: lsn, cacheable: *cacheable })
            }
            Outcome::Failed(failure) if failure.kind.abandons() => (End::Abandoned, Phase::Ended),
            Outcome::Failed(_) => (End::Failed, Phase::Ended),
        };
        let wanting: Vec<Lsn> = self.wanting(id).map(|(_, _, job)| job).collect();
        for job in wanting {
            self.end_job(job, end, lsn);
        }
        self.set_phase(id, phase);
        self.touch(lsn, id);
    }

    fn jobs_gave_up(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        abandoned: bool,
        jobs: &[Lsn],
    ) -> Result<(), Illegal> {
        ensure(self.attempt_under_way(id).is_some(), "no attempt is under way")?;
        let end = if abandoned { End::Abandoned } else { End::Failed };
        for job in jobs {
            let found = self.open_job(*job)?;
            ensure(found.execution == id, "a job wants another execution")?;
            self.end_job(*job, end, lsn);
        }
        ensure(self.wanting(id).next().is_some(), "nobody is left for the next try")?;
        self.settle_priority(id);
        self.touch(lsn, id);
        Ok(())
    }

    fn execution_retracted(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        stop: Option<AttemptNo>,
        avoid: Option<NameIx>,
    ) -> Result<(), Illegal> {
        let phase = self.executions.get(id).map(|execution| execution.phase);
        let phase = phase.ok_or(Illegal("no such execution"))?;
        let fits = phase.is_live() && !matches!(phase, Phase::Retracted { .. });
        ensure(fits, "the execution's phase does not allow it")?;
        let expected = self.attempt_under_way(id).map(|current| current.attempt);
        ensure(stop == expected, "it stops another attempt than the one under way")?;
        self.set_phase(id, Phase::Retracted { avoid });
        self.touch(lsn, id);
        Ok(())
    }
}
