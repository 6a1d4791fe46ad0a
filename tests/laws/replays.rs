//! Replays, told naively, and commands on them with what the model says must come of each.

use ledgerun::domain::{
    Answer, Blob, Command, ContentHash, Event, JobState, Lsn, Mismatch, NewJob, NewReplay,
    ObjectRef, QueueId, QueueState, Record, Recorded, Rejection, ReplayFailure, Replayed, Run,
    Verdicts,
};
use ledgerun::effects::{Effect, effects_of};
use ledgerun::views::{RecordingState, ReplayRow};

use super::bench::Bench;
use super::history::{self, Again, Judgement};
use super::model::{Job, Model, Queue};

/// A recording that runs again, as queries must show it.
#[derive(Clone, Debug)]
pub(crate) struct Replay(ReplayRow);

impl Model {
    /// The replay that a queue belongs to.
    fn owner(&self, queue: Option<QueueId>) -> Option<Lsn> {
        self.queue(queue?)?.replay
    }

    /// The oldest running one of a recording.
    pub(crate) fn replay_of(&self, recording: Lsn) -> Option<Lsn> {
        let mut rows = self.replays.values().map(|Replay(row)| row);
        rows.find(|row| row.recording == recording && row.ended.is_none()).map(|row| row.replay)
    }

    /// What a command on a replay that must run is refused with.
    fn replay_refusal(&self, replay: Lsn) -> Option<Rejection> {
        match self.replays.get(&replay) {
            None => Some(Rejection::UnknownReplay(replay)),
            Some(Replay(row)) if row.ended.is_some() => Some(Rejection::ReplayOver(replay)),
            Some(_) => None,
        }
    }
}

/// So many of each, with names, reasons and hashes that differ.
pub(crate) fn verdicts(numbers: [u16; 4]) -> Verdicts {
    let [matched, mismatched, failed, passing] = numbers;
    let job = |number: u16| Lsn(100 + u64::from(number));
    let hash = |number: u16, tag: u8| ContentHash::of(&[tag, number as u8]);
    let mismatch = |number: u16| Mismatch {
        job: job(number),
        value: (!number.is_multiple_of(5)).then(|| format!("value {number}")),
        recorded: (!number.is_multiple_of(3)).then(|| hash(number, 1)),
        replayed: (number % 3 != 1).then(|| hash(number, 2)),
    };
    let failure =
        |number: u16| ReplayFailure { job: job(number), error: format!("failed {number}") };
    Verdicts {
        matched: matched.into(),
        mismatched: (0..mismatched).map(mismatch).collect(),
        failed: (0..failed).map(failure).collect(),
        newly_passing: (0..passing).map(job).collect(),
    }
}

/// All verdicts of these records, put together.
pub(crate) fn together<'a>(events: impl IntoIterator<Item = &'a Event>) -> Verdicts {
    let mut all = Verdicts::default();
    for event in events {
        let Event::ReplayJudged { verdicts, .. } = event else { panic!("{event:?}") };
        all.matched += verdicts.matched;
        all.mismatched.extend(verdicts.mismatched.iter().cloned());
        all.failed.extend(verdicts.failed.iter().cloned());
        all.newly_passing.extend(verdicts.newly_passing.iter().copied());
    }
    all
}

impl Bench {
    /// One that was begun, or one that never was.
    fn pick_replay(&self, number: usize) -> Lsn {
        let known: Vec<Lsn> = self.model.replays.keys().copied().collect();
        if number == history::NOBODY || known.is_empty() {
            return Lsn(self.log.len() as u64 + 1);
        }
        known[number % known.len()]
    }

    /// The refusal of a job that has no business in a queue, which takes jobs.
    pub(crate) fn stranger(
        &self,
        queue: Option<QueueId>,
        replayed: Option<Replayed>,
    ) -> Option<Rejection> {
        let Some(replay) = self.model.owner(queue) else {
            return replayed.map(|found| Rejection::UnknownReplay(found.replay));
        };
        let queue = queue.unwrap();
        let Some(found) = replayed.filter(|found| found.replay == replay) else {
            return Some(Rejection::QueueOfReplay { queue, replay });
        };
        self.model.replay_refusal(replay).or_else(|| {
            let Replay(row) = &self.model.replays[&replay];
            let position = found.position;
            let fits = position == row.next && position < row.total;
            let next = row.next;
            (!fits).then_some(Rejection::ReplayPosition { replay, next, found: position })
        })
    }

    pub(crate) fn start_replay(&mut self, recording: Lsn, total: u64) {
        let plan = ObjectRef::Inline(Blob(b"{}".to_vec().into()));
        let command = Command::StartReplay(NewReplay { recording, plan: plan.clone(), total });
        let wrong = match self.model.recording(recording) {
            None => Some(Rejection::UnknownRecording(recording)),
            Some(row) => match row.state {
                RecordingState::Recording => Some(Rejection::RecordingActive { recording }),
                RecordingState::Settling => {
                    Some(Rejection::RecordingOpen { recording, open: row.open })
                }
                RecordingState::Settled => None,
            },
        };
        if let Some(wrong) = wrong {
            assert_eq!(self.execute(&command).unwrap_err(), wrong);
            return;
        }
        let (records, answer) = self.execute(&command).unwrap();
        let queue = QueueId::new(self.model.queues.len() as u32 + 1).unwrap();
        let [made, started] = &records[..] else { panic!("{records:?}") };
        let replay = started.lsn;
        assert_eq!(answer, Answer::ReplayStarted { replay, queue });
        let Event::QueueCreated { queue: of, token: None, .. } = made.event else {
            panic!("{made:?}");
        };
        assert_eq!(of, queue);
        assert_eq!(started.event, Event::ReplayStarted { recording, queue, plan, total });
        let own = Queue {
            stage: QueueState::Active,
            retries_max: None,
            expire_after: None,
            max_running: None,
            idle_since: self.now(),
            forgotten: false,
            replay: Some(replay),
        };
        self.model.queues.insert(queue, own);
        let row = ReplayRow {
            replay,
            recording,
            queue,
            total,
            next: 0,
            judged_to: replay,
            matched: 0,
            mismatched: 0,
            failed: 0,
            newly_passing: 0,
            ended: None,
            tail: replay,
        };
        self.model.replays.insert(replay, Replay(row));
    }

    /// A recorded job runs again, and nothing that came out before is taken for it. One that was
    /// cancelled never runs.
    pub(crate) fn submit_again(&mut self, again: &Again) {
        self.policy.retries_max_default = 7;
        let replay = self.pick_replay(again.replay);
        let row = self.model.replays.get(&replay).map(|Replay(row)| row.clone());
        let (own, next) = row.map_or((None, 0), |row| (Some(row.queue), row.next));
        let queue = again.elsewhere.map(|number| self.pick_queue(number)).or(own);
        let (target, worker, unknown) = self.target(again.job.target);
        let action = history::action_id(again.job.action);
        let replayed = Replayed {
            replay,
            recorded: Lsn(100 + next),
            position: (next + again.ahead).saturating_sub(1),
            retries_max: again.job.retries_max,
            cancelled: again.cancelled,
        };
        let command = Command::SubmitJob(NewJob {
            target,
            action,
            function: "function".into(),
            object: ObjectRef::Inline(Blob(action.0.0.to_vec().into())),
            priority: again.job.priority,
            queue,
            fresh: again.job.fresh,
            replayed: Some(replayed),
        });
        let result = self.execute(&command);
        let wrong = self.queue_refusal(queue, "take a new job");
        let wrong = wrong.or_else(|| self.stranger(queue, Some(replayed)));
        let Some(worker) = worker.filter(|_| wrong.is_none()) else {
            assert_eq!(result.unwrap_err(), wrong.unwrap_or(unknown));
            return;
        };
        let (records, answer) = result.unwrap();
        assert_eq!(answer, Answer::Submitted { worker, cached: false });
        let Event::JobSubmitted { run, recorded, .. } = records[0].event else {
            panic!("{records:?}");
        };
        let place = Recorded { job: replayed.recorded, position: replayed.position };
        assert_eq!((run, recorded), (Run::Opens, Some(place)));
        let lsn = records[0].lsn;
        self.model.open(lsn, (worker, action));
        let job = Job {
            execution: lsn,
            queue,
            priority: again.job.priority,
            retries: 0,
            retries_max: again.job.retries_max,
            end: None,
            retired: false,
        };
        self.model.jobs.insert(lsn, job);
        let now = self.now();
        self.model.queues.get_mut(&queue.unwrap()).unwrap().idle_since = now;
        self.model.replays.get_mut(&replay).unwrap().0.next = replayed.position + 1;
        self.cancelled_with_it(&records, lsn, again.cancelled);
    }

    /// The job of a submission was cancelled by the same append, or it is open.
    fn cancelled_with_it(&mut self, records: &[Record], job: Lsn, cancelled: bool) {
        assert_eq!(records.len(), 1 + usize::from(cancelled));
        let now = self.now();
        if let Some(record) = records.get(1) {
            assert_eq!(record.event, Event::JobCancelled { job, stop: None });
            assert_eq!(effects_of(record).collect::<Vec<_>>(), [Effect::JobsEnded]);
            self.model.cancel(&[job], record.lsn, now);
        }
        let state = if cancelled { JobState::Cancelled } else { JobState::Pending };
        assert_eq!(self.model.state(job), Some(state));
    }

    pub(crate) fn judge(&mut self, judgement: &Judgement) {
        let replay = self.pick_replay(judgement.replay);
        let newest = self.staging.lsn();
        let row = self.model.replays.get(&replay).map(|Replay(row)| row.clone());
        let next = row.as_ref().map_or(0, |row| (row.next + judgement.ahead).saturating_sub(1));
        let judged_to = Lsn(newest.0.saturating_sub(judgement.behind));
        let verdicts = verdicts(judgement.numbers);
        let judge = |judged_to| Command::JudgeReplay {
            replay,
            judged_to,
            next,
            verdicts: verdicts.clone(),
        };
        let wrong = self.model.replay_refusal(replay).or_else(|| {
            let row = row.as_ref().unwrap();
            let back = judged_to < row.judged_to || next < row.next || next > row.total;
            let wrong = Rejection::ReplayPosition { replay, next: row.next, found: next };
            back.then_some(wrong)
        });
        if let Some(wrong) = wrong {
            assert_eq!(self.execute(&judge(judged_to)).unwrap_err(), wrong);
            return;
        }
        let (records, answer) = self.execute(&judge(judged_to)).unwrap();
        assert_eq!(answer, Answer::Done);
        assert_eq!(together(records.iter().map(|record| &record.event)), verdicts);
        let Replay(row) = self.model.replays.get_mut(&replay).unwrap();
        row.next = next;
        row.judged_to = judged_to;
        row.tail = records.last().unwrap().lsn;
        let [matched, mismatched, failed, passing] = judgement.numbers.map(u64::from);
        row.matched += matched;
        row.mismatched += mismatched;
        row.failed += failed;
        row.newly_passing += passing;
        // Only the last record moves it on.
        for record in &records[..records.len() - 1] {
            let Event::ReplayJudged { judged_to: to, next: at, .. } = record.event else {
                panic!("{record:?}");
            };
            assert!(to <= judged_to && at <= next);
        }
    }

    /// Its queue takes nothing more; what is in it goes on.
    pub(crate) fn end_replay(&mut self, number: usize, reason: bool) {
        let replay = self.pick_replay(number);
        let command = Command::EndReplay { replay, reason: reason.then(|| "enough".to_owned()) };
        match self.model.replay_refusal(replay) {
            Some(Rejection::ReplayOver(_)) => return self.again(&command),
            Some(wrong) => {
                assert_eq!(self.execute(&command).unwrap_err(), wrong);
                return;
            }
            None => {}
        }
        let Replay(row) = &self.model.replays[&replay];
        let queue = row.queue;
        let drains = self.model.queue_state(queue) == Some(QueueState::Active);
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!((answer, records.len()), (Answer::Done, 1 + usize::from(drains)));
        if drains {
            assert_eq!(records[1].event, Event::QueueDrained { queue });
            self.model.queues.get_mut(&queue).unwrap().stage = QueueState::Draining;
        }
        let Replay(row) = self.model.replays.get_mut(&replay).unwrap();
        (row.ended, row.tail) = (Some(records[0].lsn), records[0].lsn);
        self.again(&command);
    }

    /// The views know the replays of the model and no other.
    pub(crate) fn compare_replays(&self) {
        let rows = self.model.replays.values().map(|Replay(row)| row.clone());
        let expected: Vec<ReplayRow> = rows.collect();
        assert_eq!(self.staging.replays().collect::<Vec<_>>(), expected);
        for row in &expected {
            assert_eq!(self.staging.replay(row.replay).as_ref(), Some(row));
        }
        let running: Vec<_> = expected.into_iter().filter(|row| row.ended.is_none()).collect();
        assert_eq!(self.staging.running_replays().collect::<Vec<_>>(), running);
        for queue in self.model.queues.keys().copied() {
            assert_eq!(self.staging.replay_of_queue(queue), self.model.owner(Some(queue)));
        }
    }
}
