//! The writer's loop: take commands, decide, hand the round on to be made durable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::ahead::Ahead;
use super::committer::{Failed, Reply, Round};
use super::expiry::Expiry;
use super::handle::{Shared, Status, Work};
use super::rounds::Decided;
use super::{
    Accepted, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, Options,
};
use crate::clock::{Clock, Entropy, monotonic};
use crate::decide::{Decision, Facts, decide, next_due};
use crate::domain::{
    Answer, AttemptRef, Cause, Command, Event, Failure, FailureKind, Lsn, NewJob, ObjectRef,
    Outcome, Rejection, Target, Timestamp,
};
use crate::effects::reconcile;
use crate::runner::{Report, Runner};
use crate::views::{Tables, Views};

/// Fewest records between two times that the published views take over the staging views' tables.
const SHARE_RECORDS_MIN: u64 = 4_096;

/// So many records took the writer about as long to decide as it takes to begin a write: an idle committer
/// gets them, and doesn't wait for what comes next.
const MUCH_RECORDS: usize = 64;

/// Jobs of a batch that the staging views look for ahead: they fit into the nearest cache.
const APPROACH_LEN: usize = 64;

/// How long reports of the runner gather when nobody waits for them: one append for many of them
/// costs little more than for one. What was handed out ahead must last longer.
const REPORTS_GATHER: Duration = Duration::from_millis(5);

/// The writer and everything only it may touch.
pub(super) struct Writer {
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Receiver<Work>,
    /// To the committer.
    pub(super) rounds: Decided,
    pub(super) runner: Option<Arc<dyn Runner>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Runs ahead of what is durable; thrown away with the process when an append fails.
    pub(super) staging: Views,
    /// Attempts that hold a slot of the runner, or wait for the next free one.
    pub(super) occupied: BTreeSet<AttemptRef>,
    pub(super) ahead: Ahead,
    /// When ready executions were last handed out.
    pub(super) assigned_at: Timestamp,
    pub(super) expiry: Expiry,
    /// Up to which record the published views were last given the tables of `staging`.
    pub(super) shared_at: Lsn,
}

impl Writer {
    /// Runs until told to stop or until the log fails.
    pub(super) fn run(mut self) -> Result<(), Failed> {
        let result = self.serve();
        if let Err(failed) = &result {
            self.shared.poison(failed);
        }
        result
    }

    /// Commits what mends the last stop's leftovers, before anything else, and waits for it.
    pub(super) fn reconcile(&mut self) -> Result<(), Failed> {
        let mut round = Round::default();
        for command in reconcile(&self.staging) {
            if round.records.len() >= BATCH_EVENTS_MAX {
                self.commit(std::mem::take(&mut round))?;
            }
            if let Err(rejection) = self.stage(&command, Cause::UNKNOWN, &mut round)? {
                tracing::error!(?command, %rejection, "cannot mend what the last stop left");
            }
        }
        let (done, durable) = channel();
        round.replies.push(Reply::Boot(done));
        self.commit(round)?;
        durable.recv().map_err(|_| Failed::Committer)
    }

    fn serve(&mut self) -> Result<(), Failed> {
        loop {
            let work = match self.queue.recv_timeout(self.patience()) {
                Ok(work) => Some(work),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Work::Stop),
            };
            let mut round = Round::default();
            let stop = self.gather(work, &mut round)?;
            self.expire(&mut round)?;
            self.assign(&mut round)?;
            self.commit(round)?;
            if stop {
                return Ok(());
            }
        }
    }

    /// How long to wait for work: until the next retry is due or the next queue may expire.
    fn patience(&self) -> Duration {
        let expiry = self.expiry.due(&self.staging).map(|due| self.until(due));
        self.retry_patience().min(expiry.unwrap_or(Duration::MAX))
    }

    /// How long it is until `due`. One more millisecond: times are in microseconds, the wait must
    /// not end before them.
    fn until(&self, due: Timestamp) -> Duration {
        Duration::from_millis(due.since(self.clock.now()).0 + 1)
    }

    fn retry_patience(&self) -> Duration {
        let long = Duration::from_hours(1);
        let Some(due) = next_due(&self.staging).filter(|_| self.free_slots() > 0) else {
            return long;
        };
        if due <= self.assigned_at || self.staging.is_set_back(self.clock.now()) {
            // It was due when things were handed out last, so no runner here can take it.
            return long.min(Duration::from_secs(1));
        }
        long.min(self.until(due))
    }

    /// Stages the first piece of work and whatever else waits, up to the limits of one commit.
    /// Returns whether to stop afterwards.
    fn gather(&mut self, first: Option<Work>, round: &mut Round) -> Result<bool, Failed> {
        let mut next = first;
        let begun = monotonic();
        while let Some(work) = next {
            match work {
                Work::Command { command, cause, reply } => {
                    let result = self.stage(&command, cause, round)?;
                    round.replies.push(Reply::Single(reply, result));
                }
                Work::Batch { jobs, cause, reply } => {
                    let results = self.stage_batch(jobs, cause, round)?;
                    round.replies.push(Reply::Batch(reply, results));
                }
                Work::Report(report) => self.stage_report(report, round)?,
                Work::Settle(settled) => round.replies.push(Reply::Settled(settled)),
                Work::Adopt(adoption) => {
                    round.adoption = Some(adoption);
                    return Ok(false);
                }
                Work::Wake => {}
                Work::Stop => return Ok(true),
            }
            let full = round.records.len() >= COMMIT_EVENTS_MAX || round.bytes >= COMMIT_BYTES_MAX;
            let much = round.records.len() >= MUCH_RECORDS;
            let ready = full || (much && self.rounds.is_wanted(round.replies.len()));
            next = if ready { None } else { self.more(round, begun) };
        }
        Ok(false)
    }

    /// Work that waits; or that comes soon, when nobody waits for the round, which was begun then, and
    /// every slot has its next attempt.
    fn more(&self, round: &Round, begun: Instant) -> Option<Work> {
        if let Ok(work) = self.queue.try_recv() {
            return Some(work);
        }
        let slots = self.slots();
        let goes_on = self.occupied.len() > slots && self.ahead.of(slots) > 0;
        if !goes_on || !round.replies.is_empty() {
            return None;
        }
        let left = REPORTS_GATHER.checked_sub(begun.elapsed())?;
        self.queue.recv_timeout(left).ok()
    }

    /// Ends queues that have been idle for their time.
    fn expire(&mut self, round: &mut Round) -> Result<(), Failed> {
        let now = self.clock.now();
        self.expiry.notice(&*self.clock, now);
        if *self.shared.status() != Status::Ready || !self.expiry.is_due(&self.staging, now) {
            return Ok(());
        }
        let register = Arc::clone(&self.shared.register);
        for command in self.expiry.look(&self.staging, &register, now) {
            // A queue that changed in this very round stays.
            let _ = self.stage(&command, Cause::UNKNOWN, round)?;
        }
        Ok(())
    }

    /// Decides one command against the staging views and applies what follows to them.
    fn stage(
        &mut self,
        command: &Command,
        cause: Cause,
        round: &mut Round,
    ) -> Result<Result<Accepted, Rejection>, Failed> {
        let draws = matches!(command, Command::FinishAttempt { .. });
        let facts = Facts {
            now: self.clock.now(),
            jitter: if draws { self.entropy.number() } else { 0 },
            policy: self.options.policy,
            runners: usize::from(self.runner.is_some()),
        };
        let Decision { events, answer } = match decide(&self.staging, command, &facts) {
            Ok(decision) => decision,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let before = self.staging.lsn();
        for event in events {
            round.bytes += inline_bytes(&event);
            let record = self.staging.stamp(facts.now, cause, event);
            self.staging.apply(&record)?;
            round.records.push(record);
        }
        let last = self.staging.lsn();
        let first = if last == before { last } else { before.next() };
        Ok(Ok(Accepted { first, last, answer }))
    }

    /// Stages a batch; commits whenever an atomic append is full. Nothing comes between its records,
    /// so the accepted jobs have consecutive LSNs.
    fn stage_batch(
        &mut self,
        jobs: Vec<NewJob>,
        cause: Cause,
        round: &mut Round,
    ) -> Result<Vec<Result<Accepted, Rejection>>, Failed> {
        let mut results = Vec::with_capacity(jobs.len());
        round.records.reserve(jobs.len().min(BATCH_EVENTS_MAX));
        let mut jobs = jobs.into_iter();
        while !jobs.as_slice().is_empty() {
            let soon = jobs.as_slice().iter().take(APPROACH_LEN);
            self.staging.approach(soon.filter_map(|job| match job.target {
                Target::Worker(worker) => Some((worker, job.action)),
                Target::Function(_) => None,
            }));
            for job in jobs.by_ref().take(APPROACH_LEN) {
                if round.records.len() >= BATCH_EVENTS_MAX || round.bytes >= BATCH_BYTES_MAX {
                    self.commit(std::mem::take(round))?;
                }
                results.push(self.stage(&Command::SubmitJob(job), cause, round)?);
            }
        }
        Ok(results)
    }

    fn stage_report(&mut self, report: Report, round: &mut Round) -> Result<(), Failed> {
        let command = match report {
            Report::SlotFree { attempt, ran } => {
                self.occupied.remove(&attempt);
                self.ahead.ran(ran);
                return Ok(());
            }
            Report::Started { attempt, sandbox } => Command::StartAttempt { attempt, sandbox },
            Report::Finished { attempt, outcome, usage } => {
                self.occupied.remove(&attempt);
                if self.is_stopping() && outcome.is_lost() {
                    // We took the runner away ourselves, which no job pays for with a retry.
                    Command::LoseAttempt { attempt }
                } else {
                    Command::FinishAttempt { attempt, outcome, usage }
                }
            }
        };
        let Err(rejection) = self.stage(&command, Cause::UNKNOWN, round)? else { return Ok(()) };
        // A runner that says what can't be recorded has a defect. The attempt must end all the same.
        tracing::error!(?command, %rejection, "a runner's report was refused");
        if let Command::FinishAttempt { attempt, usage, .. } = command {
            let failure = Failure {
                kind: FailureKind::BadOutput,
                reason: format!("the runner's report was refused: {rejection}"),
                exit_code: None,
                signal: None,
                stderr: None,
            };
            let outcome = Outcome::Failed(failure);
            let failed = Command::FinishAttempt { attempt, outcome, usage };
            if let Err(rejection) = self.stage(&failed, Cause::UNKNOWN, round)? {
                tracing::error!(?attempt, %rejection, "an attempt can't be ended");
            }
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        *self.shared.status() == Status::Stopping
    }

    /// False once the committer has failed: an empty round then ends the writer, too.
    fn is_sound(&self) -> bool {
        let status = self.shared.status();
        !matches!(*status, Status::Poisoned(_))
    }

    fn slots(&self) -> usize {
        self.runner.as_ref().map_or(0, |runner| runner.slots())
    }

    /// How many attempts the runner can be given now.
    fn free_slots(&self) -> usize {
        let slots = self.slots();
        (slots + self.ahead.of(slots)).saturating_sub(self.occupied.len())
    }

    /// Hands ready executions to free slots, in the same commit as what made them ready.
    fn assign(&mut self, round: &mut Round) -> Result<(), Failed> {
        let Some(runner) = self.runner.clone() else { return Ok(()) };
        if *self.shared.status() != Status::Ready {
            return Ok(());
        }
        self.assigned_at = self.clock.now();
        while self.free_slots() > 0 {
            let command = Command::Assign { runner: runner.name(), host: runner.host() };
            match self.stage(&command, Cause::UNKNOWN, round)? {
                Ok(Accepted { answer: Answer::Assigned(attempt), .. }) => {
                    self.occupied.insert(attempt);
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Passes the round on to be made durable. Waits while a full one waits, so that staging is never
    /// more than two rounds ahead.
    fn commit(&mut self, mut round: Round) -> Result<(), Failed> {
        let asked = !round.replies.is_empty() || round.adoption.is_some();
        if round.records.is_empty() && !asked && self.is_sound() {
            return Ok(());
        }
        round.tables = self.tables();
        self.rounds.send(round).map_err(|_| Failed::Committer)
    }

    /// The tables of the staging views for the published ones to take over, when enough has changed
    /// since the last time. What is shared costs a copy when it changes next, and every time costs
    /// a pointer for each segment; so the number of records between two times grows with that.
    fn tables(&mut self) -> Option<Tables> {
        let changed = self.staging.lsn().0.saturating_sub(self.shared_at.0);
        let cost = u64::try_from(self.staging.tables_cost()).unwrap_or(u64::MAX);
        if changed < cost.max(SHARE_RECORDS_MIN) {
            return None;
        }
        self.shared_at = self.staging.lsn();
        Some(self.staging.tables())
    }
}

/// Bytes of the object a record carries, a measure of its size.
fn inline_bytes(event: &Event) -> usize {
    let object = match event {
        Event::JobSubmitted { object, .. } => object,
        Event::WorkerRegistered { descriptor, .. } => descriptor,
        Event::AttemptFinished { outcome: Outcome::Completed { output, .. }, .. } => output,
        _ => return 256,
    };
    match object {
        ObjectRef::Inline(blob) => 256 + blob.0.len(),
        ObjectRef::Chunk(_) => 256,
    }
}
