//! Recordings of this instance.

use std::io::Read;
use std::sync::Arc;

use super::{Error, Recording, Records, in_store};
use crate::chunks::Store;
use crate::domain::{ChunkId, Event, Lsn, Record};
use crate::eventlog::LogReader;
use crate::replay::archive::Head;
use crate::replay::recorded::Recorded;
use crate::replay::selection::{Hints, Range, Selector};

/// A recording of this instance: a range of its log, and some records from before and after.
pub struct Live {
    log: Arc<dyn LogReader>,
    store: Store,
    head: Head,
    /// Records from outside of the range, in order.
    context: Vec<Lsn>,
}

impl Live {
    /// Reads the range once to find what else belongs to the recording, and with it what its
    /// records say of its jobs.
    pub fn open(
        log: Arc<dyn LogReader>,
        store: Store,
        range: Range,
        hints: &dyn Hints,
    ) -> Result<(Self, Recorded), Error> {
        let head = head(&*log, range)?;
        let mut selector = Selector::new(range.start, range.stop);
        for record in log.scan(range.start, range.settled) {
            let record = record?;
            if record.lsn <= range.stop {
                selector.within(&record);
            } else {
                selector.after(&record);
            }
        }
        let (recorded, context) = selector.finish(&*log, hints, &mut |_| {})?;
        Ok((Self { log, store, head, context }, recorded))
    }

    /// Those records from outside of the range that are in `from..to`.
    fn context(&self, from: Lsn, to: Lsn) -> impl Iterator<Item = Result<Record, Error>> + Send {
        let wanted = self.context.iter().filter(move |lsn| (from..to).contains(*lsn));
        wanted.map(|lsn| self.log.get(*lsn)?.ok_or(Error::Missing(*lsn)))
    }
}

impl Recording for Live {
    fn head(&self) -> &Head {
        &self.head
    }

    fn records(&self) -> Records<'_> {
        let Head { start, stop, .. } = self.head;
        let log = self.log.scan(start, stop).map(|record| record.map_err(Error::from));
        let before = self.context(Lsn::ZERO, start);
        Box::new(before.chain(log).chain(self.context(stop, Lsn(u64::MAX))))
    }

    fn record(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        let within = (self.head.start..=self.head.stop).contains(&lsn);
        if !within && self.context.binary_search(&lsn).is_err() {
            return Ok(None);
        }
        Ok(self.log.get(lsn)?)
    }

    fn chunk_bytes(&self, chunk: &ChunkId) -> Result<Option<u64>, Error> {
        Ok(self.store.len(chunk))
    }

    fn chunk(&self, chunk: &ChunkId) -> Result<Option<Box<dyn Read + Send + '_>>, Error> {
        in_store(&self.store, chunk)
    }
}

/// The head of a recording of this instance.
pub(in crate::replay) fn head(log: &dyn LogReader, range: Range) -> Result<Head, Error> {
    let Range { start, stop, .. } = range;
    let record = log.get(start)?.ok_or(Error::Missing(start))?;
    let name = match record.event {
        Event::RecordingStarted { name } => name,
        _ => None,
    };
    Ok(Head { name, start, stop })
}
