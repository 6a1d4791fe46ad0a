//! The log of the tests: tells what would have survived a power cut at any of its syncs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::codec::{Chain, Encoder};
use super::{Error, EventLog, LogReader, Value};
use crate::domain::{Lsn, Record};

/// A log in memory with a live copy, which readers see, and a durable one, which would be found
/// after a power cut. Clones are the same log.
#[derive(Clone, Default)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    encoder: Encoder,
    live: Vec<Record>,
    /// The chain hash of each of `live`.
    chains: Vec<Chain>,
    /// How many of `live` are durable.
    durable: usize,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    poisoned: bool,
}

impl State {
    /// The value of a record that follows those whose chain hashes are known.
    fn encode(&mut self, record: &Record) -> Result<(&[u8], Chain), Error> {
        let before = record.lsn.0.checked_sub(2).and_then(|index| usize::try_from(index).ok());
        let after = before.and_then(|index| self.chains.get(index)).copied();
        self.encoder.encode(record, after.unwrap_or(Chain::START))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Freezes,
    Fails,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that was found with `records`, which start at [`Lsn::FIRST`].
    pub fn holding(records: Vec<Record>) -> Self {
        let mut state = State { durable: records.len(), ..State::default() };
        for record in &records {
            // What doesn't encode was never in a log, and only `scan_values` would show it.
            let chain = state.encode(record).map_or(Chain::START, |(_, chain)| chain);
            state.chains.push(chain);
        }
        state.live = records;
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power at the `n`th sync from the start, counted from 1: this one and all later ones
    /// return, as the program can't notice any more, but make nothing durable.
    #[must_use]
    pub fn freeze_at(self, n: u64) -> Self {
        self.lock().fault = Some((n, Fault::Freezes));
        self
    }

    /// Has the `n`th sync from the start, counted from 1, return an error. Its records are live and
    /// not durable: the caller can't know, and either may be true on a disk.
    #[must_use]
    pub fn failing_at(self, n: u64) -> Self {
        self.lock().fault = Some((n, Fault::Fails));
        self
    }

    /// How many syncs there were, the failed one included.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// All records that readers can see.
    pub fn live(&self) -> Vec<Record> {
        self.lock().live.clone()
    }

    /// The log as it is found after a power cut now: without faults, and no longer connected.
    #[must_use]
    pub fn surviving(&self) -> Self {
        let state = self.lock();
        Self::holding(state.live.iter().take(state.durable).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLog for MemoryLog {
    fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let state = &mut *self.lock();
        if state.poisoned {
            return Err(Error::Poisoned);
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut expected = Lsn(state.live.len() as u64).next();
        for record in records {
            let encoded = if record.lsn == expected {
                state.encode(record).map(|(_, chain)| chain)
            } else {
                Err(Error::OutOfOrder { lsn: record.lsn, expected })
            };
            match encoded {
                Ok(chain) => state.chains.push(chain),
                Err(error) => {
                    state.chains.truncate(state.live.len());
                    return Err(error);
                }
            }
            expected = expected.next();
        }
        state.live.extend_from_slice(records);
        state.syncs += 1;
        match state.fault {
            Some((n, Fault::Freezes)) if state.syncs >= n => {}
            Some((n, Fault::Fails)) if state.syncs >= n => {
                state.poisoned = true;
                let source = std::io::Error::other("a failure the test asked for");
                return Err(Error::storage("append to", "memory".as_ref(), source));
            }
            _ => state.durable = state.live.len(),
        }
        Ok(())
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn sync_mark(&mut self) -> Result<(), Error> {
        if self.lock().poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }
}

impl LogReader for MemoryLog {
    fn get(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        let index = lsn.0.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        Ok(index.and_then(|index| self.lock().live.get(index).cloned()))
    }

    fn scan(
        &self,
        from: Lsn,
        to: Lsn,
    ) -> Box<dyn Iterator<Item = Result<Record, Error>> + Send + '_> {
        let lsns = from.0.max(1)..=to.0;
        Box::new(lsns.map_while(|lsn| self.get(Lsn(lsn)).transpose()))
    }

    fn scan_values(&self, from: Lsn, to: Lsn) -> Box<dyn Iterator<Item = Value> + Send + '_> {
        let records = self.scan(from, to);
        Box::new(records.map(|record| {
            let record = record?;
            self.lock()
                .encode(&record)
                .map(|(value, _)| (record.lsn, Bytes::copy_from_slice(value)))
        }))
    }

    fn first(&self) -> Lsn {
        Lsn::FIRST
    }

    fn pinned(&self) -> Arc<dyn LogReader> {
        Arc::new(self.clone())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Cause, Event, Timestamp, WorkerId};
    use crate::eventlog::Kind;

    fn record(lsn: u64) -> Record {
        let event = Event::WorkerRetired { worker: WorkerId::of(b"w") };
        Record { lsn: Lsn(lsn), at: Timestamp(1), prev: Lsn::ZERO, cause: Cause::UNKNOWN, event }
    }

    #[test]
    fn only_syncs_before_the_freeze_survive() {
        let mut log = MemoryLog::new().freeze_at(2);
        log.append(&[record(1), record(2)]).unwrap();
        log.append(&[record(3)]).unwrap();
        log.append(&[record(4)]).unwrap();
        assert_eq!((log.syncs(), log.live().len()), (3, 4));
        let mut found = log.surviving();
        assert_eq!(found.live(), [record(1), record(2)]);
        found.append(&[record(3)]).unwrap();
        assert_eq!(found.surviving().live().len(), 3);
    }

    #[test]
    fn a_failed_sync_poisons_and_a_refusal_does_not() {
        let mut log = MemoryLog::new().failing_at(2);
        assert_eq!(log.append(&[record(2)]).unwrap_err().kind(), Kind::Refused);
        log.append(&[record(1)]).unwrap();
        assert_eq!(log.append(&[record(2)]).unwrap_err().kind(), Kind::Storage);
        assert!(matches!(log.append(&[record(2)]), Err(Error::Poisoned)));
        assert!(log.sync_mark().is_err());
        assert_eq!(log.surviving().live(), [record(1)]);
    }

    #[test]
    fn a_scan_stops_at_either_end() {
        let log = MemoryLog::holding((1..=5).map(record).collect());
        let lsns = |from, to| -> Vec<u64> {
            log.scan(Lsn(from), Lsn(to)).map(|record| record.unwrap().lsn.0).collect()
        };
        assert_eq!(lsns(2, 4), [2, 3, 4]);
        assert_eq!(lsns(0, 1), [1]);
        assert_eq!(lsns(4, u64::MAX), [4, 5]);
        assert_eq!(lsns(4, 3), [0; 0]);
    }
}
