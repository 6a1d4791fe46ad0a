//! Which chunks are referred to by what is still held.
//!
//! The log is read once from its beginning, since only records know which chunks an object names, and
//! the ranges of recordings once more before that, since they refer to what came before them. All of
//! it is judged by what was held at one moment: else a result could be let go of before its record is
//! read, and a recording that began to refer to it meanwhile would lose it. What is submitted later is
//! safe without a mark: its chunks are wanted after the collection began, and the store keeps those.

use std::ops::RangeInclusive;

use super::needs::{Names, Needed, needed};
use super::pins::Pins;
use super::{Failed, Round};
use crate::clock::monotonic;
use crate::domain::{ChunkId, Lsn, Record};
use crate::eventlog::{LogReader, readable};
use crate::replay::archive;
use crate::replay::source::{self, Imported};
use crate::views::Held;

/// Records read between two rests.
const RECORDS_LEN_MAX: usize = 2_048;

/// Chunks, sorted.
#[derive(Debug, Default)]
pub(super) struct Marks {
    chunks: Vec<ChunkId>,
    sorted: usize,
}

impl Marks {
    fn add(&mut self, chunk: ChunkId) {
        self.chunks.push(chunk);
        // Many records name the same chunks; without this the list would grow with the log.
        if self.chunks.len() >= 2 * self.sorted.max(RECORDS_LEN_MAX) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.chunks.sort_unstable();
        self.chunks.dedup();
        self.sorted = self.chunks.len();
    }

    /// Whether a chunk is referred to. Only after the last one was added.
    pub(super) fn contains(&self, chunk: &ChunkId) -> bool {
        self.chunks.binary_search(chunk).is_ok()
    }
}

impl Round {
    /// Everything that unretired jobs, registered workers, recordings and running replays refer to.
    pub(super) fn mark(&self) -> Result<Marks, Failed> {
        let mut marks = Marks::default();
        let Some(log) = self.handle.log() else { return Ok(marks) };
        // One log for all of it: its oldest records may be folded meanwhile.
        let log = &log.pinned();
        let mut names = Names::new(&**log, &self.store);
        let held = self.handle.read(|published| published.views.held());
        let pins = self.pins(&**log, &held)?;
        self.each_readable(&**log, held.lsn(), |record| {
            let lsn = record.lsn;
            for needed in needed(&held, &pins, record) {
                if let Needed::Skeleton(skeleton) = needed {
                    self.mark_imported(&mut marks, skeleton)?;
                }
                names.of::<Failed>(needed, lsn, &mut |chunk, _| marks.add(chunk))?;
            }
            Ok(())
        })?;
        marks.sort();
        Ok(marks)
    }

    fn pins(&self, log: &dyn LogReader, held: &Held) -> Result<Pins, Failed> {
        let mut pins = Pins::new(held);
        for span in pins.spans(held.lsn()) {
            self.each_record(log, span, |record| {
                pins.look(&record);
                Ok(())
            })?;
        }
        Ok(pins)
    }

    /// Reads what is kept from before the log's first record, and the log.
    fn each_readable(
        &self,
        log: &dyn LogReader,
        last: Lsn,
        mut look: impl FnMut(Record) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let first = log.first();
        let mut began = monotonic();
        for (count, record) in (1_usize..).zip(readable(log, Lsn::FIRST, Lsn(first.0 - 1))) {
            look(record?)?;
            if count.is_multiple_of(RECORDS_LEN_MAX) {
                self.rest(began)?;
                began = monotonic();
            }
        }
        self.each_record(log, first..=last, look)
    }

    /// Reads a part of the log in order, and leaves the machine to others in between.
    fn each_record(
        &self,
        log: &dyn LogReader,
        range: RangeInclusive<Lsn>,
        mut look: impl FnMut(Record) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let (mut next, last) = range.into_inner();
        while next <= last {
            let began = monotonic();
            let from = next;
            for record in log.scan(next, last).take(RECORDS_LEN_MAX) {
                let record = record?;
                next = record.lsn.next();
                look(record)?;
            }
            if next == from {
                break;
            }
            self.rest(began)?;
        }
        Ok(())
    }

    fn mark_imported(&self, marks: &mut Marks, skeleton: ChunkId) -> Result<(), Failed> {
        let mut mark = || {
            let imported = Imported::open(self.store.clone(), &skeleton)?;
            for entry in imported.skeleton().chunks() {
                marks.add(entry?.chunk);
            }
            Ok(())
        };
        match mark() {
            // Missing or damaged, which no mark can mend: nobody can say what it names.
            Err(_) if !self.store.contains(&skeleton) => Ok(()),
            Err(source::Error::Archive(archive::Error::Refused { .. })) => Ok(()),
            marked => Ok(marked?),
        }
    }
}
