//! Looking up every chunk that is needed.

use std::io::Read as _;

use super::{Error, Listener, Phase, Problem, Report, Steps};
use crate::chunks::{self, Store};
use crate::domain::{ChunkId, ContentHash, Lsn};
use crate::engine::keeper::{Names, Needed, Pins, needed};
use crate::eventlog::{LogReader, readable};
use crate::replay::source::Imported;
use crate::views::Held;

/// Chunks that are not yet sorted in.
const FRESH_LEN_MAX: usize = 4_096;

/// Which chunks are needed, and by which record first.
#[derive(Default)]
struct Census {
    chunks: Vec<(ChunkId, Lsn)>,
    sorted: usize,
}

impl Census {
    fn add(&mut self, chunk: ChunkId, by: Lsn) {
        self.chunks.push((chunk, by));
        if self.chunks.len() >= 2 * self.sorted.max(FRESH_LEN_MAX) {
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.chunks.sort_unstable();
        // The first of each is that of the oldest record.
        self.chunks.dedup_by_key(|(chunk, _)| *chunk);
        self.sorted = self.chunks.len();
    }
}

/// Reads every chunk that something held needs.
pub(super) fn check(
    log: &dyn LogReader,
    store: &Store,
    held: &Held,
    report: &mut Report,
    listener: Listener<'_>,
) -> Result<(), Error> {
    let chunks = needed_chunks(log, store, held)?;
    report.chunks = chunks.len() as u64;
    let mut steps = Steps::new(Phase::Chunks, report.chunks, listener)?;
    for (chunk, by) in chunks {
        match hash(store, &chunk) {
            Ok((bytes, found)) if ChunkId(found) == chunk => report.bytes += bytes,
            Ok((_, found)) => {
                let error = format!("chunk {chunk} has the content of {found}");
                let (lsn, chunk) = (Some(by), Some(chunk));
                report.add(Problem { kind: "damaged_chunk", lsn, chunk, error });
            }
            Err(chunks::Error::Missing(_)) => {
                let error = format!("chunk {chunk}, which record {by} needs, is not held");
                let (lsn, chunk) = (Some(by), Some(chunk));
                report.add(Problem { kind: "missing_chunk", lsn, chunk, error });
            }
            Err(wrong @ chunks::Error::Damaged { .. }) => {
                let (lsn, chunk) = (Some(by), Some(chunk));
                let error = wrong.to_string();
                report.add(Problem { kind: "damaged_chunk", lsn, chunk, error });
            }
            Err(other) => return Err(other.into()),
        }
        steps.step()?;
    }
    Ok(())
}

/// Every chunk that something held needs, in order, and the oldest record that needs it.
pub(super) fn needed_chunks(
    log: &dyn LogReader,
    store: &Store,
    held: &Held,
) -> Result<Vec<(ChunkId, Lsn)>, Error> {
    let mut finder = Finder { log, store, census: Census::default() };
    finder.find(held)?;
    let mut census = finder.census;
    census.sort();
    Ok(census.chunks)
}

/// Length and hash of what is held under a name.
fn hash(store: &Store, chunk: &ChunkId) -> Result<(u64, ContentHash), chunks::Error> {
    let mut reader = store.read(chunk)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(chunks::Error::of_read)?;
        if count == 0 {
            return Ok((bytes, ContentHash::from_blake3(&hasher.finalize())));
        }
        bytes += count as u64;
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Finds what is needed, as the collection of chunks does.
struct Finder<'a> {
    log: &'a dyn LogReader,
    store: &'a Store,
    census: Census,
}

impl Finder<'_> {
    fn find(&mut self, held: &Held) -> Result<(), Error> {
        let mut pins = Pins::new(held);
        for span in pins.spans(held.lsn()) {
            for record in self.log.scan(*span.start(), *span.end()) {
                pins.look(&record?);
            }
        }
        let mut names = Names::new(self.log, self.store);
        for record in readable(self.log, Lsn::FIRST, held.lsn()) {
            let record = record?;
            let lsn = record.lsn;
            for needed in needed(held, &pins, record) {
                if let Needed::Skeleton(skeleton) = needed {
                    self.add_imported(skeleton, lsn);
                }
                let census = &mut self.census;
                names.of::<Error>(needed, lsn, &mut |chunk, by| census.add(chunk, by))?;
            }
        }
        Ok(())
    }

    /// What the archive of an imported recording brought; chunks it came without are not needed.
    fn add_imported(&mut self, skeleton: ChunkId, by: Lsn) {
        // A skeleton that can't be read is noted when the chunks are looked up.
        let Ok(imported) = Imported::open(self.store.clone(), &skeleton) else { return };
        for entry in imported.skeleton().chunks().map_while(Result::ok) {
            if entry.bytes.is_some() {
                self.census.add(entry.chunk, by);
            }
        }
    }
}
