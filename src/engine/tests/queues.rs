//! What was said about queues survives, and what was cancelled with one never runs again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Bench, InstantRunner, failed, folded, job, open, register};
use crate::domain::{
    Answer, AttemptRef, Cause, Command, Event, JobState, Lsn, NewJob, NewQueue, QueueId,
    QueueState, Rejection,
};
use crate::engine::{Error, Handle};
use crate::eventlog::MemoryLog;
use crate::views::{Published, Views};

fn job_in(queue: QueueId, number: u64) -> NewJob {
    NewJob { queue: Some(queue), ..job(number) }
}

/// What a client was told.
#[derive(Clone, Copy, Debug)]
enum Told {
    Created(QueueId),
    Drained(QueueId),
    Cancelled(QueueId),
    Submitted(Lsn),
}

impl Told {
    /// Whether it is so in these views.
    fn holds(self, views: &Views) -> bool {
        match self {
            Self::Created(queue) => views.queue_state(queue).is_some(),
            Self::Drained(queue) => {
                let state = views.queue_state(queue);
                matches!(state, Some(QueueState::Draining | QueueState::Complete))
            }
            Self::Cancelled(queue) => {
                views.queue_state(queue) == Some(QueueState::Cancelled)
                    && views.open_in(queue).next().is_none()
            }
            Self::Submitted(job) => views.job_state(job).is_some(),
        }
    }
}

/// Says what it is told, with the number of syncs there had been by then.
struct Client<'a> {
    handle: Handle,
    log: &'a MemoryLog,
    told: Vec<(u64, Told)>,
}

impl Client<'_> {
    async fn ask(&mut self, command: Command) -> Result<(), Error> {
        let accepted = self.handle.execute(command.clone(), Cause::UNKNOWN).await?;
        let told = match (command, accepted.answer) {
            (_, Answer::QueueCreated { queue }) => Told::Created(queue),
            (Command::DrainQueue { queue }, _) => Told::Drained(queue),
            (Command::CancelQueue { queue }, _) => Told::Cancelled(queue),
            (Command::SubmitJob(_), _) => Told::Submitted(accepted.first),
            _ => return Ok(()),
        };
        self.told.push((self.log.syncs(), told));
        Ok(())
    }

    /// Two queues that share a running job. One is drained, the other cancelled, and a third comes.
    async fn work(&mut self) -> Result<(), Error> {
        let queue = |number| QueueId::new(number).unwrap();
        self.ask(register()).await?;
        self.ask(Command::CreateQueue(NewQueue::default())).await?;
        self.ask(Command::CreateQueue(NewQueue::default())).await?;
        // Both slots are taken by the first queue's jobs, one of which the second wants, too.
        for (owner, number) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 4)] {
            self.ask(Command::SubmitJob(job_in(queue(owner), number))).await?;
        }
        self.ask(Command::DrainQueue { queue: queue(2) }).await?;
        self.ask(Command::CancelQueue { queue: queue(1) }).await?;
        self.ask(Command::CreateQueue(NewQueue::default())).await?;
        self.ask(Command::SubmitJob(job_in(queue(3), 5))).await
    }
}

/// Has a client at work on an engine whose attempts never end. Returns what it was told.
async fn work(log: &MemoryLog) -> Vec<(u64, Told)> {
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    let mut client = Client { handle: handle.clone(), log, told: Vec::new() };
    tokio::select! {
        result = client.work() => result.unwrap(),
        () = failed(&handle) => {}
    }
    client.told
}

/// Everything ends that is wanted.
async fn run_dry(bench: &Bench) {
    let handle = bench.running.handle();
    let mut ended = handle.watch_ended();
    let open = |published: &Published| {
        JobState::ALL.iter().any(|state| !state.is_final() && published.count(*state) > 0)
    };
    while handle.read(open) {
        ended.changed().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_said_about_queues_survives_a_power_cut_at_every_sync() {
    let log = MemoryLog::new();
    let all = work(&log).await.len();
    assert_eq!(all, 11);
    let syncs = log.syncs();
    for cut in 1..=syncs {
        let log = MemoryLog::new().freeze_at(cut);
        let told = work(&log).await;
        let survivors = log.surviving();
        let records = survivors.live();
        let found = folded(&records);
        for (at, told) in told.into_iter().filter(|(at, _)| *at < cut) {
            assert!(told.holds(&found.views), "cut {cut}: {told:?} after sync {at} is lost");
        }
        let wanted: BTreeSet<Lsn> = JobState::ALL
            .into_iter()
            .filter(|state| !state.is_final())
            .flat_map(|state| {
                let filter = crate::views::Filter { state: Some(state), ..Default::default() };
                found.jobs(&filter, 100).jobs
            })
            .map(|row| row.execution)
            .collect();

        let bench = open(survivors.clone(), &records, true);
        run_dry(&bench).await;
        let mended = survivors.live().into_iter().skip(records.len());
        let lost = mended.filter_map(|record| match record.event {
            Event::AttemptLost { execution, .. } => Some(execution),
            _ => None,
        });
        let lost: BTreeSet<Lsn> = lost.collect();
        assert!(lost.is_subset(&wanted), "cut {cut}: {lost:?} ran for nobody");
        let launched: BTreeSet<Lsn> =
            bench.runner.launched().into_iter().map(|attempt| attempt.execution).collect();
        assert_eq!(launched, wanted, "cut {cut}: what runs is not what is wanted");
        let over = bench.running.handle().read(|p| p.views.queue_state(QueueId::new(2).unwrap()));
        if found.views.queue_state(QueueId::new(2).unwrap()) == Some(QueueState::Draining) {
            assert_eq!(over, Some(QueueState::Complete), "cut {cut}");
        }
    }
}

impl InstantRunner {
    fn launched(&self) -> Vec<AttemptRef> {
        self.launched.lock().unwrap().clone()
    }

    fn killed(&self) -> Vec<AttemptRef> {
        self.killed.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn cancelling_a_large_queue_is_one_record_and_ends_what_only_it_wants() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    let mut queues = Vec::new();
    for _ in 0..2 {
        let new = Command::CreateQueue(NewQueue::default());
        let accepted = handle.execute(new, Cause::UNKNOWN).await.unwrap();
        let Answer::QueueCreated { queue } = accepted.answer else { panic!("{accepted:?}") };
        queues.push(queue);
    }
    let jobs = (0..10_000).map(|number| job_in(queues[0], number)).collect();
    let results = handle.submit_batch(jobs, Cause::UNKNOWN).await.unwrap();
    let started: Vec<Lsn> = results[..2].iter().map(|r| r.as_ref().unwrap().first).collect();
    let shared = Command::SubmitJob(job_in(queues[1], 0));
    let shared = handle.execute(shared, Cause::UNKNOWN).await.unwrap().first;
    let mut durable = handle.watch_durable();
    while started
        .iter()
        .any(|job| handle.read(|p| p.views.job_state(*job)) != Some(JobState::Running))
    {
        durable.changed().await.unwrap();
    }
    let syncs = log.syncs();
    let cancel = Command::CancelQueue { queue: queues[0] };
    let accepted = handle.execute(cancel, Cause::UNKNOWN).await.unwrap();
    assert_eq!(log.syncs(), syncs + 1);
    assert_eq!(accepted.first, accepted.last);
    let record = log.live().into_iter().find(|record| record.lsn == accepted.first).unwrap();
    assert_eq!(record.event, Event::QueueCancelled { queue: queues[0] });
    assert_eq!(handle.read(|p| p.queue_counts(queues[0]).cancelled), 10_000);
    assert_eq!(handle.read(|p| p.views.job_state(shared)), Some(JobState::Running));
    // The dispatcher is a thread of its own, which may still be at it.
    let killed = async {
        while bench.runner.killed().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), killed).await.expect("nothing was ended");
    let killed: Vec<Lsn> = bench.runner.killed().iter().map(|attempt| attempt.execution).collect();
    assert_eq!(killed, [started[1]], "only what nobody else wants is ended");
}

#[tokio::test]
async fn a_batch_into_a_queue_that_takes_none_is_refused_job_by_job() {
    let log = MemoryLog::new();
    let bench = open(log.clone(), &[], false);
    let handle = bench.running.handle();
    handle.execute(register(), Cause::UNKNOWN).await.unwrap();
    for (end, number) in [("drained", 1), ("cancelled", 2)] {
        let queue = QueueId::new(number).unwrap();
        let create = Command::CreateQueue(NewQueue::default());
        handle.execute(create, Cause::UNKNOWN).await.unwrap();
        let command = match end {
            "drained" => Command::DrainQueue { queue },
            _ => Command::CancelQueue { queue },
        };
        handle.execute(command, Cause::UNKNOWN).await.unwrap();
        let before = handle.read(Published::lsn);
        let jobs = (0..3).map(|number| job_in(queue, number)).collect();
        let results = handle.submit_batch(jobs, Cause::UNKNOWN).await.unwrap();
        assert_eq!(results.len(), 3);
        for result in results {
            assert!(matches!(result, Err(Rejection::QueueState { .. })), "{end}: {result:?}");
        }
        assert_eq!(handle.read(Published::lsn), before);
    }
}
