//! Who is next, told naively: every candidate is ranked anew, from the list of all assignments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ledgerun::domain::{Host, Lsn, RunnerName, Timestamp};

use super::model::{Model, Party, Phase};

/// One assignment.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) party: Party,
    pub(crate) host: Host,
    pub(crate) priority: i32,
    /// Its record.
    pub(crate) lsn: Lsn,
}

/// Platforms and priorities whose last turn is remembered for each party.
pub(crate) const REMEMBERED: usize = 16;

/// A place in line; smaller is sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    priority: Reverse<i32>,
    /// When the party was served last on this platform at this priority.
    served: Lsn,
    pub(crate) party: Party,
    /// The party's most wanting job.
    job: Lsn,
    pub(crate) execution: Lsn,
}

impl Place {
    pub(crate) const fn priority(&self) -> i32 {
        self.priority.0
    }
}

/// Who asks for work, and when.
pub(crate) struct Asking<'a> {
    pub(crate) runner: &'a RunnerName,
    pub(crate) host: &'a Host,
    pub(crate) now: Timestamp,
    /// How many runners there are.
    pub(crate) runners: usize,
}

impl Model {
    /// The assignment that served a party last on a platform at a priority, as far as it is
    /// remembered.
    fn served(&self, party: Party, host: &Host, priority: i32) -> Lsn {
        let mut others = BTreeSet::new();
        for turn in self.turns.iter().rev().filter(|turn| turn.party == party) {
            if turn.priority == priority && turn.host == *host {
                return turn.lsn;
            }
            others.insert((turn.host.to_string(), turn.priority));
            if others.len() == REMEMBERED {
                break;
            }
        }
        Lsn::ZERO
    }

    /// Attempts under way on a party's account.
    pub(crate) fn running(&self, party: Party) -> usize {
        let on_it = self.executions.values().filter(|execution| execution.account == party);
        on_it.filter(|execution| execution.is_under_way()).count()
    }

    pub(crate) fn is_full(&self, party: Party) -> bool {
        let max = party.and_then(|queue| self.queues[&queue].max_running);
        max.is_some_and(|max| self.running(party) >= max as usize)
    }

    /// Where each execution that may run stands in each party's line, whoever may run it.
    fn standing(&self, host: &Host, fits: impl Fn(&Phase) -> bool) -> Vec<Place> {
        let mut most_wanting: BTreeMap<(Lsn, Party), (Reverse<i32>, Lsn)> = BTreeMap::new();
        for (lsn, job) in self.jobs.iter().filter(|(_, job)| job.end.is_none()) {
            let execution = &self.executions[&job.execution];
            if execution.host == *host && fits(&execution.phase) {
                let place = (Reverse(job.priority), *lsn);
                let best = most_wanting.entry((job.execution, job.queue)).or_insert(place);
                *best = place.min(*best);
            }
        }
        let places = most_wanting.into_iter().map(|((execution, party), (priority, job))| {
            let served = self.served(party, host, priority.0);
            Place { priority, served, party, job, execution }
        });
        places.collect()
    }

    /// What is to run next, and whose turn it is: the most urgent; among those who was served
    /// longest ago; of that party the oldest.
    pub(crate) fn next(&self, asking: &Asking<'_>) -> Option<Place> {
        let fits = |phase: &Phase| match phase {
            Phase::Ready => true,
            Phase::Waits(until) => *until <= asking.now,
            Phase::Retracted(avoid) => asking.runners == 1 || avoid.as_ref() != Some(asking.runner),
            _ => false,
        };
        let places = self.standing(asking.host, fits);
        places.into_iter().filter(|place| !self.is_full(place.party)).min()
    }

    /// The place was handed out by the record `by`; the attempt's number.
    pub(crate) fn assign(&mut self, place: &Place, asking: &Asking<'_>, by: Lsn) -> u32 {
        self.turns.push(Turn {
            party: place.party,
            host: asking.host.clone(),
            priority: place.priority(),
            lsn: by,
        });
        let execution = self.executions.get_mut(&place.execution).unwrap();
        execution.attempts += 1;
        execution.phase = Phase::Submitting(asking.runner.clone());
        execution.account = place.party;
        execution.attempts
    }

    /// Jobs before this one in its party's line on its platform, those that share its execution
    /// counted once. None when its execution is not ready.
    pub(crate) fn position(&self, job: Lsn) -> Option<usize> {
        let known = self.jobs.get(&job).filter(|job| job.end.is_none())?;
        let host = &self.executions[&known.execution].host;
        let ready = |phase: &Phase| matches!(phase, Phase::Ready | Phase::Retracted(_));
        let mut line = self.standing(host, ready);
        line.retain(|place| place.party == known.queue);
        line.sort_unstable_by_key(|place| (place.priority, place.job));
        line.iter().position(|place| place.execution == known.execution)
    }
}
