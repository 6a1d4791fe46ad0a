//! Checks a whole instance: that its log is one unbroken chain, that folding it gives one state
//! every time, and that whatever is needed is held and is what its name says.

mod census;
mod fold;

use serde::Serialize;

use crate::chunks::{self, Store};
use crate::domain::{ChunkId, ContentHash, Lsn};
use crate::eventlog::{self, LogReader};
use crate::views::{Held, Published};

/// Problems that a report lists; the rest is only counted.
pub const PROBLEMS_LISTED_MAX: usize = 1_000;

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read the log")]
    Log(#[from] eventlog::Error),
    #[error("cannot read from the chunk store")]
    Chunks(#[from] chunks::Error),
    #[error("nobody wants to know any more")]
    Stopped,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The log is read and folded for the first time.
    FirstFold,
    /// The same once more.
    SecondFold,
    /// Chunks are looked up and read.
    Chunks,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Progress {
    pub phase: Phase,
    /// Records, or chunks.
    pub done: u64,
    pub total: u64,
}

/// Something that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// A stable word for programs: `base`, `chain`, `record`, `gap`, `fold`, `digest`, `missing_chunk`,
    /// `damaged_chunk`.
    pub kind: &'static str,
    /// The record where it is seen, or which needs the chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<ChunkId>,
    /// For a person.
    pub error: String,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing is wrong.
    pub good: bool,
    /// The range that was read, both ends included.
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub records: u64,
    /// Of the state that the log folds to.
    pub digest: Option<ContentHash>,
    /// Chunks that are needed, and the bytes of those that were read.
    pub chunks: u64,
    pub bytes: u64,
    /// How many problems there are, and the first [`PROBLEMS_LISTED_MAX`] of them.
    pub problems_count: u64,
    pub problems: Vec<Problem>,
}

impl Report {
    fn base(&mut self, wrong: &eventlog::Error) {
        let source = std::error::Error::source(wrong).and_then(std::error::Error::source);
        let error = source.map_or_else(|| wrong.to_string(), ToString::to_string);
        self.add(Problem { kind: "base", lsn: None, chunk: None, error });
    }

    fn add(&mut self, problem: Problem) {
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(problem);
        }
    }
}

/// Hears how far it is; false stops it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// Says how far it is, now and then.
struct Steps<'a> {
    phase: Phase,
    done: u64,
    total: u64,
    listener: Listener<'a>,
}

/// Steps between two words to the listener.
const STEPS_LEN: u64 = 1_024;

impl<'a> Steps<'a> {
    fn new(phase: Phase, total: u64, listener: Listener<'a>) -> Result<Self, Error> {
        let mut steps = Self { phase, done: 0, total, listener };
        steps.tell().map(|()| steps)
    }

    fn tell(&mut self) -> Result<(), Error> {
        let Self { phase, done, total, .. } = *self;
        if (self.listener)(Progress { phase, done, total }) { Ok(()) } else { Err(Error::Stopped) }
    }

    fn step(&mut self) -> Result<(), Error> {
        self.done += 1;
        if self.done.is_multiple_of(STEPS_LEN) || self.done == self.total {
            self.tell()
        } else {
            Ok(())
        }
    }
}

/// Verifies everything up to the record `last`. `live` is the state that the service has there, if
/// one runs; it counts as a third fold. When others use the store, a chunk may be reported missing that
/// nothing needs any more. Memory is that of two states, and 28 bytes a chunk.
pub fn verify(
    log: &dyn LogReader,
    store: &Store,
    last: Lsn,
    live: Option<&Published>,
    listener: Listener<'_>,
) -> Result<Report, Error> {
    let (mut report, held) = verify_log(log, last, live, &mut *listener)?;
    if let Some(held) = held {
        census::check(log, store, &held, &mut report, listener)?;
    }
    report.good = report.problems_count == 0;
    Ok(report)
}

/// The same without the chunks. Gives what is held in the end, when that can be told.
pub fn verify_log(
    log: &dyn LogReader,
    last: Lsn,
    live: Option<&Published>,
    listener: Listener<'_>,
) -> Result<(Report, Option<Held>), Error> {
    // One log for all of it: its oldest records may be folded meanwhile.
    let log = &*log.pinned();
    let first_lsn = log.first();
    let mut report = Report { first_lsn, last_lsn: last, ..Report::default() };
    let sound = log.check_base().map_err(|wrong| report.base(&wrong)).is_ok();
    let begin = if sound { fold::begin(log, &mut report) } else { None };
    let first = fold::first(log, last, begin, &mut report, &mut *listener)?;
    let held = first.map(|first| -> Result<Held, Error> {
        let parts = first.parts();
        report.digest = Some(first.digest());
        let held = first.views.held();
        drop(first);
        fold::again(log, last, &parts, &mut report, &mut *listener)?;
        if let Some(live) = live {
            fold::compare("the service's own state", &parts, &live.parts(), &mut report);
        }
        Ok(held)
    });
    let held = held.transpose()?;
    report.good = report.problems_count == 0;
    Ok((report, held))
}

/// Every chunk that something held needs, in order, and the oldest record that needs it.
pub fn needed_chunks(
    log: &dyn LogReader,
    store: &Store,
    held: &Held,
) -> Result<Vec<(ChunkId, Lsn)>, Error> {
    census::needed_chunks(log, store, held)
}

#[cfg(test)]
mod tests;
