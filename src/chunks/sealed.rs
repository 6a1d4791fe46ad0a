//! What a sealed generation holds, in a file beside it, so that a start need not open it.
//!
//! `docs/format.md` has the layout. The file can always be made again from the generation.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::generation::{Fact, Manifest};
use crate::domain::{ChunkId, ContentHash, Timestamp};
use crate::durable;

const MAGIC: [u8; 8] = *b"LGCHUNKS";
const VERSION: u32 = 1;
/// Magic, version, number of the generation, payload written, chunks, wants.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 8;
const HELD_BYTES: usize = 20 + Manifest::BYTES;
const WANTED_BYTES: usize = 20 + 8;
const CHECKSUM_BYTES: usize = 32;

/// What a sealed generation holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    /// Payload that was written into it, kept or not.
    pub(super) written: u64,
    pub(super) facts: Vec<(ChunkId, Fact)>,
}

/// Why an index file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is not there")]
    Missing,
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// Writes the index of generation `number` to `path`: whole and durable, or not at all.
pub(super) fn write(path: &Path, number: u32, contents: &Contents) -> io::Result<()> {
    let mut held = Vec::new();
    let mut wanted = Vec::new();
    for (id, fact) in &contents.facts {
        match fact {
            Fact::Held(manifest) => {
                held.extend_from_slice(id.0.as_bytes());
                held.extend_from_slice(&manifest.encode());
            }
            Fact::Wanted(at) => {
                wanted.extend_from_slice(id.0.as_bytes());
                wanted.extend_from_slice(&at.0.to_be_bytes());
            }
        }
    }
    let mut bytes = Vec::with_capacity(HEAD_BYTES + held.len() + wanted.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&contents.written.to_be_bytes());
    bytes.extend_from_slice(&((held.len() / HELD_BYTES) as u64).to_be_bytes());
    bytes.extend_from_slice(&((wanted.len() / WANTED_BYTES) as u64).to_be_bytes());
    bytes.append(&mut held);
    bytes.append(&mut wanted);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    durable::write_atomically(path, &bytes)
}

/// Reads the index of generation `number`.
pub(super) fn read(path: &Path, number: u32) -> Result<Contents, Unusable> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Missing),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut hasher = blake3::Hasher::new();
    let mut take = |bytes: &mut [u8]| {
        file.read_exact(bytes).map(|()| {
            hasher.update(bytes);
        })
    };
    let mut head = [0; HEAD_BYTES];
    take(&mut head).map_err(cut)?;
    let (head, held, wanted) = parse_head(&head, number)?;
    // Before anything is kept for it: what is damaged can't make this take more than the file.
    let said = held
        .checked_mul(HELD_BYTES as u64)
        .zip(wanted.checked_mul(WANTED_BYTES as u64))
        .and_then(|(held, wanted)| held.checked_add(wanted))
        .and_then(|bytes| bytes.checked_add((HEAD_BYTES + CHECKSUM_BYTES) as u64));
    if said != Some(length) {
        return Err(Unusable::Damaged("its length does not fit its numbers"));
    }
    let mut contents = Contents { written: head, facts: Vec::new() };
    for _ in 0..held {
        let mut line = [0; HELD_BYTES];
        take(&mut line).map_err(cut)?;
        let (id, manifest) = line.split_first_chunk().ok_or(Unusable::Damaged("a line"))?;
        let manifest = Manifest::decode(manifest).ok_or(Unusable::Damaged("a manifest"))?;
        contents.facts.push((ChunkId(ContentHash(*id)), Fact::Held(manifest)));
    }
    for _ in 0..wanted {
        let mut line = [0; WANTED_BYTES];
        take(&mut line).map_err(cut)?;
        let (id, time) = line.split_first_chunk().ok_or(Unusable::Damaged("a line"))?;
        let time = time.try_into().map_err(|_| Unusable::Damaged("a time"))?;
        let wanted = Fact::Wanted(Timestamp(i64::from_be_bytes(time)));
        contents.facts.push((ChunkId(ContentHash(*id)), wanted));
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    file.read_exact(&mut checksum).map_err(cut)?;
    if hasher.finalize() == checksum {
        Ok(contents)
    } else {
        Err(Unusable::Damaged("its checksum does not fit"))
    }
}

/// Payload written, number of chunks, number of wants.
fn parse_head(head: &[u8; HEAD_BYTES], number: u32) -> Result<(u64, u64, u64), Unusable> {
    let (magic, rest) = head.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let (version, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let (of, rest) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
    if *magic != MAGIC || u32::from_be_bytes(*version) != VERSION {
        return Err(Unusable::Damaged("it is of another kind or version"));
    }
    if u32::from_be_bytes(*of) != number {
        return Err(Unusable::Damaged("it belongs to another generation"));
    }
    let (written, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let (held, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let wanted = rest.first_chunk().unwrap_or(&[0; 8]);
    Ok((u64::from_be_bytes(*written), u64::from_be_bytes(*held), u64::from_be_bytes(*wanted)))
}

fn cut(error: io::Error) -> Unusable {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Unusable::Damaged("it ends early")
    } else {
        error.into()
    }
}

/// Removes an index durably, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => durable::fsync_dir(path.parent().unwrap_or(Path::new("."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_and_no_damage_of_it_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g000007.index");
        assert!(matches!(read(&path, 7), Err(Unusable::Missing)));
        let manifest =
            |bytes| Manifest { wanted: Timestamp(5), ..Manifest::of(bytes, 4_096).unwrap() };
        let facts = vec![
            (ChunkId::of(b"a"), Fact::Held(manifest(0))),
            (ChunkId::of(b"b"), Fact::Held(manifest(1 << 40))),
            (ChunkId::of(b"c"), Fact::Wanted(Timestamp(-1))),
        ];
        let contents = Contents { written: 77, facts };
        write(&path, 7, &contents).unwrap();
        assert_eq!(read(&path, 7).unwrap(), contents);
        assert!(matches!(read(&path, 8), Err(Unusable::Damaged(_))));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(read(&path, 7), Err(Unusable::Damaged(_))), "cut to {cut}");
        }
        for flipped in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[flipped] ^= 0x80;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(read(&path, 7), Err(Unusable::Damaged(_))), "byte {flipped}");
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
        write(&path, 7, &Contents::default()).unwrap();
        assert_eq!(read(&path, 7).unwrap(), Contents::default());
    }
}
