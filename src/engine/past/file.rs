//! A checkpoint on disk: a head that says what it is of, and a state. `docs/format.md` has the bytes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize as _, Serialize as _};

use crate::domain::{ContentHash, Lsn};
use crate::durable;
use crate::eventlog::codec::Chain;
use crate::eventlog::head::{CHECKSUM_BYTES, checksum, take};
use crate::views::{LAYOUT, Published};

const MAGIC: [u8; 8] = *b"LRUNCHKP";
/// Of the head. What the body consists of has a number of its own.
const VERSION: u32 = 2;
/// The version before, whose digest is of the whole state.
const VERSION_EVERYTHING: u32 = 1;
/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 112;
const BODY_HASH_BYTES: usize = 32;
/// A body nests less deep by far.
const DEPTH_MAX: usize = 64;
/// Bytes written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What a checkpoint says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// The newest record in it.
    pub(super) lsn: Lsn,
    /// That record's chain hash, which ties it to this very log.
    pub(super) chain: Chain,
    version: u32,
    /// Of the state, as [`Published::brief_digest`]; in [`VERSION_EVERYTHING`] as
    /// [`Published::digest`].
    digest: ContentHash,
    /// Jobs and executions.
    pub(super) rows: u64,
    body_bytes: u64,
    body_hash: [u8; BODY_HASH_BYTES],
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is no checkpoint")]
    NoCheckpoint,
    #[error(
        "its version is {version} and its layout {layout}; here they are {VERSION} and {LAYOUT}"
    )]
    OtherVersion { version: u32, layout: u32 },
    #[error("its head is damaged")]
    Head,
    #[error("it has {found} bytes instead of {expected}")]
    Length { expected: u64, found: u64 },
    #[error("its body is damaged")]
    Body,
    #[error("its body is no state")]
    NoState(#[source] rmp_serde::decode::Error),
    #[error("its state is another than it says")]
    OtherState,
    #[error("it is of another log")]
    OtherLog,
    #[error("cannot read it")]
    Io(#[from] io::Error),
}

impl Unusable {
    /// Whether the file is broken in itself, whatever log and program it is of.
    pub(super) const fn is_damage(&self) -> bool {
        !matches!(self, Self::OtherVersion { .. } | Self::OtherLog | Self::Io(_))
    }
}

impl Head {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&LAYOUT.to_be_bytes());
        bytes.extend_from_slice(&self.lsn.to_key());
        bytes.extend_from_slice(&self.chain.0);
        bytes.extend_from_slice(self.digest.as_bytes());
        // Keeps the numbers after it on multiples of four, and the length round.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.rows.to_be_bytes());
        bytes.extend_from_slice(&self.body_bytes.to_be_bytes());
        let checked = bytes.len();
        debug_assert_eq!(checked, HEAD_BYTES - CHECKSUM_BYTES - BODY_HASH_BYTES);
        bytes.extend_from_slice(&self.body_hash);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Unusable> {
        let mut rest = bytes.as_slice();
        if take(&mut rest) != Some(MAGIC) {
            return Err(Unusable::NoCheckpoint);
        }
        let version = u32::from_be_bytes(take(&mut rest).ok_or(Unusable::Head)?);
        let layout = u32::from_be_bytes(take(&mut rest).ok_or(Unusable::Head)?);
        if ![VERSION_EVERYTHING, VERSION].contains(&version) || layout != LAYOUT {
            return Err(Unusable::OtherVersion { version, layout });
        }
        let (checked, sum) = bytes.split_at(HEAD_BYTES - CHECKSUM_BYTES);
        if sum != checksum(checked) {
            return Err(Unusable::Head);
        }
        let lsn = Lsn(u64::from_be_bytes(take(&mut rest).ok_or(Unusable::Head)?));
        let chain = Chain(take(&mut rest).ok_or(Unusable::Head)?);
        let digest = ContentHash(take(&mut rest).ok_or(Unusable::Head)?);
        let _: [u8; 4] = take(&mut rest).ok_or(Unusable::Head)?;
        Ok(Self {
            lsn,
            chain,
            digest,
            version,
            rows: u64::from_be_bytes(take(&mut rest).ok_or(Unusable::Head)?),
            body_bytes: u64::from_be_bytes(take(&mut rest).ok_or(Unusable::Head)?),
            body_hash: take(&mut rest).ok_or(Unusable::Head)?,
        })
    }

    /// What [`Head::digest`] has to be for this state.
    fn digest_of(&self, state: &Published) -> ContentHash {
        match self.version {
            VERSION_EVERYTHING => state.digest(),
            _ => state.brief_digest(),
        }
    }

    /// Bytes of the whole file.
    pub(super) const fn file_bytes(&self) -> u64 {
        (HEAD_BYTES as u64).saturating_add(self.body_bytes)
    }
}

/// The head of a file that has all its bytes.
pub(super) fn head(path: &Path) -> Result<Head, Unusable> {
    open(path).map(|(head, _)| head)
}

fn open(path: &Path) -> Result<(Head, File), Unusable> {
    let mut file = File::open(path)?;
    let found = file.metadata()?.len();
    let mut bytes = [0; HEAD_BYTES];
    if found < HEAD_BYTES as u64 {
        return Err(Unusable::Length { expected: HEAD_BYTES as u64, found });
    }
    file.read_exact(&mut bytes)?;
    let head = Head::parse(&bytes)?;
    if found != head.file_bytes() {
        return Err(Unusable::Length { expected: head.file_bytes(), found });
    }
    Ok((head, file))
}

/// The state in a file, verified in full.
pub(super) fn load(path: &Path) -> Result<(Head, Published), Unusable> {
    let (head, body) = read(path)?;
    // The bytes first, so that nothing is made of a length that nobody wrote.
    if *blake3::hash(&body).as_bytes() != head.body_hash {
        return Err(Unusable::Body);
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(&body);
    deserializer.set_max_depth(DEPTH_MAX);
    let state = Published::deserialize(&mut deserializer).map_err(Unusable::NoState)?;
    // Nothing more can be read at the end.
    let is_whole = <()>::deserialize(&mut deserializer).is_err();
    drop(body);
    if !is_whole || state.lsn() != head.lsn || head.digest_of(&state) != head.digest {
        return Err(Unusable::OtherState);
    }
    Ok((head, state))
}

/// A file's head and its body, of which nothing is known but the length. It is read as a whole: what
/// is made of it takes several times as much memory.
fn read(path: &Path) -> Result<(Head, Vec<u8>), Unusable> {
    let (head, mut file) = open(path)?;
    let bytes = usize::try_from(head.body_bytes).map_err(|_| Unusable::Body)?;
    let mut body = Vec::new();
    body.try_reserve_exact(bytes).map_err(io::Error::other)?;
    file.read_to_end(&mut body)?;
    Ok((head, body))
}

/// Writes a state so that it is there whole or not at all, and durable when this returns. Gives up
/// when `go_on` says no.
pub(super) fn write(
    path: &Path,
    state: &Published,
    chain: Chain,
    go_on: &dyn Fn() -> bool,
) -> io::Result<Head> {
    let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut file = tempfile::Builder::new().prefix(super::checkpoints::NEW).tempfile_in(&dir)?;
    file.write_all(&[0; HEAD_BYTES])?;
    let body = Body { file: file.as_file(), hasher: blake3::Hasher::new(), bytes: 0, go_on };
    let mut body = BufWriter::with_capacity(BUFFER_BYTES, body);
    let mut serializer = rmp_serde::Serializer::new(&mut body);
    state.serialize(&mut serializer).map_err(io::Error::other)?;
    let body = body.into_inner().map_err(io::IntoInnerError::into_error)?;
    let head = Head {
        lsn: state.lsn(),
        chain,
        digest: state.brief_digest(),
        version: VERSION,
        rows: u64::try_from(state.rows()).unwrap_or(u64::MAX),
        body_bytes: body.bytes,
        body_hash: *body.hasher.finalize().as_bytes(),
    };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head.to_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    durable::fsync_dir(&dir)?;
    Ok(head)
}

/// Counts and hashes what is written.
struct Body<'a> {
    file: &'a File,
    hasher: blake3::Hasher,
    bytes: u64,
    go_on: &'a dyn Fn() -> bool,
}

impl Write for Body<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !(self.go_on)() {
            return Err(io::Error::other("the service stops"));
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.bytes += u64::try_from(written).unwrap_or_default();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
