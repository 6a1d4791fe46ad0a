//! The lists of a state that was read back, all made at once from its jobs: in their order where it
//! is that of the list, else sorted once.

use std::collections::BTreeMap;

use super::Views;
use super::listing::{Jobs, Listing, QueueLists, ended_in};
use super::names::NameIx;
use super::state::{End, Job};
use super::table::Filling;
use super::workers::WorkerIx;
use crate::domain::{JobState, Lsn, QueueId};

type FillingJobs = Filling<Lsn, ()>;

/// Lists that are not finished.
#[derive(Default)]
struct Making {
    states: [FillingJobs; JobState::ALL.len()],
    workers: BTreeMap<WorkerIx, FillingJobs>,
    functions: BTreeMap<NameIx, FillingJobs>,
    queues: BTreeMap<QueueId, FillingJobs>,
    open: Vec<(WorkerIx, Lsn)>,
    /// Jobs that ended, after the record that ended them.
    ended: Vec<(Lsn, Lsn, Option<QueueId>)>,
}

impl Listing {
    /// The listing of the jobs that are not gone. What only those that are gone have left behind is
    /// missing.
    pub(super) fn of(views: &Views) -> Self {
        let mut making = Making::default();
        making.ended.reserve_exact(views.jobs.len());
        // Most jobs opened their execution, which then has their name.
        let mut executions = views.executions.iter().peekable();
        for (id, job) in views.jobs.iter() {
            while executions.next_if(|(execution, _)| *execution < id).is_some() {}
            let own = executions.peek().filter(|(execution, _)| *execution == job.execution);
            let found = own.map(|(_, execution)| *execution);
            let Some(execution) = found.or_else(|| views.executions.get(job.execution)) else {
                continue;
            };
            let state = job.end.map_or_else(|| execution.phase.job_state(), End::state);
            making.add(id, job, state, execution.worker);
        }
        making.done()
    }
}

impl Making {
    fn add(&mut self, id: Lsn, job: &Job, state: JobState, worker: WorkerIx) {
        if let Some(jobs) = self.states.get_mut(state as usize) {
            jobs.push(id, ());
        }
        if let Some((ended, id)) = ended_in(state, job.ended, id) {
            self.ended.push((ended, id, job.queue));
        } else {
            self.open.push((worker, id));
        }
        self.workers.entry(worker).or_default().push(id, ());
        self.functions.entry(job.function).or_default().push(id, ());
        if let Some(queue) = job.queue {
            self.queues.entry(queue).or_default().push(id, ());
        }
    }

    fn done(mut self) -> Listing {
        self.ended.sort_unstable();
        let mut feed = Filling::default();
        let mut feeds: BTreeMap<QueueId, Filling<(Lsn, Lsn), ()>> = BTreeMap::new();
        for (ended, job, queue) in std::mem::take(&mut self.ended) {
            feed.push((ended, job), ());
            if let Some(queue) = queue {
                feeds.entry(queue).or_default().push((ended, job), ());
            }
        }
        let queues = self.queues.into_iter().map(|(queue, jobs)| {
            let feed = feeds.remove(&queue).unwrap_or_default().done().into();
            (queue, QueueLists { jobs: jobs.done().into(), feed, ..QueueLists::default() })
        });
        Listing {
            states: self.states.map(|jobs| jobs.done().into()),
            open: self.open.into_iter().collect(),
            workers: all_done(self.workers),
            functions: all_done(self.functions),
            queues: queues.collect(),
            feed: feed.done().into(),
            ..Listing::default()
        }
    }
}

fn all_done<K: Ord>(lists: BTreeMap<K, FillingJobs>) -> BTreeMap<K, Jobs> {
    lists.into_iter().map(|(key, jobs)| (key, jobs.done().into())).collect()
}
