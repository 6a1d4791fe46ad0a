//! Runs histories the way the service does, with the model beside it.

use ledgerun::decide::{Decision, Facts, Policy, decide};
use ledgerun::domain::{
    Answer, AttemptRef, Cause, Command, ContentHash, Event, Failure, FailureKind, JobState, Lsn,
    NewJob, ObjectRef, Outcome, Record, Rejection, Timestamp, Usage,
};
use ledgerun::effects::{Effect, effects_of, reconcile};
use ledgerun::eventlog::codec::{self, Chain, Encoder};
use ledgerun::views::{Newest, Published, Views};

use super::history::{self, Ending, Step, Target, WORKERS};
use super::model::{Job, Model, Phase};

pub(crate) struct Bench {
    staging: Views,
    published: Published,
    log: Vec<Record>,
    digests: Vec<ContentHash>,
    encoder: Encoder,
    chain: Chain,
    now: Timestamp,
    pub(crate) jitter: u64,
    pub(crate) policy: Policy,
    pub(crate) runners: usize,
    pub(crate) model: Model,
    /// Every attempt that was ever handed out.
    attempts: Vec<AttemptRef>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            staging: Views::default(),
            published: Published::default(),
            log: Vec::new(),
            digests: Vec::new(),
            encoder: Encoder::default(),
            chain: Chain::START,
            now: Timestamp(1_700_000_000_000_000),
            jitter: 77,
            policy: Policy::default(),
            runners: 1,
            model: Model::default(),
            attempts: Vec::new(),
        }
    }

    pub(crate) fn log(&self) -> &[Record] {
        &self.log
    }

    pub(crate) fn staging(&self) -> &Views {
        &self.staging
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn digest_at(&self, lsn: Lsn) -> ContentHash {
        self.digests[lsn.0 as usize - 1]
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts { now: self.now, jitter: self.jitter, policy: self.policy, runners: self.runners }
    }

    /// Decides, writes, reads back and folds, twice, as the service does.
    pub(crate) fn execute(
        &mut self,
        command: &Command,
    ) -> Result<(Vec<Record>, Answer), Rejection> {
        let facts = self.facts();
        let Decision { events, answer } = decide(&self.staging, command, &facts)?;
        let mut records = Vec::new();
        for event in events {
            let record = self.staging.stamp(facts.now, Cause::UNKNOWN, event);
            let (value, chain) = self.encoder.encode(&record, self.chain).unwrap();
            let (decoded, after) = codec::decode(record.lsn, value).unwrap();
            assert_eq!((&decoded, after), (&record, self.chain), "encoding loses something");
            self.chain = chain;
            self.staging.apply(&decoded).unwrap();
            self.digests.push(self.staging.digest());
            records.push(decoded);
        }
        for record in &records {
            self.published.apply(record).unwrap();
        }
        if !records.is_empty() {
            self.promote();
        }
        self.log.extend(records.iter().cloned());
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok((records, answer))
    }

    fn promote(&mut self) {
        for execution in self.model.executions.values_mut() {
            if matches!(execution.phase, Phase::Waits(until) if until <= self.now) {
                execution.phase = Phase::Ready;
            }
        }
    }

    /// The command again: accepted, and nothing happens.
    fn again(&self, command: &Command) {
        let decision = decide(&self.staging, command, &self.facts()).unwrap();
        assert_eq!(decision, Decision { events: Vec::new(), answer: Answer::Done }, "{command:?}");
    }

    fn pick(&self, number: usize) -> Option<Lsn> {
        let jobs: Vec<Lsn> = self.model.jobs.keys().copied().collect();
        // Sometimes one that never was.
        if number == 63 {
            return Some(Lsn(self.log.len() as u64 + 1));
        }
        (!jobs.is_empty()).then(|| jobs[number % jobs.len()])
    }

    /// Mostly a current one.
    fn pick_attempt(&self, number: usize) -> Option<AttemptRef> {
        let current: Vec<_> =
            self.attempts.iter().copied().filter(|a| self.model.is_current(*a)).collect();
        (!current.is_empty()).then(|| current[number % current.len()])
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Register(ix) => self.register(*ix),
            Step::RetireWorker(ix) => self.retire_worker(*ix),
            Step::Submit { target, action, priority, fresh, retries_max } => {
                self.policy.retries_max_default = *retries_max;
                self.submit(*target, *action, *priority, *fresh);
            }
            Step::Cancel(number) => self.on_job(*number, Self::cancel),
            Step::Priority(number, priority) => {
                self.on_job(*number, |bench, job| bench.change_priority(job, *priority));
            }
            Step::Reschedule(number) => self.on_job(*number, Self::reschedule),
            Step::Retract(number) => self.on_job(*number, Self::retract),
            Step::Retire(number) => self.on_job(*number, Self::retire),
            Step::Assign(runner, host) => drop(self.assign(*runner, *host)),
            Step::Start(number) => {
                if let Some(attempt) = self.pick_attempt(*number) {
                    self.start(attempt);
                }
            }
            Step::Finish(number, ending) => {
                if let Some(attempt) = self.pick_attempt(*number) {
                    self.finish(attempt, *ending);
                }
            }
            Step::Lose(number) => {
                if let Some(attempt) = self.pick_attempt(*number) {
                    self.lose(&Command::LoseAttempt { attempt });
                }
            }
            Step::Late => self.late_reports(),
            Step::Advance(ms) => self.now.0 += ms * 1_000,
            Step::Runners(count) => self.runners = *count,
            Step::Restart => self.restart(),
        }
        self.compare();
    }

    fn on_job(&mut self, number: usize, act: impl FnOnce(&mut Self, Lsn)) {
        if let Some(job) = self.pick(number) {
            act(self, job);
        }
    }

    fn register(&mut self, ix: u8) {
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

    fn retire_worker(&mut self, ix: u8) {
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

    fn submit(&mut self, target: Target, action: u8, priority: i32, fresh: bool) {
        let (target, worker, wrong) = match target {
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
        };
        let action = history::action_id(action);
        let command = Command::SubmitJob(NewJob {
            target,
            action,
            function: "function".into(),
            object: ObjectRef::Inline(ledgerun::domain::Blob(action.0.0.to_vec().into())),
            priority,
            queue: None,
            fresh,
        });
        let result = self.execute(&command);
        let Some(worker) = worker else {
            assert_eq!(result.unwrap_err(), wrong);
            return;
        };
        let (records, answer) = result.unwrap();
        let lsn = records[0].lsn;
        let pair = (worker, action);
        let shared = self.model.shared(pair).filter(|_| !fresh);
        let cached = shared.is_some_and(|id| !self.model.executions[&id].is_live());
        assert_eq!(answer, Answer::Submitted { worker, cached });
        let ended = effects_of(&records[0]).any(|effect| effect == Effect::JobsEnded);
        assert_eq!(ended, cached);
        if shared.is_none() {
            self.model.open(lsn, pair);
        }
        let job = Job {
            execution: shared.unwrap_or(lsn),
            priority,
            retries: 0,
            retries_max: self.policy.retries_max_default,
            end: cached.then_some(JobState::Completed),
            retired: false,
        };
        self.model.jobs.insert(lsn, job);
    }

    /// Runs a command on a job; returns what it led to unless it is refused, as it must be when
    /// the job is in none of the states that `allow` it.
    fn command(&mut self, command: &Command, job: Lsn, allow: &[JobState]) -> Option<Vec<Record>> {
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

    fn cancel(&mut self, job: Lsn) {
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
        self.model.cancel(job);
        // Its process goes only when nobody else wants it.
        let kills = effects_of(record).any(|effect| matches!(effect, Effect::Kill { .. }));
        assert_eq!(kills, ran && self.model.wanting(execution).is_empty());
        self.again(&command);
    }

    fn change_priority(&mut self, job: Lsn, priority: i32) {
        let command = Command::ChangePriority { job, priority };
        if self.command(&command, job, &Self::OPEN).is_some() {
            self.model.jobs.get_mut(&job).unwrap().priority = priority;
            self.again(&command);
        }
    }

    fn reschedule(&mut self, job: Lsn) {
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
                None
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

    fn retract(&mut self, job: Lsn) {
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

    fn retire(&mut self, job: Lsn) {
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

    /// Hands out what the model says is next.
    pub(crate) fn assign(&mut self, runner: u8, host: u8) -> Option<AttemptRef> {
        let (runner, host) = (history::runner(runner), history::host(host));
        let expected = self.model.next(&runner, &host, self.now, self.runners);
        let command = Command::Assign { runner: runner.clone(), host };
        let (records, answer) = self.execute(&command).unwrap();
        let Some(execution) = expected else {
            assert_eq!(answer, Answer::Idle);
            return None;
        };
        let known = self.model.executions.get_mut(&execution).unwrap();
        known.attempts += 1;
        known.phase = Phase::Submitting(runner);
        let attempt = ledgerun::domain::AttemptNo(known.attempts);
        let attempt = AttemptRef { execution, attempt };
        assert_eq!(answer, Answer::Assigned(attempt));
        let effects: Vec<Effect> = effects_of(&records[0]).collect();
        assert_eq!(effects, [Effect::Launch { attempt }]);
        assert_eq!(self.staging.launch_of(attempt).unwrap().action, known.pair.1);
        self.attempts.push(attempt);
        Some(attempt)
    }

    fn start(&mut self, attempt: AttemptRef) {
        let command = Command::StartAttempt { attempt, sandbox: "none".into() };
        let (_, answer) = self.execute(&command).unwrap();
        let known = self.model.executions.get_mut(&attempt.execution).unwrap();
        if let Phase::Submitting(runner) = &known.phase {
            assert_eq!(answer, Answer::Done);
            known.phase = Phase::Running(runner.clone());
        } else {
            assert_eq!(answer, Answer::Stale);
        }
    }

    pub(crate) fn fail(&mut self, attempt: AttemptRef) {
        self.finish(attempt, Ending::Failed(FailureKind::Exit));
        self.compare();
    }

    fn finish(&mut self, attempt: AttemptRef, ending: Ending) {
        let command = finish(attempt, ending);
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!(answer, Answer::Done);
        let execution = attempt.execution;
        let Event::AttemptFinished { retry_at, .. } = &records.last().unwrap().event else {
            panic!("{records:?}");
        };
        match ending {
            Ending::Completed { cacheable } => {
                self.model.end_all(execution, JobState::Completed, Phase::Completed(cacheable));
                assert_eq!(*retry_at, None);
            }
            Ending::Failed(kind) => {
                let end = if kind == FailureKind::RunnerLost {
                    JobState::Abandoned
                } else {
                    JobState::Failed
                };
                let retryable = kind != FailureKind::InputLost;
                let again = self.model.fail(execution, end, retryable);
                assert_eq!(retry_at.is_some(), again);
                if let Some(until) = retry_at {
                    assert!(*until > self.now);
                    self.model.executions.get_mut(&execution).unwrap().phase = Phase::Waits(*until);
                }
            }
        }
    }

    fn lose(&mut self, command: &Command) {
        let Command::LoseAttempt { attempt } = command else { panic!("{command:?}") };
        let (_, answer) = self.execute(command).unwrap();
        assert_eq!(answer, Answer::Done);
        self.model.executions.get_mut(&attempt.execution).unwrap().phase = Phase::Ready;
    }

    /// Whatever comes about an attempt that is over changes nothing.
    fn late_reports(&mut self) {
        for attempt in self.attempts.clone() {
            if self.model.is_current(attempt) {
                continue;
            }
            let next = ledgerun::domain::AttemptNo(attempt.attempt.0 + 1_000);
            for attempt in [attempt, AttemptRef { attempt: next, ..attempt }] {
                let reports = [
                    Command::StartAttempt { attempt, sandbox: String::new() },
                    finish(attempt, Ending::Completed { cacheable: true }),
                    finish(attempt, Ending::Failed(FailureKind::Exit)),
                    Command::LoseAttempt { attempt },
                ];
                for report in reports {
                    let stale = Decision { events: Vec::new(), answer: Answer::Stale };
                    assert_eq!(decide(&self.staging, &report, &self.facts()).unwrap(), stale);
                }
                assert_eq!(self.staging.launch_of(attempt), None);
            }
        }
    }

    /// The service starts again: the views come from the log, and what ran is lost.
    pub(crate) fn restart(&mut self) {
        let mut replayed = Published::default();
        for record in &self.log {
            replayed.apply(record).unwrap();
        }
        self.staging = replayed.views.clone();
        self.published = replayed;
        for command in reconcile(&self.staging) {
            self.lose(&command);
        }
        self.compare();
    }

    /// Runs everything to its end.
    pub(crate) fn drain(&mut self) {
        for _ in 0..10_000 {
            self.runners = 1;
            let mut attempt = self.assign(0, 0);
            if attempt.is_none() {
                attempt = self.assign(0, 1);
            }
            if attempt.is_none() {
                attempt = self.attempts.iter().copied().find(|a| self.model.is_current(*a));
            }
            if let Some(attempt) = attempt {
                self.finish(attempt, Ending::Failed(FailureKind::Exit));
            } else if let Some(due) = self.staging.next_due() {
                self.now = self.now.max(due);
            } else {
                return;
            }
        }
        panic!("it does not end");
    }

    pub(crate) fn advance_to(&mut self, time: Timestamp) {
        self.now = time;
    }

    pub(crate) fn open_jobs(&self) -> usize {
        self.model.jobs.values().filter(|job| job.end.is_none()).count()
    }

    pub(crate) fn retry_counts(&self) -> Vec<(Lsn, u32)> {
        let known = self.model.jobs.keys().filter_map(|job| self.staging.job(*job));
        known.map(|row| (row.job, row.retry_count)).collect()
    }

    /// The views say what the model says, of every job there ever was.
    fn compare(&self) {
        assert_eq!(self.staging.digest(), self.published.views.digest());
        for (job, known) in &self.model.jobs {
            let row = self.staging.job(*job);
            assert_eq!(row.as_ref().map(|row| row.state), self.model.state(*job), "job {job}");
            assert_eq!(self.staging.is_retired(*job), known.retired);
            let Some(row) = row else { continue };
            assert_eq!(row.retry_count, known.retries, "retries of job {job}");
            assert_eq!(row.priority, known.priority, "priority of job {job}");
            assert_eq!(row.execution, known.execution, "execution of job {job}");
        }
        for worker in 0..WORKERS {
            for action in 0..3 {
                self.compare_newest(worker, action);
            }
        }
    }

    fn compare_newest(&self, worker: u8, action: u8) {
        let pair = (history::worker_id(worker), history::action_id(action));
        let of = |job: &&Lsn| {
            let job = &self.model.jobs[*job];
            !job.retired && self.model.executions[&job.execution].pair == pair
        };
        let jobs: Vec<Lsn> = self.model.jobs.keys().filter(of).copied().collect();
        let cancelled = |job: &&Lsn| self.model.state(**job) == Some(JobState::Cancelled);
        let expected = match jobs.iter().rev().find(|job| !cancelled(job)) {
            Some(job) => Newest::Job(*job),
            None => jobs.last().map_or(Newest::None, |job| Newest::Cancelled(*job)),
        };
        assert_eq!(self.published.newest(pair.0, pair.1), expected);
    }
}

fn finish(attempt: AttemptRef, ending: Ending) -> Command {
    let outcome = match ending {
        Ending::Completed { cacheable } => Outcome::Completed {
            output: ObjectRef::Inline(ledgerun::domain::Blob(vec![1, 2, 3].into())),
            cacheable,
            stderr: None,
        },
        Ending::Failed(kind) => Outcome::Failed(Failure {
            kind,
            reason: "a reason".into(),
            exit_code: Some(1),
            signal: None,
            stderr: None,
        }),
    };
    Command::FinishAttempt { attempt, outcome, usage: Usage::default() }
}
