//! From verified content to written pieces.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::claims;
use super::commit::Entry;
use super::generation::{Fact, Manifest};
use super::hold::Named;
use super::slot::Pin;
use super::writer::{Streaming, spool_failed};
use super::{Error, Store};
use crate::domain::ChunkId;

/// An upload whose content is what its name says, not kept yet. Dropping it leaves nothing.
#[derive(Debug)]
#[must_use = "nothing is kept before it's added to a batch that is committed"]
pub struct Verified<'a> {
    pub(super) store: Store,
    pub(super) id: ChunkId,
    pub(super) bytes: u64,
    pub(super) content: Content<'a>,
    pub(super) named: Named,
}

#[derive(Debug)]
pub(super) enum Content<'a> {
    Memory(Cow<'a, [u8]>),
    Stream(Streaming),
    File(File),
    Elsewhere,
}

/// A verified upload whose pieces are written: commit its entry, then drop it.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) entry: Entry,
    _claimed: Claimed,
    _pin: Pin,
    _named: Named,
}

/// A verified upload's hold on a name.
#[derive(Debug)]
pub(super) struct Claimed {
    store: Store,
    id: ChunkId,
}

impl Claimed {
    /// Takes the name if no upload has it.
    pub(super) fn try_new(store: &Store, id: ChunkId) -> Option<Self> {
        store.inner.claims.try_verified(id).then(|| Self { store: store.clone(), id })
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.store.inner.claims.end_verified(&self.id);
    }
}

impl<'a> Verified<'a> {
    /// Of bytes that hash to `id`.
    pub(super) fn of(store: &Store, id: ChunkId, bytes: &'a [u8]) -> Self {
        let content = Content::Memory(Cow::Borrowed(bytes));
        let named = store.inner.turns.name(id);
        Self { store: store.clone(), id, bytes: bytes.len() as u64, content, named }
    }

    /// Of bytes that may hash to `id`.
    pub(super) fn check(store: &Store, id: ChunkId, bytes: &'a [u8]) -> Result<Self, Error> {
        let actual = ChunkId::of(bytes);
        if actual == id {
            return Ok(Self::of(store, id, bytes));
        }
        Err(Error::Mismatch { expected: id, actual, bytes: bytes.len() as u64 })
    }

    /// Its name.
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// Its length in bytes.
    pub const fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn bytes_in_memory(&self) -> usize {
        match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Stream(_) | Content::File(_) | Content::Elsewhere => 0,
        }
    }

    pub(super) fn into_owned(self) -> Verified<'static> {
        let content = match self.content {
            Content::Memory(bytes) => Content::Memory(Cow::Owned(bytes.into_owned())),
            Content::Stream(stream) => Content::Stream(stream),
            Content::File(file) => Content::File(file),
            Content::Elsewhere => Content::Elsewhere,
        };
        Verified { store: self.store, id: self.id, bytes: self.bytes, content, named: self.named }
    }

    /// Writes its pieces unless they are written. The inner error is its name, when another
    /// upload of the same content has taken the name over and will publish it.
    pub(super) fn place(self) -> Result<Result<Placed, ChunkId>, Error> {
        let piece_bytes = self.store.inner.options.piece_bytes;
        let mut manifest = Manifest::of(self.bytes, piece_bytes)
            .ok_or(Error::TooLong { max: u64::from(u32::MAX) * u64::from(piece_bytes) })?;
        manifest.wanted = self.store.now();
        match self.content {
            Content::Elsewhere => Ok(Err(self.id)),
            Content::Stream(mut streaming) => {
                if !self.store.inner.claims.promote(&self.id, &streaming.shared) {
                    return Ok(Err(self.id));
                }
                let claimed = Claimed { store: self.store.clone(), id: self.id };
                let pin = claims::lock(&streaming.shared).pin.clone();
                streaming.published = true;
                let entry = (pin.number(), self.id, Fact::Held(manifest));
                Ok(Ok(Placed { entry, _claimed: claimed, _pin: pin, _named: self.named }))
            }
            Content::Memory(bytes) => {
                write_verified(&self.store, self.named, self.id, manifest, &|place| {
                    place(0, &bytes)
                })
            }
            Content::File(file) => {
                write_verified(&self.store, self.named, self.id, manifest, &|place| {
                    groups_of(&file, manifest, self.store.inner.options.group_bytes, place)
                })
            }
        }
    }
}

/// Writes pieces from a number on.
type Place<'a> = dyn FnMut(u32, &[u8]) -> Result<(), Error> + 'a;

/// Takes the name over and writes the pieces of verified content, once more when a damaged page was in
/// the way.
fn write_verified(
    store: &Store,
    named: Named,
    id: ChunkId,
    manifest: Manifest,
    content: &dyn Fn(&mut Place<'_>) -> Result<(), Error>,
) -> Result<Result<Placed, ChunkId>, Error> {
    let written = match write_pieces(store, id, manifest, content) {
        Err(Error::Rotten { .. }) => write_pieces(store, id, manifest, content),
        written => written,
    };
    let Some((pin, claimed)) = written? else { return Ok(Err(id)) };
    let entry = (pin.number(), id, Fact::Held(manifest));
    Ok(Ok(Placed { entry, _claimed: claimed, _pin: pin, _named: named }))
}

/// Where the pieces are; nowhere when the chunk is held meanwhile.
fn write_pieces(
    store: &Store,
    id: ChunkId,
    manifest: Manifest,
    content: &dyn Fn(&mut Place<'_>) -> Result<(), Error>,
) -> Result<Option<(Pin, Claimed)>, Error> {
    let pin = store.pin()?;
    let left = store.inner.claims.verified(id, pin.number());
    let claimed = Claimed { store: store.clone(), id };
    if store.contains(&id) {
        return Ok(None);
    }
    pin.wrote(manifest.bytes);
    content(&mut |first, group| {
        store.write(pin.number(), |generation| {
            generation.write_pieces(&id, first, group, manifest.piece_bytes)
        })
    })?;
    if left > manifest.pieces {
        store.write(pin.number(), |generation| {
            generation.remove_pieces(&id, manifest.pieces, left)
        })?;
    }
    Ok(Some((pin, claimed)))
}

/// Reads a spooled upload back, group by group.
fn groups_of(
    mut file: &File,
    manifest: Manifest,
    group_bytes: usize,
    place: &mut Place<'_>,
) -> Result<(), Error> {
    let piece_bytes = manifest.piece_bytes as usize;
    let group_pieces = (group_bytes / piece_bytes).max(1);
    file.seek(SeekFrom::Start(0)).map_err(spool_failed)?;
    let mut buffer = vec![0; group_pieces * piece_bytes];
    let mut first = 0_u32;
    let mut rest = manifest.bytes;
    while rest > 0 {
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let (group, _) = buffer.split_at_mut(count);
        file.read_exact(group).map_err(spool_failed)?;
        place(first, group)?;
        first = first.saturating_add(u32::try_from(group_pieces).unwrap_or(u32::MAX));
        rest -= count as u64;
    }
    Ok(())
}
