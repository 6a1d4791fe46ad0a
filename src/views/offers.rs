//! What a submission may join, or have the result of.
//!
//! It follows from the executions, and only who decides submissions looks for it, at every one of
//! them. So the writer's fold keeps it in an order of its own; the others, which are asked for it by
//! nobody but tests and digests, make it when they are.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::Views;
use super::spread::Spread;
use super::state::{Execution, PairKey, Phase};
use super::workers::WorkerIx;
use crate::domain::{ActionId, Lsn, WorkerId};

/// Executions by what they run.
#[derive(Clone, Default, Hash)]
pub(super) struct Offers {
    /// Those that a submission may join.
    pub(super) live: Spread<Lsn>,
    /// Those whose result a submission may have, the newest of each pair first.
    pub(super) reusable: Spread<Reverse<Lsn>>,
}

impl Offers {
    /// All that `views` has.
    fn of(views: &Views) -> Self {
        let of_phase = |wanted: fn(Phase) -> bool| {
            let fits = views.executions.iter().filter(move |(_, found)| wanted(found.phase));
            fits.map(|(id, found)| (PairKey::of(found.worker, found.action), id))
        };
        let reusable = |phase| matches!(phase, Phase::Completed { cacheable: true, .. });
        let reusable = of_phase(reusable).map(|(pair, id)| (pair, Reverse(id)));
        Self {
            live: Spread::of(of_phase(Phase::is_live).collect()),
            reusable: Spread::of(reusable.collect()),
        }
    }

    /// An execution has gone from one phase to another.
    pub(super) fn moved(&mut self, pair: PairKey, id: Lsn, was: Phase, phase: Phase) {
        if was.is_live() && !phase.is_live() {
            self.live.remove(pair, id);
        }
        if let Phase::Completed { cacheable: true, .. } = phase {
            self.reusable.insert(pair, Reverse(id));
        }
    }
}

impl Views {
    /// Keeps in order from now on what a submission may join or have, for who decides many.
    pub fn keep_offers(&mut self) {
        self.offers = Some(Offers::of(self));
    }

    /// What a submission may join or have.
    pub(super) fn offers(&self) -> Cow<'_, Offers> {
        self.offers.as_ref().map_or_else(|| Cow::Owned(Offers::of(self)), Cow::Borrowed)
    }

    /// Somebody is about to submit all of these.
    pub fn approach(&self, jobs: impl Iterator<Item = (WorkerId, ActionId)>) {
        if let Some(offers) = &self.offers {
            let pair = |(worker, action)| Some(PairKey::of(self.workers.find(worker)?, action));
            offers.live.approach(jobs.filter_map(pair));
        }
    }

    /// The newest execution of this worker and action that a submission may join.
    pub fn live_execution(&self, worker: WorkerId, action: ActionId) -> Option<Lsn> {
        let worker = self.workers.find(worker)?;
        let key = PairKey::of(worker, action);
        let offers = self.offers();
        self.first_of(worker, action, offers.live.down_from(key, Lsn(u64::MAX)))
    }

    /// The newest execution of this worker and action whose result a submission may have.
    pub fn reusable_execution(&self, worker: WorkerId, action: ActionId) -> Option<Lsn> {
        let worker = self.workers.find(worker)?;
        let key = PairKey::of(worker, action);
        let offers = self.offers();
        let reusable = offers.reusable.after(key, Reverse(Lsn(u64::MAX)));
        self.first_of(worker, action, reusable.map(|Reverse(id)| id))
    }

    /// The first of `executions` that really is of this worker and action: a [`PairKey`] may be
    /// another's, too.
    fn first_of(
        &self,
        worker: WorkerIx,
        action: ActionId,
        mut executions: impl Iterator<Item = Lsn>,
    ) -> Option<Lsn> {
        executions.find(|id| {
            let found: Option<&Execution> = self.executions.get(*id);
            found.is_some_and(|found| found.worker == worker && found.action == action)
        })
    }
}
