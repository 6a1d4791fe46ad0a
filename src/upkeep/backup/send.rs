//! The sending half: everything up to the newest LSN that a folder does not have yet, as a stream.

use std::io::{self, Read as _, Write};

use serde::{Deserialize, Serialize};

use super::container::{ENTRIES_MAX, Kind, PIECE_BYTES, Piece, Records, Writer, list_block};
use super::{Error, FORMAT, FORMAT_PLAIN, base};
use crate::chunks::{self, Store};
use crate::domain::{ChunkId, ContentHash, Lsn, sentence};
use crate::eventlog::codec::Chain;
use crate::eventlog::{LogReader, Value};
use crate::views::{LAYOUT, Published};

/// What a stream is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: u32,
    /// Chain hash of record 1, which no other instance has; none while there is none.
    pub(super) origin: Option<String>,
    /// The oldest record there is.
    pub(super) first: Lsn,
    /// The newest record, with its chain hash.
    pub(super) lsn: Lsn,
    pub(super) chain: String,
    /// What was asked for, with the chain hash of that record here, if there is such a record.
    pub(super) after: Lsn,
    pub(super) after_chain: Option<String>,
    /// Of the state at `lsn`, and by which rules it was folded.
    pub(super) digest: ContentHash,
    pub(super) layout: u32,
    /// Chunks that follow, and their bytes.
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

/// What a folder has already.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Records up to this one.
    pub after: Lsn,
    /// Chunks, by the first eight bytes of their names, in order.
    known: Vec<u64>,
}

/// What stands for a chunk in a [`Request`]: the first eight bytes of its name.
pub fn prefix_of(chunk: &ChunkId) -> [u8; 8] {
    chunk.0.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl Request {
    /// `known` is the prefixes of chunks one after another; none when it breaks off within one.
    pub fn new(after: Lsn, known: &[u8]) -> Option<Self> {
        let (prefixes, rest) = known.as_chunks::<8>();
        let mut known: Vec<u64> =
            prefixes.iter().map(|prefix| u64::from_be_bytes(*prefix)).collect();
        known.sort_unstable();
        rest.is_empty().then_some(Self { after, known })
    }

    fn knows(&self, chunk: &ChunkId) -> bool {
        self.known.binary_search(&u64::from_be_bytes(prefix_of(chunk))).is_ok()
    }
}

/// Writes what `request` lacks to `out`. `now` gives the published state; it is asked once. No chunk
/// is collected until all are written.
pub fn send(
    log: &dyn LogReader,
    store: &Store,
    request: &Request,
    now: impl FnOnce() -> Published,
    out: impl Write,
) -> Result<(), Error> {
    // In this order: what is held now stays as long as the hold because it is looked up under it,
    // and what is uploaded from here on because it is new. So all that the records of the state
    // refer to and that is held is in the list made after that.
    let _hold = store.hold();
    store.look_all(&store.ids(), &mut Vec::new());
    let state = now();
    // One log for all of it: its oldest records may be folded meanwhile. It has all of the state's.
    let log = &*log.pinned();
    let base = log.base();
    if base.is_some_and(|base| base.lsn > state.lsn()) {
        return Err(Error::Refused("the log was compacted just now; try again".to_owned()));
    }
    let base = base.filter(|_| request.after == Lsn::ZERO);
    let ids = store.ids();
    let length = |id: &ChunkId| store.len(id).unwrap_or(0);
    let wanted: Vec<ChunkId> = ids.iter().filter(|id| !request.knows(id)).copied().collect();
    let head = Head {
        format: if base.is_some() { FORMAT } else { FORMAT_PLAIN },
        origin: origin(log)?.map(hex_of),
        first: log.first(),
        lsn: state.lsn(),
        chain: hex_of(chain(log, state.lsn())?.unwrap_or(Chain::START)),
        after: request.after,
        after_chain: chain(log, request.after)?.map(hex_of),
        digest: state.digest(),
        layout: LAYOUT,
        chunks: wanted.len() as u64,
        bytes: wanted.iter().map(length).sum(),
    };
    drop(state);
    let mut out = Writer::new(out).map_err(sent)?;
    let text = serde_json::to_vec(&head).map_err(|error| sent(io::Error::other(error)))?;
    out.block(Kind::Head, &text).map_err(sent)?;
    if base.is_some() {
        base::send(log, &mut out)?;
    }
    send_log(log, &head, &mut out)?;
    for part in ids.chunks(ENTRIES_MAX) {
        let entries: Vec<_> = part.iter().map(|id| (*id, length(id))).collect();
        out.block(Kind::List, &list_block(&entries)).map_err(sent)?;
    }
    drop(ids);
    for id in wanted {
        if let Err(lost) = send_chunk(store, id, &mut out)? {
            let text = lost.get(..lost.len().min(512)).unwrap_or_default();
            let block = [id.0.as_bytes().as_slice(), text.as_bytes()].concat();
            out.block(Kind::Lost, &block).map_err(sent)?;
        }
    }
    out.finish().map_err(sent).map(drop)
}

/// The stream could not be written.
pub(super) fn sent(source: io::Error) -> Error {
    Error::io("write", std::path::Path::new("the backup"), source)
}

pub(super) fn hex_of(chain: Chain) -> String {
    hex::encode(chain.0)
}

/// The chain hash of record 1, if that can still be read.
fn origin(log: &dyn LogReader) -> Result<Option<Chain>, Error> {
    let value = log.value(Lsn::FIRST)?;
    Ok(value.map(|value| Chain::of(Lsn::FIRST, &value)))
}

/// The chain hash of a record, if it is there; before the first it is the one that all begin with.
fn chain(log: &dyn LogReader, lsn: Lsn) -> Result<Option<Chain>, Error> {
    if lsn == Lsn::ZERO {
        return Ok(Some(Chain::START));
    }
    Ok(log.chain(lsn)?)
}

fn send_log(log: &dyn LogReader, head: &Head, out: &mut Writer<impl Write>) -> Result<(), Error> {
    if head.after_chain.is_none() {
        // Whoever asked has another history, and will say so.
        return Ok(());
    }
    send_records(log.scan_values(head.after.next(), head.lsn), Kind::Log, out)
}

/// Sends records as they are stored, in blocks of this kind.
pub(super) fn send_records(
    values: impl Iterator<Item = Value>,
    kind: Kind,
    out: &mut Writer<impl Write>,
) -> Result<(), Error> {
    let mut records = Records::of(kind);
    for value in values {
        let (lsn, value) = value?;
        if let Some(full) = records.push(lsn, &value) {
            out.block(kind, &full).map_err(sent)?;
        }
    }
    if let Some(rest) = records.take() {
        out.block(kind, &rest).map_err(sent)?;
    }
    Ok(())
}

/// Sends a chunk; the inner error says why it can't be read. Its hash is the receiver's business.
fn send_chunk(
    store: &Store,
    id: ChunkId,
    out: &mut Writer<impl Write>,
) -> Result<Result<(), String>, Error> {
    let mut reader = match store.read(&id) {
        Ok(reader) => reader,
        Err(chunks::Error::Missing(_)) => return Ok(Err("it is not held any more".to_owned())),
        Err(other) => return Err(other.into()),
    };
    let total = reader.len();
    let mut buffer = vec![0; usize::try_from(total).unwrap_or(usize::MAX).min(PIECE_BYTES)];
    let mut offset = 0;
    loop {
        let count = match reader.read(&mut buffer).map_err(chunks::Error::of_read) {
            Ok(count) => count,
            Err(lost @ (chunks::Error::Damaged { .. } | chunks::Error::Missing(_))) => {
                return Ok(Err(sentence(&lost)));
            }
            Err(other) => return Err(other.into()),
        };
        let piece = Piece { id, total, offset, bytes: buffer.get(..count).unwrap_or_default() };
        out.block(Kind::Piece, &piece.to_block()).map_err(sent)?;
        offset += count as u64;
        if piece.is_last() {
            return Ok(Ok(()));
        }
        if count == 0 {
            return Ok(Err("it ends early".to_owned()));
        }
    }
}
