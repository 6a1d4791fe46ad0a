//! Chunks on their way into files: streamed, verified, with flat memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::failure::{Stop, unprepared, unreadable};
use super::local::Control;
use crate::chunks::{self, Store};
use crate::domain::{ChunkId, ContentHash};
use crate::wire::compressed::{HEADER_BYTES, Header};

/// Bytes copied at a time.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// How a chunk is written to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// The bytes alone.
    Raw,
    /// As a compressed buffer that stores them: a header, then the bytes.
    Buffer,
}

/// Writes a chunk to a new file at `path`. `what` names it in a failure.
pub(super) fn write_chunk(
    store: &Store,
    chunk: ChunkId,
    what: &str,
    path: &Path,
    form: Form,
    control: &Control,
) -> Result<File, Stop> {
    let unread = |error: chunks::Error| unreadable(what, chunk, &error);
    let unwritten = |error: io::Error| unprepared(&format!("write {what}"), &error);
    let mut reader = store.read(&chunk).map_err(unread)?;
    let length = reader.len();
    let head = match form {
        Form::Raw => 0,
        Form::Buffer => HEADER_BYTES,
    };
    let piece = usize::try_from(length).map_or(PIECE_BYTES, |length| length.min(PIECE_BYTES));
    // The first piece leaves room for the header, so that a small chunk is one write.
    let mut buffer = vec![0; head + piece];
    let mut hasher = blake3::Hasher::new();
    let mut file = File::create_new(path).map_err(unwritten)?;
    let mut written = 0;
    loop {
        if let Some(cut) = control.is_cut() {
            return Err(Stop::Cut(cut));
        }
        let start = if written == 0 { head } else { 0 };
        let (header, space) = buffer.split_at_mut(start);
        let read = fill(&mut reader, space).map_err(|error| unread(store_error(error)))?;
        let content = space.get(..read).unwrap_or_default();
        hasher.update(content);
        written += read as u64;
        let last = written >= length || read == 0;
        if last {
            let digest = hasher.finalize();
            if ContentHash::from_blake3(&digest) != chunk.0 || written != length {
                let actual = ChunkId(ContentHash::from_blake3(&digest));
                let error = chunks::Error::Mismatch { expected: chunk, actual, bytes: written };
                return Err(unread(error).into());
            }
            if form == Form::Buffer {
                let bytes = Header::stored(length, digest).to_bytes(&[]);
                if header.len() == bytes.len() {
                    header.copy_from_slice(&bytes);
                } else {
                    file.write_all(content).map_err(unwritten)?;
                    file.seek(SeekFrom::Start(0)).map_err(unwritten)?;
                    file.write_all(&bytes).map_err(unwritten)?;
                    return Ok(file);
                }
            }
        }
        file.write_all(buffer.get(..start + read).unwrap_or_default()).map_err(unwritten)?;
        if last {
            return Ok(file);
        }
    }
}

/// Reads until `space` is full or the source ends.
pub(super) fn fill(source: &mut impl Read, space: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = space.get_mut(filled..).filter(|free| !free.is_empty()) {
        match source.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The store's own error out of an I/O error.
pub(super) fn store_error(error: io::Error) -> chunks::Error {
    match error.downcast::<chunks::Error>() {
        Ok(error) => error,
        Err(source) => chunks::Error::Io { operation: "read a chunk", source },
    }
}
