//! The order in which ready executions are handed out.
//!
//! The highest priority wins. Inside a priority the queues take turns: whoever was served longest
//! ago is next. Inside a queue the oldest job is next. Jobs outside of queues are a party like a
//! queue. All of it follows from the records alone, so that every fold gives the same order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::workers::HostTag;
use crate::domain::{Lsn, QueueId};

/// Who takes turns: a queue, or all jobs outside of queues together.
pub(super) type Party = Option<QueueId>;

/// Where a party's jobs wait: platform, then priority.
pub(super) type Level = (HostTag, Reverse<i32>);

/// Place among everything that is ready on one platform: smaller is sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Rank {
    priority: Reverse<i32>,
    /// When the party was served last at this level.
    served: Lsn,
    pub(super) party: Party,
    pub(super) job: Lsn,
}

/// The turn of a party on a platform: that of its most urgent level.
pub(super) type Turn = (HostTag, Reverse<i32>, Lsn, Party);

/// Levels whose last turn is remembered for each party. Who uses more priorities than this waits
/// less at those it used longest ago.
const SERVED_LEN_MAX: usize = 16;

/// What a party has had.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
struct Share {
    /// The assignment that served it last, by level.
    served: BTreeMap<Level, Lsn>,
    /// Attempts under way on its account, and how many there may be.
    running: u32,
    running_max: Option<u32>,
}

impl Share {
    fn is_full(&self) -> bool {
        self.running_max.is_some_and(|max| self.running >= max)
    }
}

/// Jobs whose executions are ready, in order. A job stands here for all jobs of its party that want
/// the same execution.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct Order {
    /// No line is empty.
    lines: BTreeMap<(Party, Level), Keys<Lsn>>,
    /// Of every party that has a line and may run more, by platform.
    turns: BTreeSet<Turn>,
    shares: BTreeMap<Party, Share>,
    len: usize,
}

impl Order {
    /// How many places are taken.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, party: Party, level: Level, job: Lsn) {
        self.change(party, level.0, |order| {
            let new = order.lines.entry((party, level)).or_default().insert(job);
            order.len += usize::from(new);
        });
    }

    pub(super) fn remove(&mut self, party: Party, level: Level, job: Lsn) {
        self.change(party, level.0, |order| {
            if let Some(line) = order.lines.get_mut(&(party, level)) {
                order.len -= usize::from(line.remove(job));
                if line.is_empty() {
                    order.lines.remove(&(party, level));
                }
            }
        });
    }

    /// The assignment `lsn` served a party at `level`. The job has left its line already.
    pub(super) fn serve(&mut self, party: Party, level: Level, lsn: Lsn) {
        self.change_all(party, |order| {
            let share = order.shares.entry(party).or_default();
            share.running = share.running.saturating_add(1);
            share.served.insert(level, lsn);
            if share.served.len() > SERVED_LEN_MAX
                && let Some((oldest, _)) = share.served.iter().min_by_key(|(_, lsn)| **lsn)
            {
                let oldest = *oldest;
                share.served.remove(&oldest);
            }
        });
    }

    /// An attempt on a party's account is over.
    pub(super) fn release(&mut self, party: Party) {
        self.change_all(party, |order| {
            if let Some(share) = order.shares.get_mut(&party) {
                share.running = share.running.saturating_sub(1);
            }
        });
    }

    /// Lets a party have at most `max` attempts under way.
    pub(super) fn limit(&mut self, party: Party, max: u32) {
        self.change_all(party, |order| {
            order.shares.entry(party).or_default().running_max = Some(max);
        });
    }

    /// Forgets a party that has neither jobs nor attempts.
    pub(super) fn forget(&mut self, party: Party) {
        self.shares.remove(&party);
    }

    /// Whether the party has as many attempts under way as it may have.
    pub(super) fn is_full(&self, party: Party) -> bool {
        self.shares.get(&party).is_some_and(Share::is_full)
    }

    /// Attempts under way on a party's account.
    pub(super) fn running(&self, party: Party) -> u32 {
        self.shares.get(&party).map_or(0, |share| share.running)
    }

    /// Where a job would stand, if its party may run more.
    pub(super) fn rank(&self, party: Party, level: Level, job: Lsn) -> Option<Rank> {
        let rank = Rank { priority: level.1, served: self.served(party, level), party, job };
        (!self.is_full(party)).then_some(rank)
    }

    /// The first job in order on a platform, leaving out those that `skip` names.
    pub(super) fn first(&self, host: HostTag, skip: impl Fn(Lsn) -> bool) -> Option<Rank> {
        let earliest = (host, Reverse(i32::MAX), Lsn::ZERO, None);
        let turn = self.turns.range(earliest..).next().filter(|turn| turn.0 == host);
        let (_, priority, served, party) = turn.copied()?;
        let job = self.lines.get(&(party, (host, priority)))?.first()?;
        if !skip(job) {
            return Some(Rank { priority, served, party, job });
        }
        // Rare: something is kept back for another runner. Then every line may have the answer.
        let lines = self.lines.iter().filter(|((_, level), _)| level.0 == host);
        let firsts = lines.filter_map(|((party, level), line)| {
            let job = line.iter().find(|job| !skip(*job))?;
            self.rank(*party, *level, job)
        });
        firsts.min()
    }

    /// How many jobs of its party are before one, counting at most `max`. None when it is not here.
    pub(super) fn ahead(&self, party: Party, level: Level, job: Lsn, max: usize) -> Option<usize> {
        let line = self.lines.get(&(party, level)).filter(|line| line.contains(job))?;
        let sooner = self
            .lines
            .range((party, from(level.0))..(party, level))
            .flat_map(|(_, line)| line.iter());
        Some(sooner.chain(line.iter().take_while(|other| *other < job)).take(max).count())
    }

    /// Everything, in no order that matters to anybody.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Party, Level, Lsn)> + '_ {
        self.lines
            .iter()
            .flat_map(|((party, level), line)| line.iter().map(move |job| (*party, *level, job)))
    }

    /// Who is next on each platform, in order.
    pub(super) fn turns(&self) -> impl Iterator<Item = Turn> + '_ {
        self.turns.iter().copied()
    }

    fn served(&self, party: Party, level: Level) -> Lsn {
        let share = self.shares.get(&party);
        share.and_then(|share| share.served.get(&level)).copied().unwrap_or(Lsn::ZERO)
    }

    /// The turn of a party on a platform, if it has one.
    fn turn(&self, party: Party, host: HostTag) -> Option<Turn> {
        if self.is_full(party) {
            return None;
        }
        let (line, _) = self.lines.range((party, from(host))..).next()?;
        let (owner, level) = *line;
        let own = owner == party && level.0 == host;
        own.then(|| (host, level.1, self.served(party, level), party))
    }

    /// Changes something that may move a party's turn on one platform.
    fn change(&mut self, party: Party, host: HostTag, change: impl FnOnce(&mut Self)) {
        let before = self.turn(party, host);
        change(self);
        self.replace(before, self.turn(party, host));
    }

    /// Changes something that may move a party's turns on all platforms.
    fn change_all(&mut self, party: Party, change: impl FnOnce(&mut Self)) {
        let hosts = self.hosts(party);
        let before: Vec<_> = hosts.iter().map(|host| self.turn(party, *host)).collect();
        change(self);
        for (host, before) in hosts.into_iter().zip(before) {
            self.replace(before, self.turn(party, host));
        }
    }

    fn replace(&mut self, before: Option<Turn>, now: Option<Turn>) {
        if before != now {
            before.map(|turn| self.turns.remove(&turn));
            now.map(|turn| self.turns.insert(turn));
        }
    }

    /// The platforms on which a party has lines.
    fn hosts(&self, party: Party) -> Vec<HostTag> {
        let mut hosts = Vec::new();
        let mut next = Bound::Included((party, from(0)));
        while let Some(((found, level), _)) = self.lines.range((next, Bound::Unbounded)).next()
            && *found == party
        {
            hosts.push(level.0);
            next = Bound::Excluded((party, (level.0, Reverse(i32::MIN))));
        }
        hosts
    }
}

/// Before everything on a platform.
const fn from(host: HostTag) -> Level {
    (host, Reverse(i32::MAX))
}
