//! Recording, and taking in what was recorded elsewhere.

use std::collections::BTreeSet;

use super::{Decision, limits, worker};
use crate::domain::recording::RECORDING_NAME_BYTES_MAX;
use crate::domain::{Answer, Event, Lsn, NewImport, Rejection};
use crate::views::Views;

fn name_fits(name: Option<&str>) -> Result<(), Rejection> {
    let length = name.map_or(0, str::len);
    limits::at_most("a recording's name", length, RECORDING_NAME_BYTES_MAX)
}

pub(super) fn start(views: &Views, name: Option<&str>) -> Result<Decision, Rejection> {
    name_fits(name)?;
    if let Some(recording) = views.active_recording() {
        return Err(Rejection::RecordingActive { recording });
    }
    Ok(Decision::done(Event::RecordingStarted { name: name.map(ToOwned::to_owned) }))
}

pub(super) fn stop(views: &Views) -> Result<Decision, Rejection> {
    let recording = views.active_recording().ok_or(Rejection::NotRecording)?;
    let answer = Answer::RecordingStopped { recording };
    Ok(Decision::event(Event::RecordingStopped { recording }, answer))
}

pub(super) fn import(views: &Views, new: &NewImport) -> Result<Decision, Rejection> {
    name_fits(new.name.as_deref())?;
    let mut events = Vec::new();
    let mut seen = BTreeSet::new();
    for brought in &new.workers {
        // An archive has as many registrations of a worker as there were; one is enough.
        let registered = worker::register(views, brought)?.events;
        if seen.insert(brought.worker) {
            events.extend(registered);
        }
    }
    let archive = new.archive.clone();
    events.push(Event::RecordingImported { name: new.name.clone(), archive });
    let recording = Lsn(views.lsn().0 + events.len() as u64);
    Ok(Decision { events, answer: Answer::RecordingImported { recording } })
}

pub(super) fn delete(views: &Views, recording: Lsn) -> Result<Decision, Rejection> {
    if views.recording(recording).is_none() {
        return Err(Rejection::UnknownRecording(recording));
    }
    if views.active_recording() == Some(recording) {
        return Err(Rejection::RecordingActive { recording });
    }
    if let Some(replay) = views.replay_of_recording(recording) {
        return Err(Rejection::RecordingInUse { recording, replay });
    }
    Ok(Decision::done(Event::RecordingDeleted { recording }))
}
