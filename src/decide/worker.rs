//! Registering and retiring workers.

use super::Decision;
use super::limits;
use crate::domain::worker::FUNCTIONS_MAX;
use crate::domain::{Answer, Event, Function, NewWorker, ObjectRef, Rejection, WorkerId};
use crate::views::Views;

/// Bytes of functions and other texts that one record takes. What else it holds stays far below the
/// difference to the record's limit.
const RECORD_TEXT_BYTES_MAX: usize = 3_584;

/// A function's encoded size beside its name: its version and the names of both fields.
const FUNCTION_OVERHEAD_BYTES: usize = 40;

pub(super) fn register(views: &Views, new: &NewWorker) -> Result<Decision, Rejection> {
    limits::object("a worker descriptor inside a record", &new.descriptor)?;
    limits::name("a worker's name", &new.name)?;
    let host = new.host.to_string();
    limits::name("a worker's host", &host)?;
    limits::at_most("a worker's list of functions", new.functions.len(), FUNCTIONS_MAX)?;
    for function in &new.functions {
        limits::name("a function's name", &function.name)?;
    }
    if views.is_registered(new.worker) {
        return Ok(Decision::nothing(Answer::Done));
    }
    let inline = match &new.descriptor {
        ObjectRef::Inline(blob) => blob.0.len(),
        ObjectRef::Chunk(_) => 0,
    };
    let (functions, mut rest) = split(&new.functions, inline + new.name.len() + host.len());
    let mut events = vec![Event::WorkerRegistered {
        worker: new.worker,
        descriptor: new.descriptor.clone(),
        name: new.name.clone(),
        host: new.host.clone(),
        build_system: new.build_system,
        functions: functions.to_vec(),
    }];
    while !rest.is_empty() {
        let (functions, after) = split(rest, 0);
        events.push(Event::WorkerFunctionsDeclared {
            worker: new.worker,
            functions: functions.to_vec(),
        });
        rest = after;
    }
    Ok(Decision { events, answer: Answer::Done })
}

/// As many functions as fit into a record that holds `used` bytes already, and the rest. One at
/// least fits into an empty record.
fn split(functions: &[Function], used: usize) -> (&[Function], &[Function]) {
    let mut bytes = used;
    let fitting = functions.iter().take_while(|function| {
        bytes += function.name.len() + FUNCTION_OVERHEAD_BYTES;
        bytes <= RECORD_TEXT_BYTES_MAX
    });
    let count = fitting.count();
    functions.split_at(count)
}

pub(super) fn retire(views: &Views, worker: WorkerId) -> Result<Decision, Rejection> {
    let known = views.worker(worker).ok_or(Rejection::UnknownWorker(worker))?;
    if known.retired {
        return Ok(Decision::nothing(Answer::Done));
    }
    if known.open > 0 {
        return Err(Rejection::WorkerBusy { worker, open: known.open });
    }
    Ok(Decision::done(Event::WorkerRetired { worker }))
}
