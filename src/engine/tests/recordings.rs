//! What was said about a recording survives, and so does where a replay of it stands.

use std::time::Duration;

use super::{Bench, failed, folded, job, open, register};
use crate::domain::{
    Answer, Blob, Cause, Command, JobState, Lsn, NewJob, NewReplay, ObjectRef, QueueState,
    Replayed, Verdicts,
};
use crate::engine::{Error, Handle};
use crate::eventlog::MemoryLog;
use crate::views::{Published, RecordingState, Views};

/// What a client was told.
#[derive(Clone, Copy, Debug)]
enum Told {
    Started(Lsn),
    Stopped(Lsn),
    /// A recording and how many jobs were acknowledged in it so far.
    Recorded(Lsn, u64),
    Replaying(Lsn),
    /// A replay and the position after the last that was acknowledged.
    Again(Lsn, u64),
    /// A replay and how many jobs have matched.
    Judged(Lsn, u64),
    Ended(Lsn),
}

impl Told {
    /// Whether it is so in these views.
    fn holds(self, views: &Views) -> bool {
        let replay = |id| views.replay(id).unwrap();
        match self {
            Self::Started(id) => views.recording(id).is_some(),
            Self::Stopped(id) => {
                views.active_recording() != Some(id)
                    && views.recording(id).is_some_and(|row| row.stop.is_some())
            }
            Self::Recorded(id, jobs) => views.recording(id).is_some_and(|row| row.jobs >= jobs),
            Self::Replaying(id) => views.replay(id).is_some(),
            Self::Again(id, next) => replay(id).next >= next,
            Self::Judged(id, matched) => replay(id).matched >= matched,
            Self::Ended(id) => {
                let row = replay(id);
                row.ended.is_some() && views.queue_state(row.queue) != Some(QueueState::Active)
            }
        }
    }
}

/// Says what it is told, with the number of syncs there had been by then.
struct Client<'a> {
    handle: Handle,
    log: &'a MemoryLog,
    told: Vec<(u64, Told)>,
}

const JOBS: u64 = 3;

impl Client<'_> {
    fn note(&mut self, told: Told) {
        self.told.push((self.log.syncs(), told));
    }

    async fn ask(&self, command: Command) -> Result<(Lsn, Answer), Error> {
        let accepted = self.handle.execute(command, Cause::UNKNOWN).await?;
        Ok((accepted.last, accepted.answer))
    }

    /// Waits until as many jobs have ended.
    async fn ended(&self, count: u64) {
        let mut ended = self.handle.watch_ended();
        let finals = |p: &Published| -> u64 {
            JobState::ALL.iter().filter(|state| state.is_final()).map(|s| p.count(*s)).sum()
        };
        while self.handle.read(finals) < count {
            ended.changed().await.unwrap();
        }
    }

    /// Records some jobs, one of which is cancelled, and runs them again.
    async fn work(&mut self) -> Result<(), Error> {
        self.ask(register()).await?;
        let (recording, _) = self.ask(Command::StartRecording { name: None }).await?;
        self.note(Told::Started(recording));
        for number in 1..=JOBS {
            let (job, _) = self.ask(Command::SubmitJob(job(number))).await?;
            self.note(Told::Recorded(recording, number));
            if number == JOBS {
                // It may have ended: whatever comes of this is in the log.
                let _ended = self.ask(Command::CancelJob { job }).await;
            }
        }
        self.ask(Command::StopRecording).await?;
        self.note(Told::Stopped(recording));
        self.ended(JOBS).await;
        let plan = ObjectRef::Inline(Blob(b"{}".as_slice().into()));
        let start = Command::StartReplay(NewReplay { recording, plan, total: JOBS });
        let (replay, answer) = self.ask(start).await?;
        let Answer::ReplayStarted { queue, .. } = answer else { panic!("{answer:?}") };
        self.note(Told::Replaying(replay));
        for position in 0..JOBS {
            let replayed = Replayed {
                replay,
                recorded: Lsn(recording.0 + 1 + position),
                position,
                retries_max: 0,
                cancelled: position + 1 == JOBS,
            };
            let again =
                NewJob { queue: Some(queue), replayed: Some(replayed), ..job(position + 1) };
            self.ask(Command::SubmitJob(again)).await?;
            self.note(Told::Again(replay, position + 1));
        }
        self.ended(2 * JOBS).await;
        let judged_to = self.handle.read(Published::lsn);
        for matched in 1..=2 {
            let verdicts = Verdicts { matched: 1, ..Verdicts::default() };
            self.ask(Command::JudgeReplay { replay, judged_to, next: JOBS, verdicts }).await?;
            self.note(Told::Judged(replay, matched));
        }
        self.ask(Command::EndReplay { replay, reason: None }).await?;
        self.note(Told::Ended(replay));
        Ok(())
    }
}

async fn work(log: &MemoryLog) -> Vec<(u64, Told)> {
    let bench = open(log.clone(), &[], true);
    let handle = bench.running.handle();
    let mut client = Client { handle: handle.clone(), log, told: Vec::new() };
    tokio::select! {
        result = client.work() => if !matches!(result, Err(Error::Poisoned)) { result.unwrap() },
        () = failed(&handle) => {}
    }
    client.told
}

/// The recording that was begun is as it was, and goes on: the next job belongs to it, it can be
/// stopped, and is complete at the end of its last job.
async fn goes_on(bench: &Bench, before: &Views) {
    let handle = bench.running.handle();
    for row in before.recordings() {
        let now = handle.read(|p| p.views.recording(row.recording)).unwrap();
        assert_eq!((now.start, now.stop, now.jobs), (row.start, row.stop, row.jobs));
    }
    if let Some(recording) = before.active_recording() {
        let jobs = before.recording(recording).unwrap().jobs;
        // A job in the middle of a recording that a crash interrupted.
        if before.is_registered(crate::domain::WorkerId::of(super::WORKER)) {
            handle.execute(Command::SubmitJob(job(9)), Cause::UNKNOWN).await.unwrap();
            let now = handle.read(|p| p.views.recording(recording)).unwrap();
            assert_eq!(now.jobs, jobs + 1);
        }
        let stop = handle.execute(Command::StopRecording, Cause::UNKNOWN).await.unwrap();
        assert_eq!(stop.answer, Answer::RecordingStopped { recording });
    }
    let mut ended = handle.watch_ended();
    let settling =
        |p: &Published| p.views.recordings().any(|row| row.state != RecordingState::Settled);
    while handle.read(settling) {
        ended.changed().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_said_about_recordings_survives_a_power_cut_at_every_sync() {
    let log = MemoryLog::new();
    let all = tokio::time::timeout(Duration::from_secs(30), work(&log)).await.unwrap();
    assert_eq!(all.len(), 12);
    let syncs = log.syncs();
    assert!(syncs >= 12, "{syncs} syncs");
    for cut in 1..=syncs {
        let log = MemoryLog::new().freeze_at(cut);
        let told = work(&log).await;
        let survivors = log.surviving();
        let records = survivors.live();
        let found = folded(&records);
        for (at, told) in told.into_iter().filter(|(at, _)| *at < cut) {
            assert!(told.holds(&found.views), "cut {cut}: {told:?} after sync {at} is lost");
        }
        let bench = open(survivors.clone(), &records, true);
        goes_on(&bench, &found.views).await;
    }
}
