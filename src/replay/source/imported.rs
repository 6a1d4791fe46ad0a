//! Recordings that came in an archive.

use std::io::Read;
use std::sync::Mutex;

use super::{Error, Recording, Records, in_store};
use crate::chunks::{self, Store};
use crate::domain::{self, ChunkId, Event, Lsn, Record};
use crate::eventlog::LogReader;
use crate::replay::archive::{Archive, Head, ReadAt};

/// A recording that was imported: its skeleton is one chunk, and the chunks it refers to are held.
pub struct Imported {
    skeleton: Archive<Mutex<chunks::Reader>>,
    store: Store,
}

impl Imported {
    /// The recording whose skeleton is that chunk.
    pub fn open(store: Store, skeleton: &ChunkId) -> Result<Self, Error> {
        let reader = store.read(skeleton)?;
        Ok(Self { skeleton: Archive::open(Mutex::new(reader))?, store })
    }

    /// Its skeleton.
    pub const fn skeleton(&self) -> &Archive<Mutex<chunks::Reader>> {
        &self.skeleton
    }
}

/// What the log says of a recording that was imported.
pub fn imported(log: &dyn LogReader, recording: Lsn) -> Result<domain::Imported, Error> {
    match log.get(recording)?.map(|record| record.event) {
        Some(Event::RecordingImported { archive, .. }) => Ok(archive),
        _ => Err(Error::Missing(recording)),
    }
}

impl Recording for Imported {
    fn head(&self) -> &Head {
        self.skeleton.head()
    }

    fn records(&self) -> Records<'_> {
        Box::new(self.skeleton.records().map(|record| record.map_err(Error::from)))
    }

    fn record(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        Ok(self.skeleton.record(lsn)?)
    }

    fn chunk_bytes(&self, chunk: &ChunkId) -> Result<Option<u64>, Error> {
        Ok(self.store.len(chunk))
    }

    fn chunk(&self, chunk: &ChunkId) -> Result<Option<Box<dyn Read + Send + '_>>, Error> {
        in_store(&self.store, chunk)
    }
}

/// An archive that was verified, where it lies.
impl<I: ReadAt> Recording for Archive<I> {
    fn head(&self) -> &Head {
        Self::head(self)
    }

    fn records(&self) -> Records<'_> {
        Box::new(Self::records(self).map(|record| record.map_err(Error::from)))
    }

    fn record(&self, lsn: Lsn) -> Result<Option<Record>, Error> {
        Ok(Self::record(self, lsn)?)
    }

    fn chunk_bytes(&self, chunk: &ChunkId) -> Result<Option<u64>, Error> {
        Ok(self.entry(chunk)?.and_then(|entry| entry.bytes))
    }

    fn chunk(&self, chunk: &ChunkId) -> Result<Option<Box<dyn Read + Send + '_>>, Error> {
        let entry = self.entry(chunk)?.filter(|entry| entry.bytes.is_some());
        Ok(entry.map(|entry| Box::new(self.content(&entry)) as Box<dyn Read + Send + '_>))
    }
}
