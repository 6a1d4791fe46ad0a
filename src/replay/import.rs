//! Taking in an archive: its chunks into the store, and what the log has to be told.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use super::archive::{self, Archive, ReadAt as _};
use super::source;
use crate::chunks::{self, Batch, Hold, Store};
use crate::domain::{ChunkId, Event, Imported, Lsn, NewImport, NewWorker, ObjectRef, WorkerId};
use crate::wire::cb::Object;
use crate::wire::descriptor::Descriptor;

/// Most workers of one archive: their registrations go into the log in one piece.
pub const WORKERS_LEN_MAX: usize = 1_000;

/// Chunks up to this size are put together before they are stored, in bytes.
const SMALL_BYTES_MAX: u64 = 256 << 10;
/// Larger ones go to the store in slices.
const SLICE_BYTES: usize = 512 << 10;

/// Why an archive was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Before the byte where its chunk data begin.
    #[error("more than {WORKERS_LEN_MAX} workers have jobs in the archive")]
    TooManyWorkers { offset: u64 },
    #[error("cannot store what is in the archive")]
    Chunks(#[from] chunks::Error),
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Source(#[from] source::Error),
    /// Whoever was asked whether to go on said no.
    #[error("it was given up")]
    GivenUp,
}

/// What is to be told to the log, with what keeps the chunks that it refers to until it is.
#[derive(Debug)]
pub struct TakenIn {
    pub new: NewImport,
    pub hold: Hold,
}

/// Verifies an archive, and then stores its chunks, and the rest of it as one more chunk. `goes_on`
/// is asked now and then.
///
/// Nothing refers to them before the log does, so whatever happens on the way leaves nothing but
/// chunks to be collected.
pub fn take_in(file: File, store: &Store, goes_on: &dyn Fn() -> bool) -> Result<TakenIn, Error> {
    (&file).rewind().map_err(Error::Read)?;
    let watched = Watched { file: &file, goes_on };
    let found = archive::verify(watched, &mut |_| ()).map_err(|error| match error {
        archive::Error::Read { .. } if !goes_on() => Error::GivenUp,
        error => error.into(),
    })?;
    if found.workers.len() > WORKERS_LEN_MAX {
        return Err(Error::TooManyWorkers { offset: found.skeleton_bytes });
    }
    let hold = store.hold();
    let archive = Archive::open(file)?;
    let mut batch = store.batch();
    for entry in archive.chunks() {
        let entry = entry?;
        if let Some(bytes) = entry.bytes {
            let content = archive.content(&entry);
            store_chunk(content, store, &mut batch, entry.chunk, bytes, goes_on)?;
        }
    }
    batch.commit()?;
    let imported = Imported {
        skeleton: store_skeleton(&archive, store)?,
        start: found.head.start,
        stop: found.head.stop,
        jobs: found.jobs,
        chunks: found.chunks,
        bytes: found.bytes,
    };
    let mut workers = Vec::new();
    for (worker, registered) in found.workers {
        workers.extend(new_worker(&archive, worker, registered, store)?);
    }
    Ok(TakenIn { new: NewImport { name: found.head.name, archive: imported, workers }, hold })
}

/// Reads a file for as long as it goes on.
struct Watched<'a> {
    file: &'a File,
    goes_on: &'a dyn Fn() -> bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.goes_on)() { self.file.read(buffer) } else { Err(io::Error::other("given up")) }
    }
}

fn store_chunk(
    mut content: impl Read,
    store: &Store,
    batch: &mut Batch,
    chunk: ChunkId,
    bytes: u64,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), Error> {
    if !goes_on() {
        return Err(Error::GivenUp);
    }
    if bytes <= SMALL_BYTES_MAX {
        let mut whole = Vec::new();
        content.read_to_end(&mut whole).map_err(Error::Read)?;
        batch.put(chunk, &whole)?;
        return Ok(());
    }
    let mut writer = store.writer(chunk)?;
    let mut slice = vec![0; SLICE_BYTES];
    loop {
        let count = content.read(&mut slice).map_err(Error::Read)?;
        if count == 0 {
            break;
        }
        if !goes_on() {
            return Err(Error::GivenUp);
        }
        writer.write(slice.get(..count).unwrap_or_default())?;
    }
    batch.add(writer.verify()?)?;
    Ok(())
}

fn store_skeleton(archive: &Archive<File>, store: &Store) -> Result<ChunkId, Error> {
    let mut spool = store.spool()?;
    let mut slice = vec![0; SLICE_BYTES];
    let (mut offset, mut left) = (0, archive.skeleton_bytes());
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(SLICE_BYTES).min(SLICE_BYTES);
        let part = slice.get_mut(..room).unwrap_or_default();
        let count = archive.input().read_at(part, offset).map_err(Error::Read)?;
        if count == 0 {
            return Err(Error::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        spool.write(part.get(..count).unwrap_or_default())?;
        offset += count as u64;
        left -= count as u64;
    }
    Ok(spool.finish()?)
}

/// A worker that can be made known: every chunk of its descriptor is held.
fn new_worker(
    archive: &Archive<File>,
    worker: WorkerId,
    registered: Lsn,
    store: &Store,
) -> Result<Option<NewWorker>, Error> {
    let event = archive.record(registered)?.map(|record| record.event);
    let Some(Event::WorkerRegistered { descriptor: at, .. }) = event else { return Ok(None) };
    // The record of a stranger says nothing that its descriptor doesn't.
    let descriptor = descriptor(&at, store)?.filter(|descriptor| descriptor.id() == worker);
    let Some(descriptor) = descriptor else { return Ok(None) };
    let mut chunks = descriptor.chunks();
    if let ObjectRef::Chunk(chunk) = at {
        chunks.push(chunk);
    }
    // Those that were missing when the archive was written may be here.
    let (missing, _) = store.want(&chunks)?;
    Ok(missing.is_empty().then(|| descriptor.registration(at)))
}

/// A descriptor that is held and is one.
fn descriptor(at: &ObjectRef, store: &Store) -> Result<Option<Descriptor>, Error> {
    let bytes = match at {
        ObjectRef::Inline(blob) => blob.0.clone(),
        ObjectRef::Chunk(chunk) => {
            let mut content = match store.read(chunk) {
                Ok(content) if content.len() <= source::OBJECT_BYTES_MAX => content,
                Ok(_) | Err(chunks::Error::Missing(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(Error::Read)?;
            bytes.into()
        }
    };
    Ok(Object::parse(bytes).ok().and_then(|object| Descriptor::parse(object).ok()))
}
