//! Reading the files of a backup, and checking all of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bytes::Bytes;

use super::base::{self, Content};
use super::container::{Kind, MISSING, Piece, Reader, list_entries, log_values};
use super::manifest::{Manifest, Part, PartKind};
use super::{Error, Listener, Progress};
use crate::domain::{ChunkId, ContentHash, Lsn, sentence};
use crate::eventlog::codec::{self, Chain};

/// Takes the blocks of a file.
type EachBlock<'a> = &'a mut dyn FnMut(Kind, &[u8]) -> Result<(), Stop>;

/// Calls `each` with every block of a file, in order. What it was given is only sound as a whole
/// when this succeeds: the hash of the file is compared at its end.
pub(super) fn blocks(dir: &Path, part: &Part, each: EachBlock<'_>) -> Result<(), Error> {
    let path = dir.join(&part.name);
    let file = File::open(&path).map_err(|source| Error::io("open", &path, source))?;
    let mut reader = Reader::open(BufReader::with_capacity(1 << 18, file), &path)?;
    while let Some((kind, payload)) = reader.next()? {
        match each(kind, payload) {
            Ok(()) => {}
            Err(Stop::Damaged(what)) => return Err(reader.damaged(what)),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Enough) => return Ok(()),
        }
    }
    let (hash, bytes) = reader.hash();
    if (bytes, hash.to_hex().as_str()) != (part.bytes, part.hash.as_str()) {
        return Err(reader.damaged("it is not the file that the manifest names"));
    }
    Ok(())
}

/// Why a file is read no further.
pub(super) enum Stop {
    /// What is in the block can't be.
    Damaged(String),
    Failed(Error),
    Enough,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn unexpected(kind: Kind) -> Stop {
    Stop::Damaged(format!("a block of kind {kind:?} has no place here"))
}

/// Follows records: that none is missing, and each follows the one before it.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) last: Lsn,
    pub(super) chain: Chain,
}

impl Follower {
    pub(super) const START: Self = Self { last: Lsn::ZERO, chain: Chain::START };

    pub(super) fn step(&mut self, lsn: Lsn, value: &[u8]) -> Result<(), String> {
        if lsn != self.last.next() {
            return Err(format!("record {lsn} stands where {} belongs", self.last.next()));
        }
        let (_, after) = codec::decode(lsn, value)
            .map_err(|error| format!("record {lsn} is not readable: {}", sentence(&error)))?;
        if after != self.chain {
            return Err(format!("record {lsn} does not follow from the one before it"));
        }
        *self = Self { last: lsn, chain: Chain::of(lsn, value) };
        Ok(())
    }
}

/// Reads all records in order, checked, from what they follow on.
pub(super) fn read_log(
    dir: &Path,
    manifest: &Manifest,
    mut follower: Follower,
    each: &mut dyn FnMut(Vec<(Lsn, Bytes)>) -> Result<(), Stop>,
) -> Result<(), Error> {
    for part in manifest.of(PartKind::Log) {
        let mut enough = false;
        blocks(dir, part, &mut |kind, payload| {
            let Kind::Log = kind else { return Err(unexpected(kind)) };
            let values = log_values(payload)
                .ok_or_else(|| Stop::Damaged("a block of records breaks off".to_owned()))?;
            for (lsn, value) in &values {
                follower.step(*lsn, value).map_err(Stop::Damaged)?;
            }
            let told = each(values);
            enough = matches!(told, Err(Stop::Enough));
            told
        })?;
        if enough {
            return Ok(());
        }
    }
    if (follower.last, hex::encode(follower.chain.0)) != (manifest.lsn, manifest.chain.clone()) {
        let what = format!("its last record is {}, which is not the manifest's", follower.last);
        return Err(Error::Damaged { path: dir.to_owned(), offset: 0, what });
    }
    Ok(())
}

/// The entries of a list.
pub(super) fn read_list(dir: &Path, part: &Part) -> Result<Vec<(ChunkId, u64)>, Error> {
    let mut entries = Vec::new();
    blocks(dir, part, &mut |kind, payload| {
        let Kind::List = kind else { return Err(unexpected(kind)) };
        let more = list_entries(payload);
        entries.extend(more.ok_or_else(|| Stop::Damaged("a list breaks off".to_owned()))?);
        Ok(())
    })?;
    Ok(entries)
}

/// Follows the pieces of chunks, which come in order and one chunk after another.
#[derive(Default)]
pub(super) struct Assembly {
    open: Option<(ChunkId, u64, blake3::Hasher)>,
}

/// What a piece led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Assembled {
    More,
    /// The chunk is whole and is what its name says.
    Whole,
    /// It is whole and has the content of another.
    Other(ChunkId),
}

impl Assembly {
    pub(super) fn push(&mut self, piece: &Piece<'_>) -> Result<Assembled, String> {
        let open = self.open.take().filter(|_| piece.offset > 0);
        let (id, next, mut hasher) = open.unwrap_or_else(|| (piece.id, 0, blake3::Hasher::new()));
        if (id, next) != (piece.id, piece.offset) {
            return Err(format!("a piece of chunk {} is out of place", piece.id));
        }
        hasher.update(piece.bytes);
        if piece.is_last() {
            let found = ChunkId(ContentHash::from_blake3(&hasher.finalize()));
            return Ok(if found == id { Assembled::Whole } else { Assembled::Other(found) });
        }
        if piece.bytes.is_empty() {
            return Err(format!("a piece of chunk {id} is empty"));
        }
        self.open = Some((id, next + piece.bytes.len() as u64, hasher));
        Ok(Assembled::More)
    }
}

/// Takes the chunks of a file of chunks.
pub(super) trait Sink {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), Error>;
    /// The pieces since the last end were those of a chunk that is whole, or of none.
    fn end(&mut self, id: ChunkId, whole: bool) -> Result<(), Error>;
}

/// Reads the chunks of a file, checked.
pub(super) fn read_chunks(dir: &Path, part: &Part, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut assembly = Assembly::default();
    blocks(dir, part, &mut |kind, payload| {
        let breaks_off = || Stop::Damaged("a block of a chunk breaks off".to_owned());
        match kind {
            Kind::Piece => {
                let piece = Piece::of(payload).ok_or_else(breaks_off)?;
                let assembled = assembly.push(&piece).map_err(Stop::Damaged)?;
                sink.piece(&piece)?;
                if assembled != Assembled::More {
                    // One of another content is followed by the word that it is lost.
                    sink.end(piece.id, assembled == Assembled::Whole)?;
                }
                Ok(())
            }
            Kind::Lost => {
                let id = payload.first_chunk().ok_or_else(breaks_off)?;
                assembly = Assembly::default();
                Ok(sink.end(ChunkId(ContentHash(*id)), false)?)
            }
            other => Err(unexpected(other)),
        }
    })
}

/// What was found in a backup.
#[derive(Debug)]
pub struct Verified {
    pub manifest: Manifest,
    /// Everything that is wrong with it.
    pub faults: Vec<Error>,
    pub chunks: u64,
}

#[derive(Default)]
struct Names {
    whole: BTreeSet<ChunkId>,
    bytes: u64,
}

impl Sink for Names {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), Error> {
        self.bytes += piece.bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self, id: ChunkId, whole: bool) -> Result<(), Error> {
        if whole {
            self.whole.insert(id);
        }
        Ok(())
    }
}

/// Reads every file of a backup and compares it with the manifest; does not stop at the first that is
/// damaged.
pub fn verify(dir: &Path, listener: Listener<'_>) -> Result<Verified, Error> {
    let manifest = Manifest::load(dir)?.ok_or_else(|| {
        Error::Refused(format!("{} is no backup: it has no manifest", dir.display()))
    })?;
    let mut faults = Vec::new();
    let mut progress = Progress {
        records_total: manifest.lsn.0.saturating_sub(manifest.base().0),
        bytes_total: manifest.of(PartKind::Chunks).map(|part| part.bytes).sum(),
        ..Progress::default()
    };
    let mut start = Some(Follower::START).filter(|_| manifest.base() == Lsn::ZERO);
    let base = base::read(dir, &manifest, &mut |content| {
        if let Content::Head(base) = content {
            start = Some(Follower { last: base.lsn, chain: base.chain });
        }
        Ok(())
    });
    faults.extend(base.err());
    // Without the head of a base state nobody knows what its first record has to follow.
    let log = start.map(|start| {
        read_log(dir, &manifest, start, &mut |values| {
            progress.records += values.len() as u64;
            if listener(progress) { Ok(()) } else { Err(Stop::Enough) }
        })
    });
    faults.extend(log.and_then(Result::err));
    let mut names = Names::default();
    for part in manifest.of(PartKind::Chunks) {
        faults.extend(read_chunks(dir, part, &mut names).err());
        progress.bytes += part.bytes;
        listener(progress);
    }
    for part in manifest.of(PartKind::List) {
        faults.extend(read_list(dir, part).err());
    }
    for part in manifest.of(PartKind::Held) {
        match read_list(dir, part) {
            Err(error) => faults.push(error),
            Ok(held) => {
                let missing =
                    |(id, bytes): &&(ChunkId, u64)| *bytes != MISSING && !names.whole.contains(id);
                faults.extend(held.iter().find(missing).map(|(id, _)| Error::Damaged {
                    path: dir.to_owned(),
                    offset: 0,
                    what: format!("chunk {id} is in none of its files"),
                }));
            }
        }
    }
    Ok(Verified { manifest, faults, chunks: names.whole.len() as u64 })
}
