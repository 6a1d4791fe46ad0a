//! Which results and queues are beyond what is to be kept.

use std::time::Duration;

use super::{Failed, Round};
use crate::domain::{Command, Lsn, Millis, QueueId, Timestamp};
use crate::views::{EndedRow, QueueRow};

/// Results looked at, and retired, at once.
const RESULTS_LEN_MAX: usize = 2_048;

/// Queues looked at under one lock.
const QUEUES_LEN_MAX: usize = 1_024;

impl Round {
    /// Retires what is beyond a limit, oldest end first, until nothing is.
    pub(super) fn retire(&self) -> Result<(), Failed> {
        self.ages.borrow_mut().look(&*self.clock);
        loop {
            let jobs = self.surplus()?;
            if jobs.is_empty() {
                break;
            }
            self.execute(Command::RetireJobs { jobs })?;
        }
        match self.keeping.queue_age_max {
            Some(age) => self.retire_queues(age),
            None => Ok(()),
        }
    }

    /// The oldest results that are too many, too large together or too old.
    fn surplus(&self) -> Result<Vec<Lsn>, Failed> {
        let keeping = &self.keeping;
        let (rows, ended, bytes) = self.handle.read(|published| {
            let count = published.ended_count();
            let bytes = published.views.held_bytes();
            let beyond = keeping.results_max.is_some_and(|max| count > max)
                || keeping.result_bytes_max.is_some_and(|max| bytes > max);
            let look = if beyond || keeping.result_age_max.is_some() { RESULTS_LEN_MAX } else { 0 };
            let rows = if look == 0 { Vec::new() } else { published.ended(None, Lsn::ZERO, look) };
            (rows, count, bytes)
        });
        let too_many = keeping.results_max.map_or(0, |max| ended.saturating_sub(max));
        let mut excess = keeping.result_bytes_max.map_or(0, |max| bytes.saturating_sub(max));
        let mut jobs = Vec::new();
        for row in rows {
            let over = (jobs.len() as u64) < too_many || excess > 0 || self.is_old(&row)?;
            if !over {
                break;
            }
            excess = excess.saturating_sub(row.frees);
            jobs.push(row.job);
        }
        Ok(jobs)
    }

    fn is_old(&self, row: &EndedRow) -> Result<bool, Failed> {
        let Some(age) = self.keeping.result_age_max else { return Ok(false) };
        let ended = self.time_of(row.ended)?;
        Ok(ended.is_some_and(|ended| self.is_past(ended, age)))
    }

    fn is_past(&self, since: Timestamp, age: Duration) -> bool {
        self.ages.borrow().age(since) >= Millis::from(age)
    }

    fn time_of(&self, lsn: Lsn) -> Result<Option<Timestamp>, Failed> {
        let Some(log) = self.handle.log() else { return Ok(None) };
        Ok(log.get(lsn)?.map(|record| record.at))
    }

    /// Forgets queues that have been over for so long, and what they hold before that.
    fn retire_queues(&self, age: Duration) -> Result<(), Failed> {
        let mut after = None;
        loop {
            let rows: Vec<QueueRow> = self
                .handle
                .read(|published| published.views.queues(after).take(QUEUES_LEN_MAX).collect());
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.queue);
            for row in rows.iter().filter(|row| row.state.is_over()) {
                let ended = self.time_of(row.tail)?.map(|tail| tail.max(row.idle_since));
                if ended.is_some_and(|ended| self.is_past(ended, age)) {
                    self.forget(row.queue)?;
                }
            }
            self.go_on()?;
        }
    }

    fn forget(&self, queue: QueueId) -> Result<(), Failed> {
        loop {
            let rows = self
                .handle
                .read(|published| published.ended(Some(queue), Lsn::ZERO, RESULTS_LEN_MAX));
            if rows.is_empty() {
                break;
            }
            let jobs = rows.iter().map(|row| row.job).collect();
            self.execute(Command::RetireJobs { jobs })?;
        }
        match self.execute(Command::RetireQueue { queue }) {
            // Its last processes are still being ended: next time.
            Err(Failed::Engine(crate::engine::Error::Rejected(_))) => Ok(()),
            other => other.map(drop),
        }
    }
}
