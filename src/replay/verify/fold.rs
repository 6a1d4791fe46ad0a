//! Reading the log twice.

use super::{Error, Listener, Phase, Problem, Report, Steps};
use crate::domain::{ContentHash, Lsn, Record, sentence};
use crate::engine::base_state;
use crate::eventlog::codec::{self, Chain};
use crate::eventlog::{self, LogReader, Mark};
use crate::views::Published;

/// The digests of the parts of a state.
type Parts = Vec<(&'static str, ContentHash)>;

/// Records between the first and the last, both included.
fn count(first: Lsn, last: Lsn) -> u64 {
    last.next().0.saturating_sub(first.0)
}

/// Reads and folds from `begin` on, if there is that; notes what is wrong with the records themselves. None when there is no state to
/// speak of.
pub(super) fn first(
    log: &dyn LogReader,
    last: Lsn,
    begin: Option<Published>,
    report: &mut Report,
    listener: Listener<'_>,
) -> Result<Option<Published>, Error> {
    let first = report.first_lsn;
    let mut steps = Steps::new(Phase::FirstFold, count(first, last), listener)?;
    let mut state = begin;
    let mut chain = Some(Mark::before(log).chain);
    let mut next = first;
    for value in log.scan_values(first, last) {
        let (lsn, value) = match value {
            Ok(value) => value,
            Err(eventlog::Error::Damaged { damage, .. }) => {
                // Only a reader that goes on behind damage tells more.
                let error = sentence(&damage);
                report.add(Problem { kind: "record", lsn: Some(next), chunk: None, error });
                state = None;
                chain = None;
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        if lsn != next {
            let error = format!("records {next} to {} are not there", lsn.0.saturating_sub(1));
            report.add(Problem { kind: "gap", lsn: Some(next), chunk: None, error });
            chain = None;
        }
        next = lsn.next();
        report.records += 1;
        match codec::decode(lsn, &value) {
            Err(wrong) => {
                let error = format!("record {lsn} is not readable: {wrong}");
                report.add(Problem { kind: "record", lsn: Some(lsn), chunk: None, error });
                state = None;
            }
            Ok((record, after)) => {
                if chain.is_some_and(|chain| chain != after) {
                    let error = format!("record {lsn} does not follow the one before it");
                    report.add(Problem { kind: "chain", lsn: Some(lsn), chunk: None, error });
                }
                state = state.and_then(|state| fold(state, &record, report));
            }
        }
        chain = Some(Chain::of(lsn, &value));
        steps.step()?;
    }
    if next <= last {
        let error = format!("records {next} to {last} are not there");
        report.add(Problem { kind: "gap", lsn: Some(next), chunk: None, error });
    }
    Ok(state)
}

fn fold(mut state: Published, record: &Record, report: &mut Report) -> Option<Published> {
    match state.apply(record) {
        Ok(()) => Some(state),
        Err(wrong) => {
            let lsn = Some(record.lsn);
            report.add(Problem { kind: "fold", lsn, chunk: None, error: wrong.to_string() });
            None
        }
    }
}

/// The state that the first record follows.
pub(super) fn begin(log: &dyn LogReader, report: &mut Report) -> Option<Published> {
    let state = base_state(log).map(Option::unwrap_or_default);
    let noted = state.map_err(|wrong| {
        let error = sentence(&wrong);
        report.add(Problem { kind: "base", lsn: None, chunk: None, error });
    });
    noted.ok()
}

/// Folds once more and compares.
pub(super) fn again(
    log: &dyn LogReader,
    last: Lsn,
    parts: &Parts,
    report: &mut Report,
    listener: Listener<'_>,
) -> Result<(), Error> {
    let first = report.first_lsn;
    let mut steps = Steps::new(Phase::SecondFold, count(first, last), listener)?;
    let Some(mut state) = begin(log, report) else { return Ok(()) };
    for record in log.scan(first, last) {
        let record = record?;
        let Some(next) = fold(state, &record, report) else { return Ok(()) };
        state = next;
        steps.step()?;
    }
    compare("a second fold", parts, &state.parts(), report);
    Ok(())
}

/// Notes the first part that differs.
pub(super) fn compare(what: &str, parts: &Parts, others: &Parts, report: &mut Report) {
    let differing = parts.iter().zip(others).find(|(one, other)| one != other);
    if let Some(((part, one), (_, other))) = differing {
        let error = format!("{what} differs first in its {part}: {other} instead of {one}");
        report.add(Problem { kind: "digest", lsn: None, chunk: None, error });
    }
}
