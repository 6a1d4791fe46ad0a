//! Making the archive of a recording.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use bytes::Bytes;

use super::archive::{Encoder, Error as ArchiveError};
use super::flagged::Flags;
use super::references::{self, ChunkSet, OBJECT_BYTES_MAX, REFERRED};
use super::selection::{Hints, Range, Selector};
use super::source::{Error, Imported, in_store, live};
use crate::chunks::Store;
use crate::domain::{ChunkId, Lsn, Record, WorkerId};
use crate::eventlog::{LogReader, codec};

/// Values that are handed to the thread that decodes them at once.
const BATCH_LEN: usize = 512;

/// Batches that wait for that thread.
const BATCHES: usize = 8;

/// What a recording comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    pub jobs: u64,
    /// Chunks that its records refer to.
    pub chunks: u64,
    /// Bytes of those that are held.
    pub bytes: u64,
}

/// Writes the archive of a recording of this instance. The same recording gives the same bytes,
/// whenever it is done, as long as no chunk goes missing.
pub fn live(
    log: &dyn LogReader,
    store: &Store,
    range: Range,
    hints: &dyn Hints,
    out: impl Write,
) -> Result<Size, Error> {
    let mut encoder = Encoder::new(out, &live::head(log, range)?)?;
    let Found { context, mut chunks, jobs, .. } =
        find(log, range, hints, &mut |value| Ok(encoder.log(value)?))?;
    for lsn in context {
        let value = log.scan_values(lsn, lsn).next().transpose()?;
        let (_, value) = value.ok_or(Error::Missing(lsn))?;
        encoder.context(lsn, &value)?;
    }
    follow(store, &mut chunks)?;
    let mut size = Size { jobs, ..Size::default() };
    let mut table = Vec::new();
    for (chunk, _) in chunks.sort() {
        let bytes = store.len(chunk);
        encoder.chunk(chunk, bytes)?;
        size.chunks += 1;
        size.bytes += bytes.unwrap_or(0);
        table.push((*chunk, bytes));
    }
    drop(chunks);
    for (chunk, bytes) in table {
        if let Some(bytes) = bytes {
            copy(store, &chunk, bytes, &mut encoder)?;
        }
    }
    finish(encoder)?;
    Ok(size)
}

/// Writes the archive that a recording was imported from.
pub fn imported(store: &Store, skeleton: &ChunkId, out: impl Write) -> Result<(), Error> {
    let opened = Imported::open(store.clone(), skeleton)?;
    let mut encoder = Encoder::of_skeleton(out, store.read(skeleton)?)?;
    for entry in opened.skeleton().chunks() {
        let entry = entry?;
        if let Some(bytes) = entry.bytes {
            copy(store, &entry.chunk, bytes, &mut encoder)?;
        }
    }
    finish(encoder)
}

/// What the archive of a recording of this instance would hold, and whose jobs these are in the
/// order of their first. Jobs may still be open.
pub fn measure(
    log: &dyn LogReader,
    store: &Store,
    range: Range,
    hints: &dyn Hints,
) -> Result<(Size, Vec<WorkerId>), Error> {
    let Found { mut chunks, jobs, workers, .. } = find(log, range, hints, &mut |_| Ok(()))?;
    follow(store, &mut chunks)?;
    let mut size = Size { jobs, ..Size::default() };
    for (chunk, _) in chunks.sort() {
        size.chunks += 1;
        size.bytes += store.len(chunk).unwrap_or(0);
    }
    Ok((size, workers))
}

/// What the records of a recording tell.
struct Found {
    context: Vec<Lsn>,
    chunks: ChunkSet,
    jobs: u64,
    workers: Vec<WorkerId>,
}

/// Reads the records; each value of the range also goes to `each`. Another thread decodes them
/// meanwhile, which takes the most time.
fn find(
    log: &dyn LogReader,
    range: Range,
    hints: &dyn Hints,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Found, Error> {
    let (mut selector, mut chunks) = thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BATCHES);
        let decoding = thread::Builder::new()
            .name("recorded".into())
            .spawn_scoped(scope, move || decode(range, &receiver))
            .map_err(Error::Thread)?;
        let mut batch = Vec::with_capacity(BATCH_LEN);
        let mut next = range.start;
        for value in log.scan_values(range.start, range.stop) {
            let (lsn, value) = value?;
            if lsn != next {
                return Err(Error::Missing(next));
            }
            next = next.next();
            each(&value)?;
            batch.push((lsn, value));
            if batch.len() == BATCH_LEN {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_LEN));
                if sender.send(full).is_err() {
                    break;
                }
            }
        }
        // It has gone only when it failed, which joining tells.
        let _ = sender.send(batch);
        drop(sender);
        let decoded = decoding.join().map_err(|_| Error::Panicked)??;
        if next <= range.stop { Err(Error::Missing(next)) } else { Ok(decoded) }
    })?;
    for record in log.scan(range.stop.next(), range.settled) {
        let record = record?;
        if selector.after(&record) {
            references::note(&mut chunks, &record);
        }
    }
    let (recorded, context) =
        selector.finish(log, hints, &mut |record| references::note(&mut chunks, record))?;
    let (jobs, workers) = (recorded.jobs().len() as u64, recorded.workers().to_vec());
    Ok(Found { context, chunks, jobs, workers })
}

fn decode(
    range: Range,
    values: &Receiver<Vec<(Lsn, Bytes)>>,
) -> Result<(Selector, ChunkSet), Error> {
    let mut selector = Selector::new(range.start, range.stop);
    let mut chunks = ChunkSet::default();
    for batch in values {
        for (lsn, value) in batch {
            let decoded = codec::decode(lsn, &value);
            let (record, _): (Record, _) =
                decoded.map_err(|source| Error::Record { lsn, source })?;
            selector.within(&record);
            references::note(&mut chunks, &record);
        }
    }
    Ok((selector, chunks))
}

/// Adds what those chunks name that are objects.
fn follow(store: &Store, chunks: &mut ChunkSet) -> Result<(), Error> {
    let objects: Vec<(ChunkId, Flags)> =
        chunks.sort().iter().filter(|(_, flags)| references::is_object(*flags)).copied().collect();
    for (chunk, flags) in objects {
        let bytes = store.len(&chunk).filter(|bytes| *bytes <= OBJECT_BYTES_MAX);
        let content = if bytes.is_some() { in_store(store, &chunk)? } else { None };
        let Some(mut content) = content else { continue };
        let mut object = Vec::new();
        match content.read_to_end(&mut object) {
            Ok(_) => {}
            // It was damaged, and counts as missing from now on.
            Err(_) if store.len(&chunk).is_none() => continue,
            Err(source) => return Err(Error::Chunk { chunk, source }),
        }
        let object = Bytes::from(object);
        for kind in references::kinds(flags) {
            for named in references::named(kind, object.clone()) {
                chunks.add(named, REFERRED);
            }
        }
    }
    Ok(())
}

/// Copies a chunk, which must have the length that the table says.
fn copy(
    store: &Store,
    chunk: &ChunkId,
    bytes: u64,
    encoder: &mut Encoder<impl Write>,
) -> Result<(), Error> {
    let failed = |source| Error::Chunk { chunk: *chunk, source };
    let mut content = store.read(chunk)?;
    let mut buffer = vec![0; usize::try_from(bytes.min(1 << 18)).unwrap_or(0)];
    let mut left = bytes;
    while left > 0 {
        let count = content.read(&mut buffer).map_err(failed)?;
        let part = buffer.get(..count).filter(|part| !part.is_empty());
        let part = part.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        encoder.data(part)?;
        left = left
            .checked_sub(count as u64)
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    }
    Ok(())
}

fn finish(encoder: Encoder<impl Write>) -> Result<(), Error> {
    let offset = encoder.written();
    let mut out = encoder.finish()?;
    out.flush().map_err(|source| ArchiveError::Write { offset, source })?;
    Ok(())
}
