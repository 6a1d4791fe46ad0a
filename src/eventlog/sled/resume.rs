//! Takes from the journal what a crash kept the database from writing down.

use std::path::Path;

use super::guard;
use super::open::{Database, Failure};
use super::{insert, records};
use crate::domain::Lsn;
use crate::durable;
use crate::eventlog::journal::Journal;

/// Brings the database up to what is durable in the journal. That it holds together is for whoever opens
/// it to check; where its end can't be read, nothing is added.
pub(super) fn resume(path: &Path, database: &Database, journal: &Journal) -> Result<(), Failure> {
    guard::catching(|| {
        let Some(before) = end_of(path, database)? else { return Ok(()) };
        let mut last = before;
        for group in journal.groups().map_err(Failure::of_journal)? {
            let Some((first, _)) = group.first() else { continue };
            if *first <= last {
                continue;
            }
            if *first != last.next() {
                // Of a log that has lost its end, or of another.
                tracing::warn!(last = last.0, next = first.0, "the journal begins too late");
                break;
            }
            insert(&database.events, group)?;
            last = end_of(path, database)?.unwrap_or(last);
        }
        if last > before {
            durable::flush(&database.db)?;
            tracing::info!(from = before.next().0, to = last.0, "took records from the journal");
        }
        Ok(())
    })?
}

/// The last record of the database; none when that can't be read.
fn end_of(path: &Path, database: &Database) -> Result<Option<Lsn>, Failure> {
    let Some((key, entry)) = database.events.last()? else {
        return Ok(Some(database.head.as_ref().map_or(Lsn::ZERO, |base| base.lsn)));
    };
    let Ok(records) = records(path, &key, &entry) else { return Ok(None) };
    Ok(records.last().and_then(|record| record.ok().map(|(lsn, _)| lsn)))
}
