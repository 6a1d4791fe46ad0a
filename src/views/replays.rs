//! Replays: recorded jobs that run again, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Views;
use super::apply::{Illegal, ensure};
use crate::domain::{Event, Lsn, QueueId, Record, Recorded, Verdicts};

/// A replay that was begun.
#[derive(Clone, Debug, Hash, Serialize, Deserialize)]
struct Replay {
    tail: Lsn,
    recording: Lsn,
    queue: QueueId,
    total: u64,
    next: u64,
    judged_to: Lsn,
    matched: u64,
    mismatched: u64,
    failed: u64,
    newly_passing: u64,
    ended: Option<Lsn>,
}

/// All replays.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct Replays {
    list: BTreeMap<Lsn, Replay>,
    running: BTreeSet<Lsn>,
}

impl Replays {
    pub(super) fn tail(&self, id: Lsn) -> Option<Lsn> {
        self.list.get(&id).map(|replay| replay.tail)
    }

    /// A job is submitted to a queue that belongs to `replay`, or to none.
    pub(super) fn submitted(
        &mut self,
        replay: Option<Lsn>,
        recorded: Option<Recorded>,
    ) -> Result<(), Illegal> {
        ensure(replay.is_some() == recorded.is_some(), "only a replay submits to its queue")?;
        let (Some(replay), Some(recorded)) = (replay, recorded) else { return Ok(()) };
        let found = self.running_mut(replay)?;
        ensure(recorded.position == found.next, "the replay's next position is another")?;
        ensure(recorded.position < found.total, "the replay has no such position")?;
        found.next = recorded.position + 1;
        Ok(())
    }

    fn running_mut(&mut self, id: Lsn) -> Result<&mut Replay, Illegal> {
        ensure(self.running.contains(&id), "the replay is not running")?;
        self.list.get_mut(&id).ok_or(Illegal("no such replay"))
    }

    fn judge(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        judged_to: Lsn,
        next: u64,
        verdicts: &Verdicts,
    ) -> Result<(), Illegal> {
        let found = self.running_mut(id)?;
        ensure(judged_to >= found.judged_to && judged_to < lsn, "it was judged further already")?;
        ensure(next >= found.next && next <= found.total, "the replay has no such position")?;
        found.judged_to = judged_to;
        found.next = next;
        found.matched += u64::from(verdicts.matched);
        found.mismatched += verdicts.mismatched.len() as u64;
        found.failed += verdicts.failed.len() as u64;
        found.newly_passing += verdicts.newly_passing.len() as u64;
        found.tail = lsn;
        Ok(())
    }

    fn end(&mut self, lsn: Lsn, id: Lsn) -> Result<(), Illegal> {
        let found = self.running_mut(id)?;
        found.ended = Some(lsn);
        found.tail = lsn;
        self.running.remove(&id);
        Ok(())
    }
}

/// A replay as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayRow {
    /// Its name: the record that began it, which has what was asked for.
    pub replay: Lsn,
    pub recording: Lsn,
    pub queue: QueueId,
    /// Jobs that it runs.
    pub total: u64,
    /// Position of the next job to submit, from 0.
    pub next: u64,
    /// Every job of it that ended up to this record has been compared.
    pub judged_to: Lsn,
    pub matched: u64,
    /// Values that came out differently; of one job there can be several.
    pub mismatched: u64,
    pub failed: u64,
    pub newly_passing: u64,
    /// The record that ended it.
    pub ended: Option<Lsn>,
    /// The newest record about it; those that have the verdicts are linked backwards from here.
    pub tail: Lsn,
}

impl Views {
    /// The transitions of replays.
    pub(super) fn replay_transition(&mut self, record: &Record) -> Result<(), Illegal> {
        let lsn = record.lsn;
        match &record.event {
            Event::ReplayStarted { recording, queue, total, .. } => {
                ensure(self.recordings.is_settled(*recording), "the recording is not complete")?;
                ensure(self.queues.give_to(*queue, lsn), "the queue is not a new one")?;
                let replay = Replay {
                    tail: lsn,
                    recording: *recording,
                    queue: *queue,
                    total: *total,
                    next: 0,
                    judged_to: lsn,
                    matched: 0,
                    mismatched: 0,
                    failed: 0,
                    newly_passing: 0,
                    ended: None,
                };
                self.replays.list.insert(lsn, replay);
                self.replays.running.insert(lsn);
                Ok(())
            }
            Event::ReplayJudged { replay, judged_to, next, verdicts } => {
                self.replays.judge(lsn, *replay, *judged_to, *next, verdicts)
            }
            Event::ReplayEnded { replay, .. } => self.replays.end(lsn, *replay),
            _ => Err(Illegal("it is not about a replay")),
        }
    }

    fn replay_row(id: Lsn, found: &Replay) -> ReplayRow {
        ReplayRow {
            replay: id,
            recording: found.recording,
            queue: found.queue,
            total: found.total,
            next: found.next,
            judged_to: found.judged_to,
            matched: found.matched,
            mismatched: found.mismatched,
            failed: found.failed,
            newly_passing: found.newly_passing,
            ended: found.ended,
            tail: found.tail,
        }
    }

    /// A replay that was ever begun.
    pub fn replay(&self, id: Lsn) -> Option<ReplayRow> {
        self.replays.list.get(&id).map(|found| Self::replay_row(id, found))
    }

    /// All replays, in the order they began.
    pub fn replays(&self) -> impl Iterator<Item = ReplayRow> + '_ {
        self.replays.list.iter().map(|(id, found)| Self::replay_row(*id, found))
    }

    /// Those that run.
    pub fn running_replays(&self) -> impl Iterator<Item = ReplayRow> + '_ {
        self.replays.running.iter().filter_map(|id| self.replay(*id))
    }

    /// A running replay of a recording.
    pub fn replay_of_recording(&self, recording: Lsn) -> Option<Lsn> {
        let mut running = self.replays.running.iter().copied();
        running.find(|id| self.replays.list.get(id).is_some_and(|r| r.recording == recording))
    }

    /// The replay that a queue belongs to.
    pub fn replay_of_queue(&self, queue: QueueId) -> Option<Lsn> {
        self.queues.replay_of(Some(queue))
    }
}

/// Replays in full.
impl Display for Replays {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (id, replay) in &self.list {
            let Replay {
                tail,
                recording,
                queue,
                total,
                next,
                judged_to,
                matched,
                mismatched,
                failed,
                newly_passing,
                ended,
            } = replay;
            write!(f, "replay {id} of {recording} in queue {queue}, {next} of {total} submitted")?;
            write!(f, ", judged to {judged_to}: {matched} matched, {mismatched} values differ")?;
            write!(f, ", {failed} failed, {newly_passing} pass now")?;
            writeln!(f, ", ended by {ended:?}, tail {tail}")?;
        }
        Ok(())
    }
}
