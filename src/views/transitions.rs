//! The transitions of `docs/architecture.md`: workers and jobs, one function for each event.

use std::cmp::Reverse;

use super::Views;
use super::apply::{Illegal, ensure};
use super::names::NameIx;
use super::order::Party;
use super::state::{End, Execution, Job, PairKey, Phase};
use super::workers::{Registration, WorkerIx};
use crate::domain::{
    ActionId, AttemptNo, AttemptRef, Event, Function, Guid, Lsn, QueueState, Record, Run, WorkerId,
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
            Event::JobsRetired { jobs } => jobs.iter().try_for_each(|job| self.job_retired(*job)),
            Event::QueueCreated { .. }
            | Event::QueueDrained { .. }
            | Event::QueueCancelled { .. }
            | Event::QueueExpired { .. }
            | Event::QueueRetired { .. } => self.queue_transition(record),
            Event::RecordingStarted { .. }
            | Event::RecordingStopped { .. }
            | Event::RecordingImported { .. }
            | Event::RecordingDeleted { .. } => self.recording_transition(record),
            Event::ReplayStarted { .. }
            | Event::ReplayJudged { .. }
            | Event::ReplayEnded { .. } => self.replay_transition(record),
            Event::AttemptAssigned { execution, attempt, runner, queue } => {
                let runner = self.runners.intern(&runner.0);
                self.attempt_assigned(lsn, *execution, *attempt, runner, *queue)
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
            worker,
            action,
            function,
            priority,
            queue,
            retries_max,
            run,
            recorded,
            ..
        } = &record.event
        else {
            return Err(Illegal("it is no submission"));
        };
        let lsn = record.lsn;
        let ix = self.active_worker(*worker)?;
        self.takes_jobs(*queue)?;
        self.replays.submitted(self.queues.replay_of(*queue), *recorded)?;
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
        self.queues.admit(*queue, record.at);
        self.recordings.admit();
        if !cached {
            self.want(execution, *queue, *priority, lsn);
        }
        Ok(())
    }

    /// Fails unless work may be added to the queue. Outside of queues it always may.
    fn takes_jobs(&self, queue: Party) -> Result<(), Illegal> {
        let state = queue.map(|queue| self.queue_state(queue));
        ensure(matches!(state, None | Some(Some(QueueState::Active))), "the queue takes no jobs")
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
                    party: None,
                };
                // It stands in line as soon as its job wants it.
                self.executions.insert(lsn, execution);
                if let Some(offers) = &mut self.offers {
                    offers.live.insert(PairKey::of(worker, action), lsn);
                }
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

    pub(super) fn open_job(&self, job: Lsn) -> Result<&Job, Illegal> {
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
        self.settle(execution);
        Ok(())
    }

    fn job_reprioritised(&mut self, lsn: Lsn, job: Lsn, priority: i32) -> Result<(), Illegal> {
        let found = self.open_job(job)?;
        let (execution, party, was) = (found.execution, found.queue, found.priority);
        self.rewant(execution, party, |wants| {
            wants.remove((execution, party, Reverse(was), job));
            wants.insert((execution, party, Reverse(priority), job));
        });
        if let Some(found) = self.jobs.get_mut(job) {
            found.priority = priority;
            found.tail = lsn;
        }
        self.raise_priority(execution, priority);
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
        let (old, party, priority) = (found.execution, found.queue, found.priority);
        self.takes_jobs(party)?;
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
        self.want(execution, party, priority, job);
        Ok(())
    }

    fn job_retired(&mut self, job: Lsn) -> Result<(), Illegal> {
        let found = self.jobs.get(job).ok_or(Illegal("no such job"))?;
        ensure(found.end.is_some(), "the job has not ended")?;
        let (execution, party) = (found.execution, found.queue);
        self.jobs.remove(job);
        self.retired.insert(job);
        self.queues.drop_result(party);
        self.release(execution);
        Ok(())
    }

    fn touch_job(&mut self, lsn: Lsn, job: Lsn) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.tail = lsn;
        }
    }
}
