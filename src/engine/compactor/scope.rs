//! How far the log may be folded.

use std::time::Duration;

use super::{CompactOrder, Compacting, Holder};
use crate::domain::{Lsn, Millis, Timestamp};
use crate::eventlog::{self, LogReader};
use crate::views::Published;

/// From where on records stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    pub(super) first: Lsn,
    pub(super) held_by: Option<Holder>,
}

/// Which record is to be the first, of a log whose newest durable one is `newest`.
pub(super) fn scope(
    log: &dyn LogReader,
    state: &Published,
    newest: Lsn,
    settings: Compacting,
    order: CompactOrder,
    now: Timestamp,
) -> Result<Scope, eventlog::Error> {
    let wanted = match order {
        CompactOrder { before: Some(before), keep: None } => before,
        CompactOrder { before, keep: Some(keep) } => {
            let young = since(log, newest, keep, now)?;
            before.map_or(young, |before| before.min(young))
        }
        CompactOrder { before: None, keep: None } => {
            wanted_by(log, newest, settings, now)?.unwrap_or(newest)
        }
    };
    // The newest record stays, so that the log always has one.
    let wanted = wanted.min(newest).max(log.first());
    Ok(match holder(state) {
        Some((first, holder)) if first < wanted => {
            Scope { first: first.max(log.first()), held_by: Some(holder) }
        }
        _ => Scope { first: wanted, held_by: None },
    })
}

/// The first record that the settings want to stay; none when they want all of them.
pub(super) fn wanted_by(
    log: &dyn LogReader,
    newest: Lsn,
    settings: Compacting,
    now: Timestamp,
) -> Result<Option<Lsn>, eventlog::Error> {
    let young = settings.keep.map(|keep| since(log, newest, keep, now)).transpose()?;
    let few = settings.keep_records.map(|count| Lsn(newest.next().0.saturating_sub(count)));
    Ok(young.max(few))
}

/// How many records before `end` can be read, those included that are kept from before the first.
pub(super) fn readable_len(log: &dyn LogReader, end: Lsn) -> u64 {
    end.0 - log.first().0 + log.base().map_or(0, |base| base.kept)
}

/// The first of what needs all records from its beginning on.
fn holder(state: &Published) -> Option<(Lsn, Holder)> {
    let views = &state.views;
    let recordings = views.recordings().filter(|row| !row.imported);
    let recordings = recordings.map(|row| (row.start, Holder::Recording(row.recording)));
    let replays = views.running_replays().map(|row| (row.replay, Holder::Replay(row.replay)));
    recordings.chain(replays).min_by_key(|(first, _)| *first)
}

/// The first record that is not older than `keep`. Times of records never decrease, or nearly so:
/// after a clock was set back, some more or fewer stay.
fn since(
    log: &dyn LogReader,
    newest: Lsn,
    keep: Duration,
    now: Timestamp,
) -> Result<Lsn, eventlog::Error> {
    let (mut low, mut high) = (log.first(), newest.next());
    while low < high {
        let middle = Lsn(low.0 + (high.0 - low.0) / 2);
        let old = log.get(middle)?.is_some_and(|it| it.at.after(Millis::from(keep)) <= now);
        if old {
            low = middle.next();
        } else {
            high = middle;
        }
    }
    Ok(low)
}
