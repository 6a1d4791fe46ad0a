//! The views say what the model says.

use std::collections::BTreeSet;

use ledgerun::decide::decide;
use ledgerun::domain::{Answer, AttemptRef, Cause, Event, JobState, Lsn, QueueId};
use ledgerun::views::{Newest, QueueCounts};

use super::bench::Bench;
use super::history::{self, ACTIONS, WORKERS};
use super::model::Queue;
use super::queues::token;

impl Bench {
    /// After every step: of every job and queue there ever was.
    pub(crate) fn compare(&self) {
        for (job, known) in &self.model.jobs {
            let row = self.staging.job(*job);
            assert_eq!(row.as_ref().map(|row| row.state), self.model.state(*job), "job {job}");
            assert_eq!(self.staging.is_retired(*job), known.retired);
            let Some(row) = row else { continue };
            assert_eq!((row.retry_count, row.retries_max), (known.retries, known.retries_max));
            assert_eq!(row.priority, known.priority, "priority of job {job}");
            assert_eq!(row.execution, known.execution, "execution of job {job}");
            assert_eq!(row.queue, known.queue, "queue of job {job}");
            assert_eq!(row.ended, known.end.map(|(_, by)| by), "end of job {job}");
        }
        self.compare_feed(None);
        for (id, known) in &self.model.queues {
            self.compare_queue(*id, known);
        }
        let mut idle: Vec<_> = self.model.queues.keys().copied().collect::<Vec<QueueId>>();
        idle.retain(|id| self.model.expiry(*id).is_some());
        let mut idle: Vec<_> =
            idle.into_iter().map(|id| (self.model.expiry(id).unwrap(), id)).collect();
        idle.sort_unstable();
        assert_eq!(self.staging.idle_queues().collect::<Vec<_>>(), idle);
        let under_way: BTreeSet<_> = self.staging.attempts_under_way().map(|(a, _)| a).collect();
        let expected = self.attempts.iter().copied().filter(|a| self.model.is_current(*a));
        assert_eq!(under_way, expected.collect::<BTreeSet<AttemptRef>>());
        self.compare_heads();
        self.compare_recordings();
        self.compare_replays();
    }

    fn compare_queue(&self, id: QueueId, known: &Queue) {
        let row = self.staging.queue(id);
        assert_eq!(row.as_ref().map(|row| row.state), self.model.queue_state(id), "queue {id}");
        assert!(self.staging.was_queue(id));
        let Some(row) = row else {
            assert_eq!(self.staging.queue_of_token(&token(id)), None);
            assert_eq!(self.published.queue_counts(id), QueueCounts::default());
            assert_eq!(self.published.ended(Some(id), Lsn::ZERO, usize::MAX), []);
            return;
        };
        // A replay's queue is reached by its number only.
        let by_token = known.replay.is_none().then_some(id);
        assert_eq!(self.staging.queue_of_token(&token(id)), by_token);
        assert_eq!(row.retries_max, known.retries_max);
        assert_eq!(row.expire_after, known.expire_after);
        assert_eq!(row.max_running, known.max_running);
        let open = self.model.open_in(id);
        assert_eq!(row.open, open.len() as u64, "open jobs of queue {id}");
        assert_eq!(self.staging.open_in(id).collect::<Vec<_>>(), open);
        assert_eq!(row.held, self.model.held_in(id) as u64, "results of queue {id}");
        assert_eq!(row.running as usize, self.model.running(Some(id)), "attempts of queue {id}");
        assert_eq!(row.idle_since, known.idle_since, "rest of queue {id}");
        assert_eq!(self.staging.queue_is_full(id), self.model.is_full(Some(id)));
        if let Some(max) = known.max_running {
            assert!(row.running <= max, "queue {id} runs more than it may");
        }
        let counts = self.published.queue_counts(id);
        assert_eq!(counts, self.model.counts(id), "counters of queue {id}");
        assert_eq!(counts.active(), row.open);
        self.compare_feed(Some(id));
    }

    fn compare_feed(&self, queue: Option<QueueId>) {
        let rows = self.published.ended(queue, Lsn::ZERO, usize::MAX);
        let feed: Vec<_> = rows.iter().map(|row| (row.ended, row.job, row.state)).collect();
        assert_eq!(feed, self.model.feed(queue), "feed of {queue:?}");
    }

    /// What would be handed out now, on each platform.
    fn compare_heads(&self) {
        for host in 0..2 {
            self.asking(0, host, |asking, command| {
                let decision = decide(&self.staging, command, &self.facts()).unwrap();
                let found = match decision.events.first() {
                    Some(Event::AttemptAssigned { execution, queue, .. }) => {
                        Some((*execution, *queue))
                    }
                    other => other.map(|event| panic!("{event:?}")),
                };
                let place = self.model.next(asking);
                assert_eq!(found, place.map(|place| (place.execution, place.party)), "next");
            });
        }
    }

    /// All that would be handed out, one after the other, and what stands where meanwhile.
    pub(crate) fn compare_order(&self) {
        for job in self.model.jobs.keys() {
            let position = self.staging.ready_position(*job, usize::MAX);
            assert_eq!(position, self.model.position(*job), "place of job {job}");
        }
        let (mut views, mut model) = (self.staging.clone(), self.model.clone());
        for (runner, host) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            self.asking(runner, host, |asking, command| {
                while let Some(place) = model.next(asking) {
                    let decision = decide(&views, command, &self.facts()).unwrap();
                    let [event @ Event::AttemptAssigned { execution, queue, .. }] =
                        &decision.events[..]
                    else {
                        panic!("{decision:?} instead of {place:?}");
                    };
                    assert_eq!((*execution, *queue), (place.execution, place.party));
                    let record = views.stamp(self.now(), Cause::UNKNOWN, event.clone());
                    views.apply(&record).unwrap();
                    model.assign(&place, asking, record.lsn);
                }
                let decision = decide(&views, command, &self.facts()).unwrap();
                assert_eq!(decision.answer, Answer::Idle);
            });
        }
    }

    /// The newest job of each worker and action.
    pub(crate) fn compare_newest(&self) {
        // Looks through all jobs, as states of the past do.
        let clone = self.published.clone();
        for pair in (0..WORKERS).flat_map(|w| (0..ACTIONS).map(move |action| (w, action))) {
            let pair = (history::worker_id(pair.0), history::action_id(pair.1));
            let of = |job: &&Lsn| {
                let job = &self.model.jobs[*job];
                !job.retired && self.model.executions[&job.execution].pair == pair
            };
            let jobs: Vec<Lsn> = self.model.jobs.keys().filter(of).copied().collect();
            let cancelled = |job: &&Lsn| self.model.state(**job) == Some(JobState::Cancelled);
            let expected = match jobs.iter().rev().find(|job| !cancelled(job)) {
                Some(job) => Newest::Job(*job),
                None => jobs.last().map_or(Newest::None, |job| Newest::Cancelled(*job)),
            };
            assert_eq!(self.published.newest(pair.0, pair.1), expected);
            assert_eq!(clone.newest(pair.0, pair.1), expected);
        }
    }
}
