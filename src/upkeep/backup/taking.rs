//! A stream on its way into the files of a backup.

use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};

use super::base::{self, Content};
use super::container::{
    ENTRIES_MAX, Kind, MISSING, Piece, Reader, Writer, list_block, list_entries, log_values,
};
use super::manifest::{Part, PartKind};
use super::parts::{Assembled, Assembly, Follower};
use super::{Error, Progress};
use crate::domain::{ChunkId, ContentHash, Lsn};

/// Files of chunks and of records are begun anew at this length, in bytes.
const PART_BYTES: u64 = 256 << 20;
/// A file being written.
struct PartFile {
    part: Part,
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
}

impl PartFile {
    fn create(dir: &Path, name: String, kind: PartKind) -> Result<Self, Error> {
        let path = dir.join(&name);
        let failed = |source| Error::io("create", &path, source);
        let file = File::create(&path).map_err(failed)?;
        let writer = Writer::new(BufWriter::with_capacity(1 << 18, file)).map_err(failed)?;
        let part = Part { name, kind, bytes: 0, hash: String::new(), first: None, last: None };
        Ok(Self { part, path, writer })
    }

    fn block(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        self.writer.block(kind, payload).map_err(|source| Error::io("write", &self.path, source))
    }

    /// Ends it, durable.
    fn finish(self) -> Result<Part, Error> {
        let Self { mut part, path, writer } = self;
        let failed = |source| Error::io("write", &path, source);
        let (hash, bytes, out) = writer.finish().map_err(failed)?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        part.bytes = bytes;
        part.hash = hash.to_hex().to_string();
        Ok(part)
    }
}

/// A stream on its way into the folder.
pub(super) struct Taking<'a> {
    dir: &'a Path,
    runs: u64,
    pub(super) follower: Follower,
    base: Option<(base::Parts, PartFile)>,
    log: Option<PartFile>,
    chunks: Option<PartFile>,
    assembly: Assembly,
    /// In the file of chunks that is being written.
    whole: Vec<(ChunkId, u64)>,
    held: Vec<(ChunkId, u64)>,
    lost: Vec<ChunkId>,
    parts: Vec<Part>,
    pub(super) told: Progress,
    chunks_taken: u64,
}

pub(super) type Finished = ((Vec<Part>, u64), Part, u64, Progress);

impl<'a> Taking<'a> {
    pub(super) fn new(dir: &'a Path, runs: u64, follower: Follower, told: Progress) -> Self {
        Self {
            dir,
            runs,
            follower,
            base: None,
            log: None,
            chunks: None,
            assembly: Assembly::default(),
            whole: Vec::new(),
            held: Vec::new(),
            lost: Vec::new(),
            parts: Vec::new(),
            told,
            chunks_taken: 0,
        }
    }

    /// Takes a block of the stream.
    pub(super) fn block(&mut self, kind: Kind, stream: &Reader<impl Read>) -> Result<(), Error> {
        let payload = stream.payload();
        let breaks_off = || stream.damaged("a block breaks off");
        if let Kind::Base | Kind::State | Kind::Kept = kind {
            return self.base(kind, stream);
        }
        self.end_base(stream)?;
        match kind {
            Kind::Log => {
                let values = log_values(payload).ok_or_else(breaks_off)?;
                let first = self.follower.last.next();
                for (lsn, value) in &values {
                    self.follower.step(*lsn, value).map_err(|what| stream.damaged(what))?;
                }
                self.told.records += values.len() as u64;
                self.log(first, payload)
            }
            Kind::List => {
                self.held.extend(list_entries(payload).ok_or_else(breaks_off)?);
                Ok(())
            }
            Kind::Piece => {
                let piece = Piece::of(payload).ok_or_else(breaks_off)?;
                let assembled = self.assembly.push(&piece).map_err(|what| stream.damaged(what))?;
                self.told.bytes += piece.bytes.len() as u64;
                self.chunks()?.block(kind, payload)?;
                match assembled {
                    Assembled::More => Ok(()),
                    Assembled::Whole => self.end(piece.id, piece.total),
                    Assembled::Other(found) => self.lose(piece.id, &format!("it is {found}")),
                }
            }
            Kind::Lost => {
                let (id, why) = payload.split_first_chunk().ok_or_else(breaks_off)?;
                self.assembly = Assembly::default();
                self.lose(ChunkId(ContentHash(*id)), &String::from_utf8_lossy(why))
            }
            Kind::Head | Kind::Base | Kind::State | Kind::Kept | Kind::End => {
                Err(stream.damaged("a block is out of place"))
            }
        }
    }

    fn base(&mut self, kind: Kind, stream: &Reader<impl Read>) -> Result<(), Error> {
        let out_of_place = || stream.damaged("a base state is out of place");
        if kind == Kind::Base {
            // Nothing can be before it.
            if self.follower.last != Lsn::ZERO || self.base.is_some() {
                return Err(out_of_place());
            }
            let file =
                PartFile::create(self.dir, format!("base-{:06}", self.runs), PartKind::Base)?;
            self.base = Some((base::Parts::default(), file));
        }
        let (parts, file) = self.base.as_mut().ok_or_else(out_of_place)?;
        let content = parts.push(kind, stream.payload()).map_err(|what| stream.damaged(what))?;
        if let Content::Head(base) = content {
            self.follower = Follower { last: base.lsn, chain: base.chain };
            file.part.last = Some(base.lsn);
        }
        file.block(kind, stream.payload())
    }

    /// Ends the file of a base state, when there is one and all of it has come.
    pub(super) fn end_base(&mut self, stream: &Reader<impl Read>) -> Result<(), Error> {
        let Some((parts, file)) = self.base.take() else { return Ok(()) };
        parts.end().map_err(|what| stream.damaged(what))?;
        self.parts.push(file.finish()?);
        Ok(())
    }

    fn log(&mut self, first: Lsn, payload: &[u8]) -> Result<(), Error> {
        if self.log.as_ref().is_some_and(|log| log.writer.bytes >= PART_BYTES) {
            self.parts.extend(self.log.take().map(PartFile::finish).transpose()?);
        }
        let log = if let Some(log) = &mut self.log {
            log
        } else {
            let name = format!("log-{:020}", first.0);
            let mut log = PartFile::create(self.dir, name, PartKind::Log)?;
            log.part.first = Some(first);
            self.log.insert(log)
        };
        log.part.last = Some(self.follower.last);
        log.block(Kind::Log, payload)
    }

    /// The file of chunks that is being written.
    fn chunks(&mut self) -> Result<&mut PartFile, Error> {
        if self.chunks.is_none() {
            let name = format!("chunks-{:06}-{:06}", self.runs, self.parts.len());
            self.chunks = Some(PartFile::create(self.dir, name, PartKind::Chunks)?);
        }
        let gone = || Error::Refused("a file of chunks was lost".to_owned());
        self.chunks.as_mut().ok_or_else(gone)
    }

    fn end(&mut self, id: ChunkId, bytes: u64) -> Result<(), Error> {
        self.whole.push((id, bytes));
        self.chunks_taken += 1;
        if self.chunks.as_ref().is_some_and(|chunks| chunks.writer.bytes >= PART_BYTES) {
            self.end_chunks()?;
        }
        Ok(())
    }

    fn lose(&mut self, id: ChunkId, why: &str) -> Result<(), Error> {
        tracing::warn!(chunk = %id, why, "a chunk is not in the backup");
        self.lost.push(id);
        self.chunks()?.block(Kind::Lost, &[id.0.as_bytes(), why.as_bytes()].concat())
    }

    /// Ends a file of chunks, and writes the list of what is in it.
    fn end_chunks(&mut self) -> Result<(), Error> {
        let Some(chunks) = self.chunks.take() else { return Ok(()) };
        let part = chunks.finish()?;
        let name = format!("{}.list", part.name);
        self.parts.push(part);
        let entries = std::mem::take(&mut self.whole);
        self.parts.push(write_list(self.dir, name, PartKind::List, &entries)?);
        Ok(())
    }

    /// The new files with the number of chunks in them, the list of what is held, how many were lost.
    pub(super) fn finish(mut self) -> Result<Finished, Error> {
        self.parts.extend(self.log.take().map(PartFile::finish).transpose()?);
        self.end_chunks()?;
        self.lost.sort_unstable();
        for (id, bytes) in &mut self.held {
            if self.lost.binary_search(id).is_ok() {
                *bytes = MISSING;
            }
        }
        let name = format!("held-{:06}", self.runs);
        let held = write_list(self.dir, name, PartKind::Held, &self.held)?;
        Ok(((self.parts, self.chunks_taken), held, self.lost.len() as u64, self.told))
    }
}

fn write_list(
    dir: &Path,
    name: String,
    kind: PartKind,
    entries: &[(ChunkId, u64)],
) -> Result<Part, Error> {
    let mut list = PartFile::create(dir, name, kind)?;
    for entries in entries.chunks(ENTRIES_MAX) {
        list.block(Kind::List, &list_block(entries))?;
    }
    list.finish()
}
