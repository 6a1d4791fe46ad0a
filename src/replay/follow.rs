//! What becomes of a replay's jobs: read from the log, where nothing that happens later can hide
//! it.

use std::collections::BTreeMap;

use super::recorded::Ends;
use crate::domain::{Event, JobState, Lsn, ObjectRef, Outcome, QueueId, Record, Recorded};

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// With this output object.
    Completed(ObjectRef),
    /// Without one; why, for a person.
    Without { state: JobState, reason: String },
}

/// A job of the replay that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    /// Which recorded job it is.
    pub(super) recorded: Recorded,
    /// Its first end; what a later reschedule gives is no part of the replay.
    pub(super) end: End,
}

/// Follows the jobs of a replay's queue.
#[derive(Debug)]
pub(super) struct Follower {
    queue: QueueId,
    ends: Ends,
    jobs: BTreeMap<Lsn, Recorded>,
    /// Jobs that gave up with the record before. Their attempt's end, which follows, says why.
    leaving: Vec<(Recorded, JobState)>,
}

impl Follower {
    /// Follows what is submitted to `queue` from now on.
    pub(super) fn new(queue: QueueId) -> Self {
        Self { queue, ends: Ends::default(), jobs: BTreeMap::new(), leaving: Vec::new() }
    }

    /// Jobs that have not ended.
    pub(super) fn open(&self) -> usize {
        self.jobs.len() + self.leaving.len()
    }

    /// Takes the next record of the log, and says which jobs ended with it.
    pub(super) fn apply(&mut self, record: &Record) -> Vec<Ended> {
        if let Event::JobSubmitted { queue, run, recorded: Some(recorded), .. } = &record.event
            && *queue == Some(self.queue)
        {
            // A replay's job is never cached, so it has not ended with its submission.
            self.ends.track(record.lsn, *queue, *run);
            self.jobs.insert(record.lsn, *recorded);
            return Vec::new();
        }
        let ends = self.ends.apply(record);
        let left = std::mem::take(&mut self.leaving).into_iter();
        let mut ended: Vec<Ended> = left
            .map(|(recorded, state)| Ended {
                recorded,
                end: End::Without { state, reason: reason(&record.event) },
            })
            .collect();
        for end in ends {
            let Some(recorded) = self.jobs.remove(&end.job) else { continue };
            match &record.event {
                Event::JobsGaveUp { .. } => self.leaving.push((recorded, end.state)),
                Event::AttemptFinished { outcome: Outcome::Completed { output, .. }, .. } => {
                    ended.push(Ended { recorded, end: End::Completed(output.clone()) });
                }
                event => {
                    let end = End::Without { state: end.state, reason: reason(event) };
                    ended.push(Ended { recorded, end });
                }
            }
        }
        ended
    }
}

/// Why a job ended without a result by this event, for a person.
fn reason(event: &Event) -> String {
    match event {
        Event::AttemptFinished { outcome: Outcome::Failed(failure), .. } => failure.reason.clone(),
        Event::JobCancelled { .. } | Event::QueueCancelled { .. } => "somebody cancelled it".into(),
        _ => "its last attempt gave no result".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ActionId, AttemptNo, Blob, Cause, Failure, FailureKind, Run, Timestamp, Usage, WorkerId,
    };

    fn queue(number: u32) -> QueueId {
        QueueId::new(number).unwrap()
    }

    fn submitted(number: u32, position: Option<u64>) -> Event {
        Event::JobSubmitted {
            worker: WorkerId::default(),
            action: ActionId::default(),
            function: "Exec".to_owned(),
            object: ObjectRef::Inline(Blob::default()),
            priority: 2,
            queue: Some(queue(number)),
            retries_max: 3,
            run: Run::Opens,
            recorded: position.map(|position| Recorded { job: Lsn(1_000 + position), position }),
        }
    }

    fn finished(execution: Lsn, outcome: Outcome, retry: bool) -> Event {
        let retry_at = retry.then_some(Timestamp(9));
        let usage = Usage::default();
        Event::AttemptFinished { execution, attempt: AttemptNo(1), outcome, usage, retry_at }
    }

    fn failed(kind: FailureKind) -> Outcome {
        let reason = "it broke".to_owned();
        Outcome::Failed(Failure { kind, reason, exit_code: None, signal: None, stderr: None })
    }

    fn completed() -> Outcome {
        let output = ObjectRef::Inline(Blob::default());
        Outcome::Completed { output, cacheable: true, bytes: 0, stderr: None }
    }

    /// Positions of the jobs that ended, with the state and the reason of those without a result.
    fn ends(events: Vec<Event>) -> Vec<(u64, Option<(JobState, String)>)> {
        let mut follower = Follower::new(queue(1));
        let records = (1..).map(Lsn).zip(events).map(|(lsn, event)| Record {
            lsn,
            at: Timestamp(0),
            prev: Lsn::ZERO,
            cause: Cause::UNKNOWN,
            event,
        });
        let ended: Vec<Ended> = records.flat_map(|record| follower.apply(&record)).collect();
        assert_eq!(follower.open(), 0);
        let told = |ended: Ended| match ended.end {
            End::Completed(_) => (ended.recorded.position, None),
            End::Without { state, reason } => (ended.recorded.position, Some((state, reason))),
        };
        ended.into_iter().map(told).collect()
    }

    #[test]
    fn each_job_ends_once_and_with_its_reason() {
        let without = |state, reason: &str| Some((state, reason.to_owned()));
        let events = vec![
            submitted(1, Some(0)),
            submitted(1, Some(1)),
            submitted(1, Some(2)),
            submitted(1, Some(3)),
            submitted(1, Some(4)),
            submitted(2, None),
            finished(Lsn(1), failed(FailureKind::Exit), true),
            finished(Lsn(1), completed(), false),
            finished(Lsn(2), failed(FailureKind::Exit), false),
            Event::JobRescheduled { job: Lsn(2), retry_count: 1, run: Run::Opens, former: Lsn(9) },
            finished(Lsn(10), completed(), false),
            Event::JobsGaveUp { execution: Lsn(3), abandoned: true, jobs: vec![Lsn(3)] },
            finished(Lsn(3), failed(FailureKind::RunnerLost), true),
            Event::JobCancelled { job: Lsn(4), stop: None },
            finished(Lsn(6), completed(), false),
            Event::QueueCancelled { queue: queue(2) },
            Event::QueueCancelled { queue: queue(1) },
        ];
        assert_eq!(
            ends(events),
            [
                (0, None),
                (1, without(JobState::Failed, "it broke")),
                (2, without(JobState::Abandoned, "it broke")),
                (3, without(JobState::Cancelled, "somebody cancelled it")),
                (4, without(JobState::Cancelled, "somebody cancelled it")),
            ]
        );
    }
}
