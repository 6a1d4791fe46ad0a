//! Commands on workers and jobs, each with what the model says must come of it.

use ledgerun::domain::{
    Answer, Command, Event, JobState, Lsn, NewJob, ObjectRef, QueueId, QueueState, Record,
    Rejection, WorkerId,
};
use ledgerun::effects::{Effect, effects_of};

use super::bench::Bench;
use super::history::{self, Submission, Target};
use super::model::{Job, Phase};

impl Bench {
    pub(crate) fn register(&mut self, ix: u8) {
        let new = history::worker(ix);
        let functions = new.functions.iter().map(|function| function.name.clone()).collect();
        let command = Command::RegisterWorker(new.clone());
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!(answer, Answer::Done);
        let known = self.model.workers.iter().any(|(id, ..)| *id == new.worker);
        assert_eq!(records.is_empty(), known);
        if !known {
            self.model.workers.push((new.worker, new.host, functions));
        }
        self.again(&command);
    }

    pub(crate) fn retire_worker(&mut self, ix: u8) {
        let worker = history::worker_id(ix);
        let command = Command::RetireWorker { worker };
        let open = self.model.open_of(worker) as u64;
        match self.execute(&command) {
            Ok(_) => {
                assert_eq!(open, 0);
                self.model.workers.retain(|(id, ..)| *id != worker);
                self.again(&command);
            }
            Err(Rejection::WorkerBusy { open: said, .. }) => assert!(said == open && open > 0),
            Err(rejection) => assert_eq!(rejection, Rejection::UnknownWorker(worker)),
        }
    }

    pub(crate) fn submit(&mut self, submission: &Submission) {
        self.policy.retries_max_default = submission.retries_max;
        let (target, worker, unknown) = self.target(submission.target);
        let queue = submission.queue.map(|number| self.pick_queue(number));
        let action = history::action_id(submission.action);
        let command = Command::SubmitJob(NewJob {
            target,
            action,
            function: "function".into(),
            object: ObjectRef::Inline(ledgerun::domain::Blob(action.0.0.to_vec().into())),
            priority: submission.priority,
            queue,
            fresh: submission.fresh,
            replayed: None,
        });
        let result = self.execute(&command);
        let wrong = self.queue_refusal(queue, "take a new job");
        if let Some(wrong) = wrong.or_else(|| self.stranger(queue, None)) {
            assert_eq!(result.unwrap_err(), wrong);
            return;
        }
        let Some(worker) = worker else {
            assert_eq!(result.unwrap_err(), unknown);
            return;
        };
        let (records, answer) = result.unwrap();
        let lsn = records[0].lsn;
        let pair = (worker, action);
        let shared = self.model.shared(pair).filter(|_| !submission.fresh);
        let cached = shared.is_some_and(|id| !self.model.executions[&id].is_live());
        assert_eq!(answer, Answer::Submitted { worker, cached });
        let ended = effects_of(&records[0]).any(|effect| effect == Effect::JobsEnded);
        assert_eq!(ended, cached);
        if shared.is_none() {
            self.model.open(lsn, pair);
        }
        let now = self.now();
        let own = queue.map(|queue| self.model.queues.get_mut(&queue).unwrap());
        let limit = own.and_then(|own| {
            own.idle_since = now;
            own.retries_max
        });
        let job = Job {
            execution: shared.unwrap_or(lsn),
            queue,
            priority: submission.priority,
            retries: 0,
            retries_max: limit.unwrap_or(self.policy.retries_max_default),
            end: cached.then_some((JobState::Completed, lsn)),
            retired: false,
        };
        self.model.jobs.insert(lsn, job);
    }

    /// What is asked for, which worker that is, and the refusal when it is none.
    pub(crate) fn target(
        &self,
        target: Target,
    ) -> (ledgerun::domain::Target, Option<WorkerId>, Rejection) {
        match target {
            Target::Worker(ix) => {
                let id = history::worker_id(ix);
                let known = self.model.workers.iter().any(|(known, ..)| *known == id);
                let target = ledgerun::domain::Target::Worker(id);
                (target, known.then_some(id), Rejection::UnknownWorker(id))
            }
            Target::Function(ix) => {
                let key = history::function_key(ix);
                let worker = self.model.resolve(&key.function.name);
                let target = ledgerun::domain::Target::Function(key.clone());
                (target, worker, Rejection::NoWorker(key))
            }
        }
    }

    /// The refusal of work for a queue that takes none.
    pub(crate) fn queue_refusal(
        &self,
        queue: Option<QueueId>,
        what: &'static str,
    ) -> Option<Rejection> {
        let queue = queue?;
        match self.model.queue_state(queue) {
            None => Some(Rejection::UnknownQueue(queue)),
            Some(QueueState::Active) => None,
            Some(state) => Some(Rejection::QueueState { queue, state, what }),
        }
    }

    /// Runs a command on a job; returns what it led to unless it is refused, as it must be when
    /// the job is in none of the states that `allow` it.
    pub(crate) fn command(
        &mut self,
        command: &Command,
        job: Lsn,
        allow: &[JobState],
    ) -> Option<Vec<Record>> {
        let state = self.model.state(job);
        match self.execute(command) {
            Ok((records, _)) => {
                assert!(state.is_some_and(|state| allow.contains(&state)), "{command:?} {state:?}");
                Some(records)
            }
            Err(Rejection::UnknownJob(_)) => {
                assert_eq!(state, None);
                None
            }
            Err(Rejection::WrongState { state: said, .. }) => {
                assert_eq!(state, Some(said));
                assert!(!allow.contains(&said), "{command:?} {said}");
                None
            }
            Err(other) => panic!("{command:?}: {other}"),
        }
    }

    const OPEN: [JobState; 4] =
        [JobState::Pending, JobState::Submitting, JobState::Running, JobState::Retracted];

    pub(crate) fn cancel(&mut self, job: Lsn) {
        let command = Command::CancelJob { job };
        let mut allow = Self::OPEN.to_vec();
        allow.push(JobState::Cancelled);
        let Some(records) = self.command(&command, job, &allow) else { return };
        let Some(record) = records.first() else {
            assert_eq!(self.model.state(job), Some(JobState::Cancelled));
            return;
        };
        let execution = self.model.jobs[&job].execution;
        let ran = self.model.executions[&execution].is_under_way();
        self.model.cancel(&[job], record.lsn, self.now());
        // Its process goes only when nobody else wants it.
        let kills = effects_of(record).any(|effect| matches!(effect, Effect::Kill { .. }));
        assert_eq!(kills, ran && self.model.wanting(execution).is_empty());
        self.again(&command);
    }

    pub(crate) fn change_priority(&mut self, job: Lsn, priority: i32) {
        let command = Command::ChangePriority { job, priority };
        if self.command(&command, job, &Self::OPEN).is_some() {
            self.model.jobs.get_mut(&job).unwrap().priority = priority;
            self.again(&command);
        }
    }

    pub(crate) fn reschedule(&mut self, job: Lsn) {
        let command = Command::RescheduleJob { job };
        let ended = [JobState::Failed, JobState::Abandoned];
        if self.model.state(job).is_some_and(|state| ended.contains(&state)) {
            let known = &self.model.jobs[&job];
            let pair = self.model.executions[&known.execution].pair;
            let wrong = if known.retries >= known.retries_max {
                Some(Rejection::RetryLimit { job, limit: known.retries_max })
            } else if self.model.workers.iter().all(|(id, ..)| *id != pair.0) {
                Some(Rejection::UnknownWorker(pair.0))
            } else {
                self.queue_refusal(known.queue, "take a job again")
            };
            if let Some(wrong) = wrong {
                assert_eq!(self.execute(&command).unwrap_err(), wrong);
                return;
            }
            let (records, answer) = self.execute(&command).unwrap();
            let joined = self.model.live(pair);
            if joined.is_none() {
                self.model.open(records[0].lsn, pair);
            }
            let known = self.model.jobs.get_mut(&job).unwrap();
            known.execution = joined.unwrap_or(records[0].lsn);
            known.end = None;
            known.retries += 1;
            assert_eq!(answer, Answer::Rescheduled { retry_count: known.retries });
        } else {
            self.command(&command, job, &ended);
        }
    }

    pub(crate) fn retract(&mut self, job: Lsn) {
        let command = Command::RetractJob { job };
        let Some(records) = self.command(&command, job, &Self::OPEN) else { return };
        if records.is_empty() {
            assert_eq!(self.model.state(job), Some(JobState::Retracted));
            return;
        }
        let execution = self.model.jobs[&job].execution;
        let execution = self.model.executions.get_mut(&execution).unwrap();
        let avoid = match &execution.phase {
            Phase::Submitting(runner) | Phase::Running(runner) => Some(runner.clone()),
            _ => None,
        };
        let kills = effects_of(&records[0]).any(|effect| matches!(effect, Effect::Kill { .. }));
        assert_eq!(kills, avoid.is_some());
        execution.phase = Phase::Retracted(avoid);
        self.again(&command);
    }

    pub(crate) fn retire(&mut self, job: Lsn) {
        let command = Command::RetireJob { job };
        if self.model.jobs.get(&job).is_some_and(|job| job.retired) {
            self.again(&command);
            return;
        }
        let ended: Vec<_> = JobState::ALL.into_iter().filter(|state| state.is_final()).collect();
        if self.command(&command, job, &ended).is_some() {
            self.model.jobs.get_mut(&job).unwrap().retired = true;
            self.again(&command);
        }
    }

    /// Whichever of them have ended and are held go, in one append; the others are not touched.
    pub(crate) fn retire_many(&mut self, numbers: &[usize]) {
        let jobs: Vec<Lsn> = numbers.iter().filter_map(|number| self.pick(*number)).collect();
        let mut expected: Vec<Lsn> = jobs.clone();
        expected.sort_unstable();
        expected.dedup();
        expected.retain(|job| self.model.state(*job).is_some_and(JobState::is_final));
        let command = Command::RetireJobs { jobs };
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!((answer, records.len()), (Answer::Done, usize::from(!expected.is_empty())));
        if let Some(record) = records.first() {
            assert_eq!(record.event, Event::JobsRetired { jobs: expected.clone() });
        }
        for job in expected {
            self.model.jobs.get_mut(&job).unwrap().retired = true;
        }
        self.again(&command);
    }
}
