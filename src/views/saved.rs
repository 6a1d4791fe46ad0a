//! A whole state as a value to write down and read back.
//!
//! What follows from jobs and executions alone is left out and made anew: it is most of the
//! memory, and the digest of the whole tells whether it came out the same.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::listing::Listing;
use super::state::Phase;
use super::table::SEGMENT_LEN;
use super::workers::WorkerIx;
use super::{Published, Views};
use crate::domain::{JobState, QueueId, Timestamp};

/// The number of what a state consists of and of how records are folded into it. Whoever changes
/// either raises it: what was written down under another number is not read.
pub const LAYOUT: u32 = 2;

/// Of the listing, what jobs that are gone have left behind.
type Left = (BTreeMap<WorkerIx, Timestamp>, BTreeMap<QueueId, [u64; JobState::ALL.len()]>);

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.listing.queues.iter().map(|(queue, own)| (*queue, own.counts));
        let left: Left = (self.listing.used.clone(), counts.collect());
        (&self.views, left).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut views, (used, counts)): (Views, Left) = Deserialize::deserialize(deserializer)?;
        views.complete();
        let mut listing = Listing::of(&views);
        listing.used = used;
        for (queue, counts) in counts {
            listing.queues.entry(queue).or_default().counts = counts;
        }
        Ok(Self { views, listing })
    }
}

impl Views {
    /// Makes the orders that follow from jobs and executions.
    fn complete(&mut self) {
        for (id, job) in self.jobs.iter().filter(|(_, job)| job.end.is_none()) {
            self.wants.insert((job.execution, job.queue, Reverse(job.priority), id));
        }
        for (id, execution) in self.executions.iter() {
            let phase = execution.phase;
            if let Phase::BackingOff { until } = phase {
                self.waiting.insert((until, id));
            }
            if phase.is_under_way() {
                self.under_way.insert(id);
            }
        }
    }
}

impl Published {
    /// How large it is: jobs and executions.
    pub const fn rows(&self) -> usize {
        self.views.jobs.len() + self.views.executions.len()
    }

    /// Roughly how much a clone copies: a pointer for each segment of the tables that rows are in, some
    /// four for a row, and what is in orders that aren't tables one by one.
    pub fn clone_cost(&self) -> usize {
        self.rows() / (SEGMENT_LEN / 4) + self.views.waiting.len() + self.views.under_way.len()
    }
}
