//! The jobs of one worker and action: what the engine's poll asks for.
//!
//! It asks for those of the present state, at every poll; hardly anybody asks what they were. So they
//! are kept in order by the present state alone: a clone, which is a state of the past soon, is without
//! and looks through all jobs.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::state::PairKey;
use super::{Published, Views, spread::Spread};
use crate::domain::{ActionId, Event, JobState, Lsn, Record, WorkerId};

/// The newest job of a worker and an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newest {
    /// The newest that was not cancelled.
    Job(Lsn),
    /// All that are left were cancelled; the newest of them.
    Cancelled(Lsn),
    /// There is none: never submitted, or all retired.
    None,
}

/// Orders the jobs of one pair: cancelled ones last, then the newest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Rank(u64);

impl Rank {
    const CANCELLED: u64 = 1 << 63;

    pub(super) fn of(job: Lsn, state: JobState) -> Self {
        let newest_first = !job.0 & !Self::CANCELLED;
        Self(if state == JobState::Cancelled {
            newest_first | Self::CANCELLED
        } else {
            newest_first
        })
    }

    /// Before that of any job.
    const FIRST: Self = Self(0);

    /// The job, and whether it was cancelled.
    const fn job(self) -> (Lsn, bool) {
        (Lsn(!self.0 & !Self::CANCELLED), self.0 & Self::CANCELLED != 0)
    }
}

/// Jobs by worker and action, if they are kept.
#[derive(Default)]
pub(super) struct Pairs(Option<Spread<Rank>>);

/// What is cloned doesn't go on as the present.
impl Clone for Pairs {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Pairs {
    pub(super) fn insert(&mut self, pair: PairKey, rank: Rank) {
        if let Some(pairs) = &mut self.0 {
            pairs.insert(pair, rank);
        }
    }

    pub(super) fn remove(&mut self, pair: PairKey, rank: Rank) {
        if let Some(pairs) = &mut self.0 {
            pairs.remove(pair, rank);
        }
    }
}

/// All jobs of `views`.
fn pairs_of(views: &Views) -> Spread<Rank> {
    let ranked = views.jobs.iter().filter_map(|(id, job)| {
        let execution = views.executions.get(job.execution)?;
        let pair = PairKey::of(execution.worker, execution.action);
        Some((pair, Rank::of(id, views.state_of(job))))
    });
    Spread::of(ranked.collect())
}

impl Published {
    /// Keeps in order from now on what polls ask for: for the state that they see. Clones don't.
    pub fn keep_pairs(&mut self) {
        self.listing.pairs = Pairs(Some(pairs_of(&self.views)));
    }

    /// These records are about to be folded.
    pub fn approach(&self, records: &[Record]) {
        let Some(pairs) = &self.listing.pairs.0 else { return };
        pairs.approach(records.iter().filter_map(|record| match &record.event {
            Event::JobSubmitted { worker, action, .. } => {
                Some(PairKey::of(self.views.workers.find(*worker)?, *action))
            }
            _ => None,
        }));
    }

    /// Jobs by worker and action.
    pub(super) fn pairs(&self) -> Cow<'_, Spread<Rank>> {
        let kept = self.listing.pairs.0.as_ref();
        kept.map_or_else(|| Cow::Owned(pairs_of(&self.views)), Cow::Borrowed)
    }

    /// The newest job of a worker and an action that was not cancelled, else what is left.
    pub fn newest(&self, worker: WorkerId, action: ActionId) -> Newest {
        let views = &self.views;
        let Some(ix) = views.workers.find(worker) else { return Newest::None };
        let first = if let Some(pairs) = &self.listing.pairs.0 {
            pairs.after(PairKey::of(ix, action), Rank::FIRST).find(|rank| {
                // The key of a pair may be another's, too.
                let found = views.jobs.get(rank.job().0);
                let execution = found.and_then(|found| views.executions.get(found.execution));
                execution.is_some_and(|found| found.worker == ix && found.action == action)
            })
        } else {
            let all = views.executions.iter();
            let same = all.filter(|(_, found)| found.worker == ix && found.action == action);
            let same: BTreeSet<Lsn> = same.map(|(id, _)| id).collect();
            let jobs = views.jobs.iter().filter(|(_, job)| same.contains(&job.execution));
            jobs.map(|(id, job)| Rank::of(id, views.state_of(job))).min()
        };
        match first.map(Rank::job) {
            Some((job, false)) => Newest::Job(job),
            Some((job, true)) => Newest::Cancelled(job),
            None => Newest::None,
        }
    }
}
