//! Indexes that only queries need.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use super::keys::Keys;
use super::names::NameIx;
use super::pairs::{Pairs, Rank};
use super::spread::Spread;
use super::state::PairKey;
use super::workers::WorkerIx;
use super::{Published, Views};
use crate::domain::event::Subject;
use crate::domain::{Event, JobState, Lsn, QueueId, Record, Timestamp, WorkerId};

/// Jobs in the order they were submitted.
pub(super) type Jobs = Keys<Lsn>;

/// Jobs by state, worker, function, queue and pair, and the feed of those that ended.
///
/// It is folded beside the views: `before` sees them before a record and
/// `after` after it, so it repeats no rule of theirs.
#[derive(Clone, Default)]
pub struct Listing {
    /// Jobs in each state, in the order of [`JobState::ALL`].
    pub(super) states: [Jobs; JobState::ALL.len()],
    /// Jobs not ended, by worker.
    pub(super) open: Keys<(WorkerIx, Lsn)>,
    pub(super) workers: BTreeMap<WorkerIx, Jobs>,
    pub(super) functions: BTreeMap<NameIx, Jobs>,
    pub(super) queues: BTreeMap<QueueId, QueueLists>,
    /// Jobs that ended, by the record that ended them.
    pub(super) feed: Keys<(Lsn, Lsn)>,
    pub(super) pairs: Pairs,
    /// When a worker was last submitted to.
    pub(super) used: BTreeMap<WorkerIx, Timestamp>,
    /// Of the record being folded: the jobs it is about and what they were.
    pub(super) noted: Vec<Noted>,
}

/// What is listed of one queue.
#[derive(Clone, Default, Hash)]
pub(super) struct QueueLists {
    /// Its jobs that are not retired.
    pub(super) jobs: Jobs,
    /// Those that ended, by the record that ended them.
    pub(super) feed: Keys<(Lsn, Lsn)>,
    /// Its jobs in each state, in the order of [`JobState::ALL`]; retired ones go on counting.
    pub(super) counts: [u64; JobState::ALL.len()],
}

/// A job before a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    job: Lsn,
    state: JobState,
    ended: Lsn,
}

/// All lists of a state, those that it may not keep included.
pub(super) struct Lists<'a>(&'a Published);

impl Hash for Lists<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.listing.hash_with(Some(&self.0.pairs()), state);
    }
}

impl Published {
    pub(super) const fn lists(&self) -> Lists<'_> {
        Lists(self)
    }
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let jobs: usize = self.states.iter().map(Keys::len).sum();
        write!(f, "listing of {jobs} jobs")
    }
}

/// The place in the feed of a job that ended.
pub(super) const fn ended_in(state: JobState, ended: Lsn, job: Lsn) -> Option<(Lsn, Lsn)> {
    if state.is_final() { Some((ended, job)) } else { None }
}

impl Listing {
    /// Hashes everything, jobs by what they run only when they are given. What was noted for one record
    /// doesn't count: it is empty between records.
    pub(super) fn hash_with<H: Hasher>(&self, given: Option<&Spread<Rank>>, state: &mut H) {
        let Self { states, open, workers, functions, queues, feed, pairs: _, used, noted: _ } =
            self;
        (states, open, workers, functions, queues, feed).hash(state);
        if let Some(pairs) = given {
            pairs.hash(state);
        }
        used.hash(state);
    }

    /// How many jobs are in `state`.
    pub fn count(&self, state: JobState) -> u64 {
        let jobs = self.in_state(state).map_or(0, Keys::len);
        u64::try_from(jobs).unwrap_or(u64::MAX)
    }

    /// The jobs in `state`.
    pub(super) fn in_state(&self, state: JobState) -> Option<&Jobs> {
        self.states.get(state as usize)
    }

    fn enter_state(&mut self, queue: Option<QueueId>, state: JobState, job: Lsn) {
        if let Some(jobs) = self.states.get_mut(state as usize) {
            jobs.insert(job);
        }
        self.count_in_queue(queue, state, 1);
    }

    fn leave_state(&mut self, queue: Option<QueueId>, state: JobState, job: Lsn) {
        if let Some(jobs) = self.states.get_mut(state as usize) {
            jobs.remove(job);
        }
        self.count_in_queue(queue, state, -1);
    }

    fn count_in_queue(&mut self, queue: Option<QueueId>, state: JobState, by: i64) {
        let own = queue.and_then(|queue| self.queues.get_mut(&queue));
        if let Some(count) = own.and_then(|own| own.counts.get_mut(state as usize)) {
            *count = count.saturating_add_signed(by);
        }
    }

    /// When a worker was last submitted to.
    pub(super) fn last_used(&self, views: &Views, worker: WorkerId) -> Option<Timestamp> {
        self.used.get(&views.workers.find(worker)?).copied()
    }

    /// Notes the jobs `record` is about, as they are before it.
    pub(super) fn before(&mut self, views: &Views, record: &Record) {
        self.noted.clear();
        match (&record.event, record.event.subject()) {
            (Event::JobRetired { job }, _) => self.remove(views, *job),
            (Event::JobsRetired { jobs }, _) => {
                for job in jobs {
                    self.remove(views, *job);
                }
            }
            (Event::QueueRetired { queue }, _) => drop(self.queues.remove(queue)),
            (Event::QueueCancelled { queue }, _) => {
                for job in views.open_in(*queue) {
                    self.note(views, job);
                }
            }
            (Event::JobsGaveUp { jobs, .. }, _) => {
                for job in jobs {
                    self.note(views, *job);
                }
            }
            (_, Subject::Job(job)) => self.note(views, job),
            (_, Subject::Execution(execution)) => {
                for job in views.jobs_wanting(execution) {
                    self.note(views, job);
                }
                // By age, as the feed lists those that end together.
                self.noted.sort_unstable_by_key(|noted| noted.job);
            }
            (
                _,
                Subject::Worker(_)
                | Subject::Queue(_)
                | Subject::Recording(_)
                | Subject::Replay(_)
                | Subject::Itself,
            ) => {}
        }
    }

    fn note(&mut self, views: &Views, job: Lsn) {
        if let Some(found) = views.jobs.get(job) {
            let state = views.state_of(found);
            self.noted.push(Noted { job, state, ended: found.ended });
        }
    }

    /// Moves the noted jobs to where they are now.
    pub(super) fn after(&mut self, views: &Views, record: &Record) {
        if let Event::JobSubmitted { .. } = record.event {
            self.add(views, record.lsn, record.at);
            return;
        }
        let noted = std::mem::take(&mut self.noted);
        for was in &noted {
            self.move_job(views, *was);
        }
        // Its memory serves the next record.
        self.noted = noted;
        self.noted.clear();
    }

    fn move_job(&mut self, views: &Views, was: Noted) {
        let job = was.job;
        let Some(found) = views.jobs.get(job) else { return };
        let Some(execution) = views.executions.get(found.execution) else { return };
        let state = views.state_of(found);
        if state == was.state && found.ended == was.ended {
            return;
        }
        self.leave_state(found.queue, was.state, job);
        self.enter_state(found.queue, state, job);
        if let Some(key) = ended_in(was.state, was.ended, job) {
            self.leave_feed(found.queue, key);
        }
        if let Some(key) = ended_in(state, found.ended, job) {
            self.enter_feed(found.queue, key);
        }
        match (was.state.is_final(), state.is_final()) {
            (false, true) => self.open.remove((execution.worker, job)),
            (true, false) => self.open.insert((execution.worker, job)),
            _ => false,
        };
        let (before, now) = (Rank::of(job, was.state), Rank::of(job, state));
        if before != now {
            let pair = PairKey::of(execution.worker, execution.action);
            self.pairs.remove(pair, before);
            self.pairs.insert(pair, now);
        }
    }

    fn enter_feed(&mut self, queue: Option<QueueId>, key: (Lsn, Lsn)) {
        self.feed.insert(key);
        if let Some(own) = queue.and_then(|queue| self.queues.get_mut(&queue)) {
            own.feed.insert(key);
        }
    }

    fn leave_feed(&mut self, queue: Option<QueueId>, key: (Lsn, Lsn)) {
        self.feed.remove(key);
        if let Some(own) = queue.and_then(|queue| self.queues.get_mut(&queue)) {
            own.feed.remove(key);
        }
    }

    fn add(&mut self, views: &Views, job: Lsn, at: Timestamp) {
        let Some(found) = views.jobs.get(job) else { return };
        let Some(execution) = views.executions.get(found.execution) else { return };
        let state = views.state_of(found);
        if let Some(queue) = found.queue {
            self.queues.entry(queue).or_default().jobs.insert(job);
        }
        self.enter_state(found.queue, state, job);
        match ended_in(state, found.ended, job) {
            Some(key) => self.enter_feed(found.queue, key),
            None => drop(self.open.insert((execution.worker, job))),
        }
        self.workers.entry(execution.worker).or_default().insert(job);
        self.functions.entry(found.function).or_default().insert(job);
        let pair = PairKey::of(execution.worker, execution.action);
        self.pairs.insert(pair, Rank::of(job, state));
        self.used.insert(execution.worker, at);
    }

    /// Takes a job that ended out of everything, before the views forget it.
    fn remove(&mut self, views: &Views, job: Lsn) {
        let Some(found) = views.jobs.get(job) else { return };
        let Some(execution) = views.executions.get(found.execution) else { return };
        let state = views.state_of(found);
        // Its queue goes on counting it.
        self.leave_state(None, state, job);
        if let Some(key) = ended_in(state, found.ended, job) {
            self.leave_feed(found.queue, key);
        }
        forget(&mut self.workers, &execution.worker, job);
        forget(&mut self.functions, &found.function, job);
        if let Some(own) = found.queue.and_then(|queue| self.queues.get_mut(&queue)) {
            own.jobs.remove(job);
        }
        let pair = PairKey::of(execution.worker, execution.action);
        self.pairs.remove(pair, Rank::of(job, state));
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, Jobs>, key: &K, job: Lsn) {
    if let Some(jobs) = index.get_mut(key) {
        jobs.remove(job);
        if jobs.is_empty() {
            index.remove(key);
        }
    }
}
