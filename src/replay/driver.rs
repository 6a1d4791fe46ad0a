//! Runs replays: submits recorded jobs again, compares what comes out, and says so to the writer.
//!
//! What it has done is in the log: how far it has submitted follows from the jobs, how far it has
//! compared from the verdicts. So after a restart it goes on where it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follow::{Ended, Follower};
use super::judge::{Judge, Judged};
use super::script::Script;
use super::{Error, script};
use crate::chunks::Store;
use crate::clock::monotonic;
use crate::domain::{
    Cause, Command, Lsn, NewJob, QueueState, Rejection, ReplayFailure, Verdicts, sentence,
};
use crate::engine::{self, Handle, Status};
use crate::eventlog::LogReader;
use crate::views::ReplayRow;

/// Jobs of a replay that may be open at once: enough for any number of slots, few enough to pause or
/// cancel it soon.
const OPEN_MAX: usize = 1_024;
/// Jobs submitted in one go.
const SUBMIT_MAX: usize = 256;
/// Records read in one go.
const READ_MAX: u64 = 4_096;
/// Verdicts are written down when there are so many,
const JUDGE_LEN: usize = 256;
/// or when the oldest has waited for so long.
const JUDGE_EVERY: Duration = Duration::from_millis(200);
/// New records are gathered for so long before they are looked at.
const GATHER: Duration = Duration::from_millis(5);
/// How often new replays are looked for, at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A replay that could not go on, because the service was too busy, say, tries again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs every replay there is and will be, until the service stops. Needs a runtime.
pub async fn run(handle: Handle, store: Store) {
    let mut durable = handle.watch_durable();
    let mut running = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        let found: Vec<ReplayRow> = handle.read(|published| {
            published.views.running_replays().filter(|row| !running.contains(&row.replay)).collect()
        });
        for row in found {
            running.insert(row.replay);
            tasks.spawn(attempt(handle.clone(), store.clone(), row.replay));
        }
        tokio::select! {
            changed = durable.changed() => {
                if changed.is_err() || matches!(handle.status(), Status::Stopping | Status::Poisoned(_)) {
                    break;
                }
            }
            Some(done) = tasks.join_next() => {
                if let Ok(replay) = done {
                    running.remove(&replay);
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Runs one replay until it is over or can't go on. Gives its name back.
async fn attempt(handle: Handle, store: Store, replay: Lsn) -> Lsn {
    match Driver::drive(handle.clone(), store, replay).await {
        Ok(()) | Err(Error::Engine(engine::Error::Stopping | engine::Error::Poisoned)) => {}
        Err(error @ (Error::Engine(_) | Error::Log(_))) => {
            tracing::warn!(%replay, error = %sentence(&error), "a replay pauses");
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Err(error) => {
            tracing::warn!(%replay, error = %sentence(&error), "a replay cannot go on");
            let reason = Some(sentence(&error));
            let end = Command::EndReplay { replay, reason };
            // When the service stops, it is tried again after the next start.
            let _ = handle.execute(end, Cause::UNKNOWN).await;
        }
    }
    replay
}

/// One replay on its way.
struct Driver {
    handle: Handle,
    log: Arc<dyn LogReader>,
    replay: ReplayRow,
    script: Arc<Script>,
    judge: Arc<Judge>,
    durable: watch::Receiver<Lsn>,
    follower: Follower,
    /// The log has been read up to here.
    followed: Lsn,
    /// Position of the next job to submit.
    next: u64,
    /// Set when nothing more is submitted.
    stopped: Option<String>,
    pace: Pace,
    /// Compared and not yet written down, up to `followed`.
    verdicts: Verdicts,
    verdicts_len: usize,
    judged_at: Instant,
}

impl Driver {
    async fn drive(handle: Handle, store: Store, replay: Lsn) -> Result<(), Error> {
        let Some(row) = handle.read(|published| published.views.replay(replay)) else {
            return Ok(());
        };
        let log = handle.log().ok_or(Error::Engine(engine::Error::Starting))?.clone();
        let reader = handle.clone();
        let durable = handle.watch_durable();
        let script = blocking(move || script::of(&reader, &store, &row)).await?;
        let row = script.replay.clone();
        let script = Arc::new(script);
        let mut driver = Self {
            durable,
            log,
            judge: Arc::new(Judge::new(Arc::clone(&script))),
            follower: Follower::new(row.queue),
            followed: row.replay,
            next: row.next,
            stopped: None,
            pace: Pace::new(row.next),
            verdicts: Verdicts::default(),
            verdicts_len: 0,
            judged_at: monotonic(),
            replay: row,
            script,
            handle,
        };
        driver.run().await
    }

    async fn run(&mut self) -> Result<(), Error> {
        loop {
            // Before anything is submitted, so that what was submitted before a restart counts.
            self.follow().await?;
            self.look();
            if self.stopped.is_none() {
                self.submit().await?;
                self.follow().await?;
            }
            let over = self.follower.open() == 0
                && (self.next >= self.replay.total || self.stopped.is_some());
            let late = self.verdicts_len > 0 && self.judged_at.elapsed() >= JUDGE_EVERY;
            if over || late || self.verdicts_len >= JUDGE_LEN {
                self.write_down().await?;
            }
            if over {
                let end =
                    Command::EndReplay { replay: self.replay.replay, reason: self.stopped.take() };
                self.handle.execute(end, Cause::UNKNOWN).await?;
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Somebody may have ended its queue while nothing is due, which no submission would tell.
    fn look(&mut self) {
        let queue = self.replay.queue;
        let state = self.handle.read(|published| published.views.queue_state(queue));
        if self.stopped.is_none() && state != Some(QueueState::Active) {
            let state = state.map_or_else(|| "forgotten".to_owned(), |state| state.to_string());
            self.stopped = Some(format!("its queue {queue} is {state}"));
        }
    }

    /// Waits for new records, for the next job's time, or for the time to write verdicts down.
    async fn wait(&mut self) -> Result<(), Error> {
        let mut until = monotonic() + Duration::from_hours(1);
        if self.verdicts_len > 0 {
            until = until.min(self.judged_at + JUDGE_EVERY);
        }
        if self.stopped.is_none() && self.follower.open() < OPEN_MAX {
            until = until.min(self.due(self.next).unwrap_or(until));
        }
        let followed = self.followed;
        let newer = self.durable.wait_for(|durable| *durable > followed);
        let stopped = tokio::select! {
            newer = newer => newer.is_err(),
            () = tokio::time::sleep_until(until.into()) => false,
        };
        if stopped || self.handle.status() == Status::Stopping {
            return Err(Error::Engine(engine::Error::Stopping));
        }
        tokio::time::sleep(GATHER).await;
        Ok(())
    }

    /// When a job is to be submitted; none when there is no such job.
    fn due(&self, position: u64) -> Option<Instant> {
        let offset = self.script.offset(position)?;
        let first = self.script.offset(self.pace.first).unwrap_or_default();
        Some(self.pace.began + offset.saturating_sub(first))
    }

    /// Submits what is due, as long as few enough jobs are open.
    async fn submit(&mut self) -> Result<(), Error> {
        while self.stopped.is_none() {
            let room = OPEN_MAX.saturating_sub(self.follower.open()).min(SUBMIT_MAX);
            // In portions worth their commit, unless the rest is smaller.
            let left = self.replay.total.saturating_sub(self.next);
            if left == 0 || (room < SUBMIT_MAX / 2 && left > room as u64 && self.script.is_rushed())
            {
                return Ok(());
            }
            let now = monotonic();
            let count = (self.next..self.replay.total)
                .take(room)
                .take_while(|position| self.due(*position).is_some_and(|due| due <= now))
                .count();
            if count == 0 {
                return Ok(());
            }
            let (script, next) = (Arc::clone(&self.script), self.next);
            let jobs = blocking(move || script.jobs(next, count)).await?;
            self.submit_all(jobs).await?;
            self.follow().await?;
        }
        Ok(())
    }

    /// Submits jobs up to the first that is refused. That one has failed then, and the next is the
    /// one after it.
    async fn submit_all(&mut self, jobs: Vec<NewJob>) -> Result<(), Error> {
        let recorded: Vec<Lsn> =
            jobs.iter().filter_map(|job| job.replayed.map(|found| found.recorded)).collect();
        let results = self.handle.submit_batch(jobs, Cause::UNKNOWN).await?;
        for (recorded, result) in recorded.into_iter().zip(results) {
            match result {
                Ok(_) => self.next += 1,
                // Somebody cancelled or drained its queue, or ended it.
                Err(Rejection::QueueState { .. } | Rejection::UnknownQueue(_)) => {
                    self.look();
                    return Ok(());
                }
                Err(refused) => {
                    self.next += 1;
                    let error = format!("it can't be submitted: {refused}");
                    self.verdicts.failed.push(ReplayFailure { job: recorded, error });
                    self.verdicts_len += 1;
                    // At once: what comes after it is refused until this is known.
                    return self.write_down().await;
                }
            }
        }
        Ok(())
    }

    /// Reads the log up to what is durable and compares the jobs that ended.
    async fn follow(&mut self) -> Result<(), Error> {
        loop {
            let last = *self.durable.borrow_and_update();
            if last <= self.followed {
                return Ok(());
            }
            let to = last.min(Lsn(self.followed.0 + READ_MAX));
            let (log, judge, from) =
                (Arc::clone(&self.log), Arc::clone(&self.judge), self.followed.next());
            let judged_to = self.replay.judged_to;
            let mut follower =
                std::mem::replace(&mut self.follower, Follower::new(self.replay.queue));
            let (follower, judged) = blocking(move || {
                let mut judged = Judged::default();
                for record in log.scan(from, to) {
                    let record = record?;
                    let ended: Vec<Ended> = follower.apply(&record);
                    // What ended before the last verdict was compared then.
                    for ended in ended.into_iter().filter(|_| record.lsn > judged_to) {
                        judged.add(judge.judge(&ended)?);
                    }
                }
                Ok((follower, judged))
            })
            .await?;
            self.follower = follower;
            self.followed = to;
            if self.verdicts_len == 0 && judged.len > 0 {
                self.judged_at = monotonic();
            }
            self.verdicts_len += judged.len;
            judged.into_verdicts(&mut self.verdicts);
            if self.verdicts_len >= JUDGE_LEN {
                self.write_down().await?;
            }
        }
    }

    /// Puts what was compared into the log.
    async fn write_down(&mut self) -> Result<(), Error> {
        let verdicts = std::mem::take(&mut self.verdicts);
        let judge = Command::JudgeReplay {
            replay: self.replay.replay,
            judged_to: self.followed,
            next: self.next,
            verdicts,
        };
        self.verdicts_len = 0;
        self.judged_at = monotonic();
        self.handle.execute(judge, Cause::UNKNOWN).await?;
        Ok(())
    }
}

/// When the first of the jobs that this start of the service submits was submitted.
struct Pace {
    first: u64,
    began: Instant,
}

impl Pace {
    fn new(first: u64) -> Self {
        Self { first, began: monotonic() }
    }
}

/// Runs what may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)?
}
