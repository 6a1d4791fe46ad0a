//! The checks of opening: that the log holds together, and that its end is the one that was
//! acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::open::{OpenOptions, read_failed};
use super::reader::Generation;
use super::{decoded, framed, guard, records};
use crate::domain::{Lsn, Record};
use crate::eventlog::codec::Chain;
use crate::eventlog::hwm::{HighWater, Mark};
use crate::eventlog::{Damage, DataDir, Error, Fold, LogReader as _};

/// Records handed from the thread that reads to the one that folds at once, and how often before
/// the one waits for the other.
const BATCH_LEN: usize = 512;
const BATCHES_MAX: usize = 4;

/// Reads the log after `start`; the last record's mark. The record at `acknowledged` has to be the
/// very one that was acknowledged. What is read is checked on a thread of its own while `fold`
/// takes in what was read before.
pub(super) fn verify<F: Fold>(
    path: &Path,
    reader: &Arc<Generation>,
    start: Mark,
    acknowledged: Option<Mark>,
    fold: &mut F,
) -> Result<Mark, Error> {
    if let Some(mark) = acknowledged.filter(|mark| mark.lsn <= start.lsn) {
        is_there(path, reader, start, mark)?;
    }
    thread::scope(|scope| {
        let (sender, batches) = sync_channel::<Vec<Record>>(BATCHES_MAX);
        let checks = thread::Builder::new()
            .name("log check".into())
            .spawn_scoped(scope, move || check(path, reader, start, acknowledged, &sender))
            .map_err(|error| Error::storage("start a thread to read", path, error))?;
        for record in batches.iter().flatten() {
            let lsn = record.lsn;
            if let Err(source) = fold.apply(record) {
                // The other thread ends with what it sends to.
                let source = source.into();
                return Err(Error::damaged(path, Damage::Rejected { lsn, source }));
            }
        }
        checks.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Checks that a record that was acknowledged and is not read again is the one in the log.
fn is_there(path: &Path, reader: &Arc<Generation>, start: Mark, mark: Mark) -> Result<(), Error> {
    let damaged = |damage| Err(Error::damaged(path, damage));
    if reader.base().is_some_and(|base| mark.lsn < base.lsn) {
        // Folded since; what is there is later than what was acknowledged.
        return Ok(());
    }
    let found = if mark.lsn == start.lsn {
        start
    } else if mark.lsn == Lsn::ZERO {
        Mark::START
    } else if let Some(base) = reader.base().filter(|base| mark.lsn == base.lsn) {
        Mark { lsn: base.lsn, chain: base.chain }
    } else {
        let value = guard::catching(|| reader.scan_values(mark.lsn, start.lsn).next())
            .map_err(|panic| Error::damaged(path, Damage::Database { source: panic.into() }))?;
        let Some((lsn, value)) = value.transpose()? else {
            return damaged(Damage::Gap { expected: mark.lsn, found: start.lsn });
        };
        Mark { lsn, chain: Chain::of(lsn, &value) }
    };
    if found.lsn != mark.lsn {
        return damaged(Damage::Gap { expected: mark.lsn, found: found.lsn });
    }
    if found.chain != mark.chain {
        return damaged(Damage::OtherHistory { lsn: mark.lsn });
    }
    Ok(())
}

/// Reads and checks all records after `start` and passes them on, until nobody takes them.
fn check(
    path: &Path,
    reader: &Arc<Generation>,
    start: Mark,
    acknowledged: Option<Mark>,
    sender: &SyncSender<Vec<Record>>,
) -> Result<Mark, Error> {
    let mut walk = Walk { path, acknowledged, last: start, batch: Vec::with_capacity(BATCH_LEN) };
    let result = walk.run(reader, sender);
    // Also before an error, since the fold may refuse one of them.
    let _ = sender.send(walk.batch);
    result.map(|()| walk.last)
}

/// A way through the log.
struct Walk<'a> {
    path: &'a Path,
    acknowledged: Option<Mark>,
    last: Mark,
    batch: Vec<Record>,
}

impl Walk<'_> {
    fn run(
        &mut self,
        reader: &Arc<Generation>,
        sender: &SyncSender<Vec<Record>>,
    ) -> Result<(), Error> {
        let begun = self.last.lsn;
        let panicked = |panic: guard::Panicked| {
            Error::damaged(self.path, Damage::Database { source: panic.into() })
        };
        let mut entries = guard::catching(|| reader.entries_after(begun)).map_err(panicked)??;
        loop {
            let entry = guard::catching(|| entries.next()).map_err(panicked)?;
            let Some(entry) = entry else { return Ok(()) };
            let (key, entry) = entry.map_err(|error| read_failed(self.path, error))?;
            for record in records(self.path, &key, &entry)? {
                let (lsn, value) = framed(self.path, record)?;
                if lsn > begun {
                    self.step(lsn, &value)?;
                }
            }
            if self.batch.len() >= BATCH_LEN {
                let next = Vec::with_capacity(BATCH_LEN);
                if sender.send(std::mem::replace(&mut self.batch, next)).is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn step(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), Error> {
        let damaged = |damage| Err(Error::damaged(self.path, damage));
        let expected = self.last.lsn.next();
        if lsn != expected {
            return damaged(Damage::Gap { expected, found: lsn });
        }
        let (record, after) = decoded(self.path, lsn, value)?;
        if after != self.last.chain {
            return damaged(Damage::Chain(lsn));
        }
        self.last = Mark { lsn, chain: Chain::of(lsn, value) };
        if self.acknowledged.is_some_and(|mark| mark.lsn == lsn && mark.chain != self.last.chain) {
            return damaged(Damage::OtherHistory { lsn });
        }
        self.batch.push(record);
        Ok(())
    }
}

/// Compares the log's end with the high-water mark and moves the mark there.
pub(super) fn settle_mark(
    dir: &DataDir,
    options: OpenOptions,
    stored: Option<(HighWater, Mark)>,
    last: Mark,
) -> Result<HighWater, Error> {
    let path = dir.hwm();
    let Some((mut file, mark)) = stored else {
        if last != Mark::START {
            tracing::warn!(path = %path.display(), last = last.lsn.0, "no high-water file, so the end of the log is not checked");
        }
        return HighWater::create(&path, last);
    };
    if mark.lsn > last.lsn && !options.accept_lost_history {
        let damage = Damage::LostHistory { last: last.lsn, mark: mark.lsn };
        return Err(Error::damaged(&dir.log(), damage));
    }
    if options.accept_lost_history {
        if mark.lsn > last.lsn {
            let (last, mark) = (last.lsn.0, mark.lsn.0);
            tracing::warn!(last, mark, "going on without records that were acknowledged");
        }
        return HighWater::create(&path, last);
    }
    if mark.lsn < last.lsn {
        file.write(last)
            .and_then(|()| file.sync())
            .map_err(|error| Error::storage("write the high-water file", &path, error))?;
    }
    Ok(file)
}
