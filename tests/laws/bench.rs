//! Runs histories the way the service does, with the model beside it.

use ledgerun::decide::{Decision, Facts, Policy, decide};
use ledgerun::domain::{
    Answer, AttemptRef, Cause, Command, ContentHash, Lsn, QueueId, Record, Rejection, Timestamp,
};
use ledgerun::effects::reconcile;
use ledgerun::eventlog::codec::{self, Chain, Encoder};
use ledgerun::views::{Published, Views};

use super::history::{self, Step};
use super::model::{Model, Phase};
use super::turns::Asking;

/// Steps that a crash may undo.
const UNSYNCED_MAX: usize = 6;

pub(crate) struct Bench {
    pub(crate) staging: Views,
    pub(crate) published: Published,
    pub(crate) log: Vec<Record>,
    digests: Vec<ContentHash>,
    encoder: Encoder,
    chain: Chain,
    now: Timestamp,
    pub(crate) jitter: u64,
    pub(crate) policy: Policy,
    pub(crate) runners: usize,
    pub(crate) model: Model,
    /// Every attempt that was ever handed out.
    pub(crate) attempts: Vec<AttemptRef>,
    /// After each of the last steps.
    moments: Vec<Moment>,
    /// What the last command that was refused was refused with.
    pub(crate) refused: Option<Rejection>,
}

/// What a crash goes back to.
#[derive(Clone)]
struct Moment {
    records: usize,
    chain: Chain,
    attempts: usize,
    model: Model,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let moment =
            Moment { records: 0, chain: Chain::START, attempts: 0, model: Model::default() };
        let mut staging = Views::default();
        staging.keep_offers();
        let mut published = Published::default();
        published.keep_pairs();
        Self {
            staging,
            published,
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
            moments: vec![moment],
            refused: None,
        }
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
        self.settle_recordings();
        let facts = self.facts();
        let decided = decide(&self.staging, command, &facts);
        self.refused = decided.as_ref().err().cloned();
        let Decision { events, answer } = decided?;
        let mut records = Vec::new();
        for event in events {
            let record = self.staging.stamp(facts.now, Cause::UNKNOWN, event);
            let (value, chain) = self.encoder.encode(&record, self.chain).unwrap();
            let (decoded, after) = codec::decode(record.lsn, value).unwrap();
            assert_eq!((&decoded, after), (&record, self.chain), "encoding loses something");
            self.chain = chain;
            self.staging.apply(&decoded).unwrap();
            self.published.apply(&decoded).unwrap();
            let digest = self.staging.digest();
            assert_ne!(self.digests.last(), Some(&digest), "the digest misses something");
            self.digests.push(digest);
            records.push(decoded);
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

    pub(crate) fn pick(&self, number: usize) -> Option<Lsn> {
        // Sometimes one that never was.
        if number == history::NOBODY {
            return Some(Lsn(self.log.len() as u64 + 1));
        }
        let jobs = self.model.jobs.len();
        (jobs > 0).then(|| *self.model.jobs.keys().nth(number % jobs).unwrap())
    }

    /// A queue that was made, or one that never was.
    pub(crate) fn pick_queue(&self, number: usize) -> QueueId {
        let made = self.model.queues.len();
        let ix = if number == history::NOBODY || made == 0 { made } else { number % made };
        QueueId::new(ix as u32 + 1).unwrap()
    }

    /// A current one.
    fn pick_attempt(&self, number: usize) -> Option<AttemptRef> {
        let current: Vec<_> =
            self.attempts.iter().copied().filter(|a| self.model.is_current(*a)).collect();
        (!current.is_empty()).then(|| current[number % current.len()])
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Register(ix) => self.register(*ix),
            Step::RetireWorker(ix) => self.retire_worker(*ix),
            Step::Submit(submission) => self.submit(submission),
            Step::Cancel(number) => self.on_job(*number, Self::cancel),
            Step::Priority(number, priority) => {
                self.on_job(*number, |bench, job| bench.change_priority(job, *priority));
            }
            Step::Reschedule(number) => self.on_job(*number, Self::reschedule),
            Step::Retract(number) => self.on_job(*number, Self::retract),
            Step::Retire(number) => self.on_job(*number, Self::retire),
            Step::RetireMany(numbers) => self.retire_many(numbers),
            Step::Assign(runner, host) => drop(self.assign(*runner, *host)),
            Step::Start(number) => self.on_attempt(*number, Self::start),
            Step::Finish(number, ending) => {
                self.on_attempt(*number, |bench, attempt| bench.finish(attempt, *ending));
            }
            Step::Lose(number) => self.on_attempt(*number, Self::lose),
            Step::CreateQueue(settings) => self.create_queue(settings),
            Step::DrainQueue(number) => self.drain_queue(self.pick_queue(*number)),
            Step::CancelQueue(number) => self.cancel_queue(self.pick_queue(*number)),
            Step::ExpireQueue(number, quiet) => {
                self.expire_queue(self.pick_queue(*number), *quiet);
            }
            Step::RetireQueue(number) => self.retire_queue(self.pick_queue(*number)),
            Step::StartRecording(named) => self.start_recording(*named),
            Step::StopRecording => self.stop_recording(),
            Step::ImportRecording(import) => self.import_recording(import),
            Step::DeleteRecording(number) => self.delete_recording(self.pick_recording(*number)),
            Step::StartReplay(number, total) => {
                self.start_replay(self.pick_recording(*number), *total);
            }
            Step::SubmitAgain(again) => self.submit_again(again),
            Step::Judge(judgement) => self.judge(judgement),
            Step::EndReplay(number, reason) => self.end_replay(*number, *reason),
            Step::Late => self.late_reports(),
            Step::Order => self.compare_order(),
            Step::Advance(ms) => self.now.0 += ms * 1_000,
            Step::Runners(count) => self.runners = *count,
            Step::Crash(lost) => self.crash(*lost),
        }
        self.settle_recordings();
        self.compare();
        let moment = Moment {
            records: self.log.len(),
            chain: self.chain,
            attempts: self.attempts.len(),
            model: self.model.clone(),
        };
        if self.moments.len() == UNSYNCED_MAX {
            self.moments.remove(0);
        }
        self.moments.push(moment);
    }

    fn on_job(&mut self, number: usize, act: impl FnOnce(&mut Self, Lsn)) {
        if let Some(job) = self.pick(number) {
            act(self, job);
        }
    }

    fn on_attempt(&mut self, number: usize, act: impl FnOnce(&mut Self, AttemptRef)) {
        if let Some(attempt) = self.pick_attempt(number) {
            act(self, attempt);
        }
    }

    /// The service dies; the last `lost` steps were not durable, and nobody was told of them. It
    /// starts again: the views come from the log, and what ran is lost.
    pub(crate) fn crash(&mut self, lost: usize) {
        let kept = self.moments.len() - 1 - lost.min(self.moments.len() - 1);
        self.moments.truncate(kept + 1);
        let moment = self.moments[kept].clone();
        self.log.truncate(moment.records);
        self.digests.truncate(moment.records);
        self.attempts.truncate(moment.attempts);
        self.chain = moment.chain;
        self.model = moment.model;
        let mut replayed = Published::default();
        for record in &self.log {
            replayed.apply(record).unwrap();
        }
        assert!(self.log.is_empty() || Some(&replayed.views.digest()) == self.digests.last());
        self.staging = replayed.views.clone();
        self.staging.keep_offers();
        self.published = replayed;
        self.published.keep_pairs();
        for command in reconcile(&self.staging) {
            let Command::LoseAttempt { attempt } = command else { panic!("{command:?}") };
            self.lose(attempt);
        }
        assert_eq!(self.staging.attempts_under_way().count(), 0);
    }

    /// Runs everything to its end.
    pub(crate) fn run_dry(&mut self) {
        self.runners = 1;
        for _ in 0..10_000 {
            let attempt = self.assign(0, 0).or_else(|| self.assign(0, 1));
            let attempt = attempt.or_else(|| self.pick_attempt(0));
            if let Some(attempt) = attempt {
                self.finish(attempt, history::FAILED);
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

    pub(crate) fn retry_counts(&self) -> Vec<(Lsn, u32)> {
        let known = self.model.jobs.keys().filter_map(|job| self.staging.job(*job));
        known.map(|row| (row.job, row.retry_count)).collect()
    }

    /// Calls `act` with who asks for work.
    pub(crate) fn asking<T>(
        &self,
        runner: u8,
        host: u8,
        act: impl FnOnce(&Asking<'_>, &Command) -> T,
    ) -> T {
        let (runner, host) = (history::runner(runner), history::host(host));
        let command = Command::Assign { runner: runner.clone(), host: host.clone() };
        let asking = Asking { runner: &runner, host: &host, now: self.now, runners: self.runners };
        act(&asking, &command)
    }
}
