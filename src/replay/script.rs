//! The jobs of one replay, from what was recorded and what was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::{Only, Plan, TOTAL_MAX};
use super::recorded::{Job, Recorded as Jobs};
use super::source::Recording;
use super::{Error, open};
use crate::chunks::Store;
use crate::domain::{Event, JobState, Lsn, NewJob, ObjectRef, Outcome, Replayed, Target, WorkerId};
use crate::engine::Handle;
use crate::views::{RecordingRow, ReplayRow};
use crate::wire::cb::Object;
use crate::wire::output::Output;

/// Which recorded jobs a replay runs, in order.
pub struct Script {
    /// As it was when it was read: where to go on.
    pub replay: ReplayRow,
    plan: Plan,
    recording: Box<dyn Recording>,
    store: Store,
    chosen: Vec<(Job, WorkerId)>,
}

/// Two outputs to compare.
pub enum Outputs {
    Both {
        recorded: Output,
        replayed: Output,
    },
    /// One is not held, or is no output; which and why.
    Lost(String),
}

/// How many jobs a plan for a recording is.
pub fn count(
    handle: &Handle,
    store: &Store,
    recording: &RecordingRow,
    plan: &Plan,
) -> Result<u64, Error> {
    let (recording, jobs) = open(handle, store, recording)?;
    let chosen = choose(&*recording, &jobs, plan)?.len() as u64;
    let total = chosen.saturating_mul(plan.repeat);
    if total > TOTAL_MAX { Err(Error::TooMany { total, limit: TOTAL_MAX }) } else { Ok(total) }
}

/// The script of a replay that was begun.
pub fn of(handle: &Handle, store: &Store, replay: &ReplayRow) -> Result<Script, Error> {
    let lost = || Error::Unknown(replay.replay);
    let log = handle.log().ok_or(crate::engine::Error::Starting)?;
    let started = log.get(replay.replay)?.ok_or_else(lost)?;
    let Event::ReplayStarted { plan, .. } = started.event else { return Err(lost()) };
    let json = load(store, &plan)?.ok_or_else(lost)?;
    let plan: Plan = serde_json::from_slice(&json).map_err(Error::Plan)?;
    let row = handle.read(|published| published.views.recording(replay.recording));
    let (recording, jobs) = open(handle, store, &row.ok_or_else(lost)?)?;
    let chosen = choose(&*recording, &jobs, &plan)?;
    Ok(Script { replay: replay.clone(), plan, recording, store: store.clone(), chosen })
}

/// The jobs that a plan selects, in their recorded order.
fn choose(
    recording: &dyn Recording,
    jobs: &Jobs,
    plan: &Plan,
) -> Result<Vec<(Job, WorkerId)>, Error> {
    let functions = functions(recording, plan, jobs)?;
    let name = |job: &Job| functions.get(&job.lsn).map_or("", String::as_str);
    let selected = plan.select(jobs.jobs().iter().map(|job| (job.lsn, name(job))));
    let chosen = selected.filter_map(|index| jobs.jobs().get(index));
    Ok(chosen.map(|job| (*job, jobs.worker(job))).collect())
}

/// The functions of the jobs, when the plan asks for some by name.
fn functions(
    recording: &dyn Recording,
    plan: &Plan,
    jobs: &Jobs,
) -> Result<BTreeMap<Lsn, String>, Error> {
    let mut found = BTreeMap::new();
    let names: Vec<&String> = plan
        .only
        .iter()
        .filter_map(|only| match only {
            Only::Function(name) => Some(name),
            Only::Job(_) => None,
        })
        .collect();
    if names.is_empty() {
        return Ok(found);
    }
    for record in recording.records() {
        let record = record?;
        if let Event::JobSubmitted { function, .. } = record.event
            && names.contains(&&function)
            && jobs.job(record.lsn).is_some()
        {
            found.insert(record.lsn, function);
        }
    }
    Ok(found)
}

impl Script {
    fn at(&self, position: u64) -> Option<&(Job, WorkerId)> {
        let length = self.chosen.len() as u64;
        let index = position.checked_rem(length)?;
        self.chosen.get(usize::try_from(index).ok()?)
    }

    /// Whether jobs are submitted as fast as they run.
    pub const fn is_rushed(&self) -> bool {
        self.plan.speed.is_none()
    }

    /// When a job is to be submitted, counted from the first. None: there is no such job.
    pub fn offset(&self, position: u64) -> Option<Duration> {
        let (job, _) = self.at(position).filter(|_| position < self.replay.total)?;
        let Some(speed) = self.plan.speed else { return Some(Duration::ZERO) };
        let (first, last) = (self.chosen.first()?.0.at, self.chosen.last()?.0.at);
        let round = position / (self.chosen.len() as u64);
        let whole = seconds(last.since(first).0) * times(round);
        let offset = (whole + seconds(job.at.since(first).0)) / speed;
        Some(Duration::try_from_secs_f64(offset).unwrap_or(Duration::MAX / 4))
    }

    /// The next jobs to submit, from a position on.
    pub fn jobs(&self, from: u64, count: usize) -> Result<Vec<NewJob>, Error> {
        let positions = (from..self.replay.total).take(count);
        positions.map(|position| self.job(position)).collect()
    }

    fn job(&self, position: u64) -> Result<NewJob, Error> {
        let (job, recorded_worker) = self.at(position).ok_or(Error::Unknown(self.replay.replay))?;
        let record = self.recording.record(job.lsn)?.ok_or(Error::NoJob(job.lsn))?;
        let Event::JobSubmitted { action, function, object, priority, retries_max, .. } =
            record.event
        else {
            return Err(Error::NoJob(job.lsn));
        };
        Ok(NewJob {
            target: Target::Worker(self.plan.worker(*recorded_worker)),
            action,
            function,
            object,
            priority,
            queue: Some(self.replay.queue),
            fresh: true,
            replayed: Some(Replayed {
                replay: self.replay.replay,
                recorded: job.lsn,
                position,
                retries_max,
                cancelled: job.state == JobState::Cancelled,
            }),
        })
    }

    /// Whether the recorded job at a position completed.
    pub fn completed(&self, position: u64) -> bool {
        self.at(position).is_some_and(|(job, _)| job.state == JobState::Completed)
    }

    /// The recorded output of the job at a position, and that of its replay.
    pub fn outputs(&self, position: u64, replayed: &ObjectRef) -> Result<Outputs, Error> {
        let lost = |which: &str, why: &str| Ok(Outputs::Lost(format!("the {which} output {why}")));
        let Some(recorded) = self.recorded_output(position)? else {
            return lost("recorded", "is not held");
        };
        let Some(replayed) = load(&self.store, replayed)? else {
            return lost("replay's", "was let go before it was compared");
        };
        match (parse(recorded), parse(replayed)) {
            (Ok(recorded), Ok(replayed)) => Ok(Outputs::Both { recorded, replayed }),
            (Err(why), _) => lost("recorded", &why),
            (_, Err(why)) => lost("replay's", &why),
        }
    }

    fn recorded_output(&self, position: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((job, _)) = self.at(position) else { return Ok(None) };
        let record = self.recording.record(job.end)?;
        match record.map(|record| record.event) {
            Some(Event::AttemptFinished { outcome: Outcome::Completed { output, .. }, .. }) => {
                Ok(self.recording.object(&output)?)
            }
            _ => Ok(None),
        }
    }
}

fn parse(bytes: Vec<u8>) -> Result<Output, String> {
    let object = Object::parse(bytes::Bytes::from(bytes))
        .map_err(|wrong| format!("is malformed: {wrong}"))?;
    Output::parse(object).map_err(|wrong| format!("is malformed: {wrong}"))
}

/// A held object; none when it is not held.
fn load(store: &Store, object: &ObjectRef) -> Result<Option<Vec<u8>>, Error> {
    match object {
        ObjectRef::Inline(blob) => Ok(Some(blob.0.to_vec())),
        ObjectRef::Chunk(chunk) => Ok(store.load(chunk)?),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a recording")]
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "rounds of a replay")]
const fn times(rounds: u64) -> f64 {
    rounds as f64
}
