//! Making the archive of a recording.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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
        let value = log.value(lsn)?.ok_or(Error::Missing(lsn))?;
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

/// Reads the records; each value of the range also goes to `each`. Decoding takes the most time, so
/// another thread does most of it.
fn find(
    log: &dyn LogReader,
    range: Range,
    hints: &dyn Hints,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Found, Error> {
    let mut chunks = ChunkSet::default();
    let mut selector = thread::scope(|scope| {
        let (sender, batches) = sync_channel(BATCHES);
        let selecting = thread::Builder::new()
            .name("recorded".into())
            .spawn_scoped(scope, move || select(range, batches))
            .map_err(Error::Thread)?;
        let read = read(log, range, each, &sender, &mut chunks);
        drop(sender);
        let selected = selecting.join().map_err(|_| Error::Panicked)?;
        // When it failed, that is also why reading stopped early.
        let (selector, also) = selected?;
        read?;
        chunks.extend(also);
        Ok::<_, Error>(selector)
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

/// Successive records on their way to the thread that selects.
enum Batch {
    /// As they are stored.
    Values(Vec<(Lsn, Bytes)>),
    /// Decoded, and their references noted.
    Records(Vec<Record>),
}

/// Reads the values of the range and sends them on. When the other thread is behind, it does part of
/// that one's work and notes references in `chunks`.
fn read(
    log: &dyn LogReader,
    range: Range,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    sender: &SyncSender<Batch>,
    chunks: &mut ChunkSet,
) -> Result<(), Error> {
    let mut next = range.start;
    let mut values = log.scan_values(range.start, range.stop);
    loop {
        let mut batch = Vec::with_capacity(BATCH_LEN);
        for value in values.by_ref().take(BATCH_LEN) {
            let (lsn, value) = value?;
            if lsn != next {
                return Err(Error::Missing(next));
            }
            next = next.next();
            each(&value)?;
            batch.push((lsn, value));
        }
        if batch.is_empty() {
            return if next <= range.stop { Err(Error::Missing(next)) } else { Ok(()) };
        }
        let gone = match sender.try_send(Batch::Values(batch)) {
            Err(TrySendError::Full(Batch::Values(values))) => {
                sender.send(Batch::Records(decode(values, chunks)?)).is_err()
            }
            sent => sent.is_err(),
        };
        if gone {
            return Ok(());
        }
    }
}

fn select(range: Range, batches: Receiver<Batch>) -> Result<(Selector, ChunkSet), Error> {
    let mut selector = Selector::new(range.start, range.stop);
    let mut chunks = ChunkSet::default();
    for batch in batches {
        let records = match batch {
            Batch::Values(values) => decode(values, &mut chunks)?,
            Batch::Records(records) => records,
        };
        for record in &records {
            selector.within(record);
        }
    }
    Ok((selector, chunks))
}

/// Decodes successive records and notes what they refer to.
fn decode(values: Vec<(Lsn, Bytes)>, chunks: &mut ChunkSet) -> Result<Vec<Record>, Error> {
    let decode = |(lsn, value): (Lsn, Bytes)| {
        let decoded = codec::decode(lsn, &value);
        let (record, _) = decoded.map_err(|source| Error::Record { lsn, source })?;
        references::note(chunks, &record);
        Ok(record)
    };
    values.into_iter().map(decode).collect()
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
