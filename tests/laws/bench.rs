//! Runs histories the way the service does, with the model beside it.

use ledgerun::decide::{Decision, Facts, Policy, decide};
use ledgerun::domain::{
    Answer, AttemptRef, Cause, Command, ContentHash, Event, Failure, FailureKind, JobState, Lsn,
    ObjectRef, Outcome, Record, Rejection, Timestamp, Usage,
};
use ledgerun::effects::{Effect, effects_of, reconcile};
use ledgerun::eventlog::codec::{self, Chain, Encoder};
use ledgerun::views::{Newest, Published, Views};

use super::history::{self, Ending, Step, WORKERS};
use super::model::{Model, Phase};

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
            let digest = self.staging.digest();
            assert_ne!(self.digests.last(), Some(&digest), "the digest misses something");
            self.digests.push(digest);
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
    pub(crate) fn again(&self, command: &Command) {
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
            bytes: 1_000,
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
