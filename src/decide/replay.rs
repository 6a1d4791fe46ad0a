//! Running a recording again.

use super::{Decision, limits};
use crate::domain::recording::{REPLAY_ERROR_BYTES_MAX, VALUE_NAME_BYTES_MAX};
use crate::domain::{
    Answer, Event, Lsn, Mismatch, NewReplay, QueueState, Rejection, ReplayFailure, Verdicts,
};
use crate::views::{RecordingState, ReplayRow, Views};

/// Bytes of verdicts in one record. What else it holds stays far below the difference to the
/// record's limit.
const VERDICT_BYTES_MAX: usize = 3_072;
/// A mismatch beside its value's name, a failure beside its text, a number: all with the names of
/// their fields.
const MISMATCH_BYTES: usize = 96;
const FAILURE_BYTES: usize = 32;
const NUMBER_BYTES: usize = 9;

pub(super) fn start(views: &Views, new: &NewReplay) -> Result<Decision, Rejection> {
    limits::object("a replay's plan inside a record", &new.plan)?;
    let recording = new.recording;
    let found = views.recording(recording).ok_or(Rejection::UnknownRecording(recording))?;
    match found.state {
        RecordingState::Settled => {}
        RecordingState::Recording => return Err(Rejection::RecordingActive { recording }),
        RecordingState::Settling => {
            return Err(Rejection::RecordingOpen { recording, open: found.open });
        }
    }
    let queue = views.next_queue().ok_or(Rejection::TooManyQueues)?;
    let created = Event::QueueCreated {
        queue,
        token: None,
        name: Some(format!("replay of recording {recording}")),
        metadata: None,
        retries_max: None,
        // Its jobs come as fast as they run, or as they were recorded.
        expire_after: None,
        max_running: None,
    };
    let started =
        Event::ReplayStarted { recording, queue, plan: new.plan.clone(), total: new.total };
    let replay = views.lsn().next().next();
    let answer = Answer::ReplayStarted { replay, queue };
    Ok(Decision { events: vec![created, started], answer })
}

fn running(views: &Views, replay: Lsn) -> Result<ReplayRow, Rejection> {
    let found = views.replay(replay).ok_or(Rejection::UnknownReplay(replay))?;
    if found.ended.is_some() { Err(Rejection::ReplayOver(replay)) } else { Ok(found) }
}

pub(super) fn judge(
    views: &Views,
    replay: Lsn,
    judged_to: Lsn,
    next: u64,
    verdicts: &Verdicts,
) -> Result<Decision, Rejection> {
    let found = running(views, replay)?;
    if judged_to < found.judged_to || next < found.next || next > found.total {
        return Err(Rejection::ReplayPosition { replay, next: found.next, found: next });
    }
    // What is to come can't have been compared.
    let judged_to = judged_to.min(views.lsn());
    let mut parts = split(verdicts);
    let last = parts.pop().unwrap_or_default();
    // Only the last says how far it has come: a part alone would be no whole state.
    let before = parts.into_iter().map(|verdicts| Event::ReplayJudged {
        replay,
        judged_to: found.judged_to,
        next: found.next,
        verdicts,
    });
    let mut events: Vec<Event> = before.collect();
    events.push(Event::ReplayJudged { replay, judged_to, next, verdicts: last });
    Ok(Decision { events, answer: Answer::Done })
}

/// Cuts verdicts into parts that fit into a record each.
fn split(verdicts: &Verdicts) -> Vec<Verdicts> {
    let mut parts = vec![Verdicts { matched: verdicts.matched, ..Verdicts::default() }];
    let mut used = 0;
    let mut part_for = |bytes: usize| {
        if used + bytes > VERDICT_BYTES_MAX {
            used = 0;
            parts.push(Verdicts::default());
        }
        used += bytes;
        parts.len() - 1
    };
    let mut places = Vec::new();
    for found in &verdicts.mismatched {
        let value = found.value.as_deref().map(|name| limits::cut(name, VALUE_NAME_BYTES_MAX));
        let at = part_for(MISMATCH_BYTES + value.map_or(0, str::len));
        let value = value.map(ToOwned::to_owned);
        places.push((at, Verdict::Mismatch(Mismatch { value, ..found.clone() })));
    }
    for found in &verdicts.failed {
        let error = limits::cut(&found.error, REPLAY_ERROR_BYTES_MAX).to_owned();
        let at = part_for(FAILURE_BYTES + error.len());
        places.push((at, Verdict::Failure(ReplayFailure { job: found.job, error })));
    }
    for found in &verdicts.newly_passing {
        places.push((part_for(NUMBER_BYTES), Verdict::Passing(*found)));
    }
    for (at, verdict) in places {
        let Some(part) = parts.get_mut(at) else { continue };
        match verdict {
            Verdict::Mismatch(found) => part.mismatched.push(found),
            Verdict::Failure(found) => part.failed.push(found),
            Verdict::Passing(found) => part.newly_passing.push(found),
        }
    }
    parts
}

enum Verdict {
    Mismatch(Mismatch),
    Failure(ReplayFailure),
    Passing(Lsn),
}

/// Ends it, and with it its queue.
pub(super) fn end(views: &Views, replay: Lsn, reason: Option<&str>) -> Result<Decision, Rejection> {
    let found = match running(views, replay) {
        Ok(found) => found,
        Err(Rejection::ReplayOver(_)) => return Ok(Decision::nothing(Answer::Done)),
        Err(unknown) => return Err(unknown),
    };
    let reason = reason.map(|text| limits::cut(text, REPLAY_ERROR_BYTES_MAX).to_owned());
    let mut events = vec![Event::ReplayEnded { replay, reason }];
    if views.queue_state(found.queue) == Some(QueueState::Active) {
        events.push(Event::QueueDrained { queue: found.queue });
    }
    Ok(Decision { events, answer: Answer::Done })
}
