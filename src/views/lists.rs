//! Lists: pages whose cost follows the answer, not the log.

use super::Published;
use super::listing::Jobs;
use super::state::{JobRow, Phase, RESULT_UNIT_BYTES};
use super::workers::WorkerRow;
use crate::domain::{ActionId, JobState, Lsn, QueueId, Timestamp, WorkerId};

/// Most jobs one page looks at. A page that finds little says where to go on, so that the writer
/// never waits long for a reader.
pub const SCAN_LEN_MAX: usize = 10_000;

/// What a list is narrowed to. All that is set must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub state: Option<JobState>,
    pub queue: Option<QueueId>,
    pub worker: Option<WorkerId>,
    pub function: Option<String>,
    /// Only jobs submitted after this one.
    pub after: Lsn,
}

/// A page of a list, in the order of submission.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    pub jobs: Vec<JobRow>,
    /// [`Filter::after`] of the next page, none at the end. A page may be short, even empty, and
    /// still not the last.
    pub next: Option<Lsn>,
}

/// One line of the feed of ended jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedRow {
    pub job: Lsn,
    /// The record that ended it.
    pub ended: Lsn,
    pub state: JobState,
    pub action: ActionId,
    pub worker: WorkerId,
    pub queue: Option<QueueId>,
    /// Bytes of results that are free once it is retired: none while another job has the same.
    pub frees: u64,
}

/// A queue's jobs by state. Each is counted once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueCounts {
    /// Pending or retracted, those that wait for a retry included.
    pub queued: u64,
    /// Submitting or running.
    pub running: u64,
    pub completed: u64,
    /// Failed for good.
    pub failed: u64,
    /// Abandoned for good.
    pub abandoned: u64,
    pub cancelled: u64,
}

impl QueueCounts {
    /// Jobs that have not ended.
    pub const fn active(&self) -> u64 {
        self.queued + self.running
    }
}

/// An index that a list can be read from.
enum Source<'a> {
    /// All jobs.
    All,
    Jobs(&'a Jobs),
    /// A filter that nothing can pass.
    Nothing,
}

impl Published {
    /// The jobs that pass `filter`, at most `limit`.
    pub fn jobs(&self, filter: &Filter, limit: usize) -> Page {
        let after = filter.after;
        match self.narrowest(filter) {
            Source::Nothing => Page::default(),
            Source::All => {
                self.page(filter, limit, self.views.jobs.after(after).map(|(job, _)| job))
            }
            Source::Jobs(jobs) => self.page(filter, limit, jobs.after(after)),
        }
    }

    /// The index with the fewest jobs that holds all of the answer.
    fn narrowest<'a>(&'a self, filter: &Filter) -> Source<'a> {
        let offer = |jobs: Option<&'a Jobs>| match jobs {
            Some(jobs) => (jobs.len(), Source::Jobs(jobs)),
            None => (0, Source::Nothing),
        };
        let mut candidates = vec![(self.views.jobs.len(), Source::All)];
        if let Some(queue) = filter.queue {
            candidates.push(offer(self.listing.queues.get(&queue).map(|own| &own.jobs)));
        }
        if let Some(worker) = filter.worker {
            let ix = self.views.workers.find(worker);
            candidates.push(offer(ix.and_then(|ix| self.listing.workers.get(&ix))));
        }
        if let Some(function) = &filter.function {
            let ix = self.views.functions.find(function);
            candidates.push(offer(ix.and_then(|ix| self.listing.functions.get(&ix))));
        }
        if let Some(state) = filter.state {
            candidates.push(offer(self.listing.in_state(state)));
        }
        // Among equals the first: all jobs, whose look-up is the cheapest.
        let narrowest = candidates.into_iter().min_by_key(|(len, _)| *len);
        narrowest.map_or(Source::Nothing, |(_, source)| source)
    }

    fn page(&self, filter: &Filter, limit: usize, jobs: impl Iterator<Item = Lsn>) -> Page {
        let mut page = Page::default();
        let mut seen = filter.after;
        for (looked, job) in jobs.enumerate() {
            if page.jobs.len() >= limit || looked >= SCAN_LEN_MAX {
                page.next = Some(seen);
                break;
            }
            seen = job;
            if let Some(row) = self.views.job(job).filter(|row| passes(filter, row)) {
                page.jobs.push(row);
            }
        }
        page
    }

    /// Ended jobs after the record `since`, in the order they ended; only those of `queue` when one
    /// is named. At least `limit` when there are as many: jobs that one record ended are never
    /// split.
    pub fn ended(&self, queue: Option<QueueId>, since: Lsn, limit: usize) -> Vec<EndedRow> {
        let feed = match queue {
            None => Some(&self.listing.feed),
            Some(queue) => self.listing.queues.get(&queue).map(|own| &own.feed),
        };
        let mut rows: Vec<EndedRow> = Vec::new();
        let ended = feed.into_iter().flat_map(|feed| feed.after((since, Lsn(u64::MAX))));
        for (ended, job) in ended {
            if rows.len() >= limit && rows.last().is_none_or(|row| row.ended != ended) {
                break;
            }
            let Some(found) = self.views.jobs.get(job) else { continue };
            let Some(execution) = self.views.executions.get(found.execution) else { continue };
            rows.push(EndedRow {
                job,
                ended,
                state: self.views.state_of(found),
                action: execution.action,
                worker: self.views.worker_id(execution.worker),
                queue: found.queue,
                frees: match execution.phase {
                    Phase::Completed { units, .. } if execution.refs == 1 => {
                        u64::from(units) * RESULT_UNIT_BYTES
                    }
                    _ => 0,
                },
            });
        }
        rows
    }

    /// How many of a queue's jobs are in each state, those retired included.
    pub fn queue_counts(&self, queue: QueueId) -> QueueCounts {
        let own = self.listing.queues.get(&queue);
        let count = |state: JobState| {
            own.and_then(|own| own.counts.get(state as usize)).copied().unwrap_or(0)
        };
        QueueCounts {
            queued: count(JobState::Pending) + count(JobState::Retracted),
            running: count(JobState::Submitting) + count(JobState::Running),
            completed: count(JobState::Completed),
            failed: count(JobState::Failed),
            abandoned: count(JobState::Abandoned),
            cancelled: count(JobState::Cancelled),
        }
    }

    /// Jobs of a worker that have not ended and come after `after`, oldest first, with their state.
    pub fn open_jobs(
        &self,
        worker: WorkerId,
        after: Lsn,
    ) -> impl Iterator<Item = (Lsn, JobState)> + '_ {
        let ix = self.views.workers.find(worker);
        let open = ix.into_iter().flat_map(move |ix| {
            let from = self.listing.open.after((ix, after));
            from.take_while(move |(of, _)| *of == ix)
        });
        open.filter_map(|(_, job)| self.views.job_state(job).map(|state| (job, state)))
    }

    /// Jobs of a queue that have not ended and come after `after`, oldest first; those of `worker`
    /// with their state. The others are passed too, so that whoever takes so many knows how far
    /// that got.
    pub fn open_jobs_in(
        &self,
        queue: QueueId,
        worker: WorkerId,
        after: Lsn,
    ) -> impl Iterator<Item = (Lsn, Option<JobState>)> + '_ {
        let ix = self.views.workers.find(worker);
        self.views.open_after(queue, after).map(move |job| {
            let found = self.views.jobs.get(job);
            let execution = found.and_then(|found| self.views.executions.get(found.execution));
            let same = execution.is_some_and(|execution| Some(execution.worker) == ix);
            (job, found.filter(|_| same).map(|found| self.views.state_of(found)))
        })
    }

    /// All workers that take jobs, each with the time it was last submitted to.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerRow, Option<Timestamp>)> + '_ {
        self.views.workers().map(|row| {
            let used = self.listing.last_used(&self.views, row.worker);
            (row, used)
        })
    }

    /// When a worker was last submitted to.
    pub fn last_used(&self, worker: WorkerId) -> Option<Timestamp> {
        self.listing.last_used(&self.views, worker)
    }

    /// How many jobs have ended and are not retired.
    pub fn ended_count(&self) -> u64 {
        self.listing.feed.len() as u64
    }

    /// How many jobs are in `state`.
    pub fn count(&self, state: JobState) -> u64 {
        self.listing.count(state)
    }
}

fn passes(filter: &Filter, row: &JobRow) -> bool {
    filter.state.is_none_or(|state| state == row.state)
        && filter.queue.is_none_or(|queue| Some(queue) == row.queue)
        && filter.worker.is_none_or(|worker| worker == row.worker)
        && filter.function.as_ref().is_none_or(|function| **function == *row.function)
}
