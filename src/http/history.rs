//! What happened to a job, read back from the log along the links between records.

use std::collections::{BTreeMap, BTreeSet};

use super::App;
use super::error::Error;
use super::store;
use crate::domain::{Event, Lsn, ObjectRef, Outcome, QueueId, Record};
use crate::eventlog::LogReader;
use crate::views::JobRow;
use bytes::Bytes;

/// Most records that are read for one job. A job that was retried and reprioritised more often
/// shows its newest ones.
const RECORDS_MAX: usize = 10_000;

/// The records of a job and of the executions it wanted, in order.
pub(super) async fn of(app: &App, job: &JobRow) -> Result<Vec<Record>, Error> {
    let log = app.log()?.clone();
    let (job_last, execution_last, ended) = (job.tail, job.execution_tail, job.ended);
    store::blocking(move || gather(&*log, [execution_last, job_last], ended)).await
}

fn gather(log: &dyn LogReader, last: [Lsn; 2], ended: Option<Lsn>) -> Result<Vec<Record>, Error> {
    let mut found: BTreeMap<Lsn, Record> = BTreeMap::new();
    // One that its queue took along is ended by a record about the queue, which nothing links to.
    if let Some(lsn) = ended {
        found.extend(log.get(lsn)?.map(|record| (lsn, record)));
    }
    let mut chains = last.to_vec();
    let mut seen: BTreeSet<Lsn> = BTreeSet::new();
    while let Some(mut at) = chains.pop() {
        while at != Lsn::ZERO && seen.insert(at) && found.len() < RECORDS_MAX {
            let Some(record) = log.get(at)? else { break };
            if let Event::JobRescheduled { former, .. } = &record.event {
                chains.push(*former);
            }
            at = record.prev;
            found.insert(record.lsn, record);
        }
    }
    Ok(found.into_values().collect())
}

/// The queue that a job was submitted to, whatever has become of it.
pub(super) async fn submitted_to(app: &App, job: Lsn) -> Result<Option<QueueId>, Error> {
    let log = app.log()?.clone();
    let record = store::blocking(move || Ok(log.get(job)?)).await?;
    Ok(match record.map(|record| record.event) {
        Some(Event::JobSubmitted { queue, .. }) => queue,
        _ => None,
    })
}

/// The output object that a record holds or names.
pub(super) async fn output(app: &App, at: Lsn) -> Result<Bytes, Error> {
    let object = object_at(app, at, |event| match event {
        Event::AttemptFinished { outcome: Outcome::Completed { output, .. }, .. } => Some(output),
        _ => None,
    });
    store::load(app, &object.await?).await
}

/// The descriptor that a record holds or names.
pub(super) async fn descriptor(app: &App, at: Lsn) -> Result<Bytes, Error> {
    let object = object_at(app, at, |event| match event {
        Event::WorkerRegistered { descriptor, .. } => Some(descriptor),
        _ => None,
    });
    store::load(app, &object.await?).await
}

async fn object_at(
    app: &App,
    at: Lsn,
    pick: impl FnOnce(Event) -> Option<ObjectRef> + Send + 'static,
) -> Result<ObjectRef, Error> {
    let log = app.log()?.clone();
    let record = store::blocking(move || Ok(log.get(at)?)).await?;
    let object = record.and_then(|record| pick(record.event));
    object.ok_or_else(|| Error::Internal(format!("record {at} does not hold what the views say")))
}
