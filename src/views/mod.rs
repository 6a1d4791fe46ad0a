//! Projections: folds of records, nothing else.
//!
//! [`Views`] is what the rules need; the writer keeps a copy of its own that runs ahead of the disk
//! and shares with the published one what has not changed ([`Tables`]).
//! [`Listing`] is what only queries need, and exists once, beside the published views. Neither
//! holds an action, a descriptor or an output: they name the record that does.

mod apply;
mod attempts;
mod digest;
mod held;
mod kept;
mod keys;
mod listing;
mod lists;
mod names;
mod offers;
mod order;
mod pairs;
mod query;
mod queues;
mod recordings;
mod relisted;
mod render;
mod replays;
mod saved;
mod share;
mod spread;
mod state;
mod table;
mod transitions;
mod workers;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use self::digest::Digest;
use self::keys::Keys;
use self::names::{LsnSet, Names};
use self::offers::Offers;
use self::order::Order;
use self::queues::Queues;
use self::recordings::Recordings;
use self::replays::Replays;
use self::state::{Execution, Job, Want};
use self::table::Table;
use self::workers::Workers;
use crate::domain::event::Subject;
use crate::domain::{Cause, ContentHash, Event, Lsn, Record, Timestamp};

pub use self::apply::ApplyError;
pub use self::held::Held;
pub use self::kept::Kept;
pub use self::listing::Listing;
pub use self::lists::{EndedRow, Filter, Page, QueueCounts, SCAN_LEN_MAX};
pub use self::pairs::Newest;
pub use self::queues::QueueRow;
pub use self::recordings::{RecordingRow, RecordingState};
pub use self::replays::ReplayRow;
pub use self::saved::LAYOUT;
pub use self::share::Tables;
pub use self::state::{ExecutionRow, ExecutionState, JobRow, LaunchRow, Retries};
pub use self::workers::WorkerRow;

/// The state the rules need, at one LSN. What a checkpoint leaves out follows from the rest.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Views {
    /// The last record folded.
    lsn: Lsn,
    /// Its time.
    at: Timestamp,
    workers: Workers,
    functions: Names,
    runners: Names,
    jobs: Table<Lsn, Job>,
    executions: Table<Lsn, Execution>,
    queues: Queues,
    recordings: Recordings,
    replays: Replays,
    /// Who wants what: jobs not ended, by execution.
    #[serde(skip)]
    wants: Keys<Want>,
    /// What may be handed out, in the order it would be.
    order: Order,
    /// What waits for its next try.
    #[serde(skip)]
    waiting: BTreeSet<(Timestamp, Lsn)>,
    /// Executions with an attempt under way.
    #[serde(skip)]
    under_way: BTreeSet<Lsn>,
    /// What a submission may join or have, if that is kept.
    #[serde(skip)]
    offers: Option<Offers>,
    /// Jobs that are gone, so that retiring twice is the same as once.
    retired: LsnSet,
    /// Size of all results that are held.
    held_units: u64,
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "views at {} with {} jobs", self.lsn, self.jobs.len())
    }
}

/// The state is the same whether the offers are kept or not.
impl Hash for Views {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash_with(Some(&self.offers()), state);
    }
}

impl Views {
    /// Hashes everything, the offers only when they are given.
    fn hash_with<H: Hasher>(&self, given: Option<&Offers>, state: &mut H) {
        let Self {
            lsn,
            at,
            workers,
            functions,
            runners,
            jobs,
            executions,
            queues,
            recordings,
            replays,
            wants,
            order,
            waiting,
            under_way,
            offers: _,
            retired,
            held_units,
        } = self;
        (lsn, at, workers, functions, runners, jobs, executions).hash(state);
        (queues, recordings, replays, wants, order, waiting, under_way).hash(state);
        if let Some(offers) = given {
            offers.hash(state);
        }
        (retired, held_units).hash(state);
    }

    /// The last record folded.
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The newest record about a subject, zero when there is none: what the next one links back to.
    pub fn tail(&self, subject: Subject) -> Lsn {
        match subject {
            Subject::Itself => None,
            Subject::Worker(id) => {
                let worker = self.workers.find(id).and_then(|ix| self.workers.get(ix));
                worker.map(|worker| worker.tail)
            }
            Subject::Job(job) => self.jobs.get(job).map(|job| job.tail),
            Subject::Queue(id) => self.queues.get(id).map(|queue| queue.tail),
            Subject::Recording(id) => self.recordings.tail(id),
            Subject::Replay(id) => self.replays.tail(id),
            Subject::Execution(id) => self.executions.get(id).map(|execution| execution.tail),
        }
        .unwrap_or(Lsn::ZERO)
    }

    /// The next record: `event` with its position and its link back.
    pub fn stamp(&self, at: Timestamp, cause: Cause, event: Event) -> Record {
        let prev = self.tail(event.subject());
        Record { lsn: self.lsn.next(), at, prev, cause, event }
    }

    /// A hash of everything here. Equal logs give equal digests.
    pub fn digest(&self) -> ContentHash {
        Digest::of(self)
    }
}

/// A state without what is in the order of hashes.
struct Brief<'a>(&'a Published);

impl Hash for Brief<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self(Published { views, listing }) = self;
        views.hash_with(None, state);
        listing.hash_with(None, state);
    }
}

/// What readers see: everything up to one LSN.
#[derive(Clone, Default, Debug)]
pub struct Published {
    pub views: Views,
    pub listing: Listing,
}

impl Published {
    /// The last record folded.
    pub const fn lsn(&self) -> Lsn {
        self.views.lsn()
    }

    /// Folds the next record. After an error the state is good for nothing.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.listing.before(&self.views, record);
        self.views.apply(record)?;
        self.listing.after(&self.views, record);
        Ok(())
    }

    /// A hash of everything here. Equal logs give equal digests.
    pub fn digest(&self) -> ContentHash {
        Digest::of(&(&self.views, self.lists()))
    }

    /// A hash of everything but what is in the order of hashes, which follows from the rest and would
    /// have to be made and sorted for it.
    pub fn brief_digest(&self) -> ContentHash {
        Digest::of(&Brief(self))
    }
}
