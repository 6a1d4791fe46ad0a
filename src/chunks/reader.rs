//! Reading a held chunk, one piece at a time.

use std::io::{self, Read, Seek, SeekFrom};

use super::hold::Named;
use super::index::Place;
use super::{Error, Store};
use crate::domain::ChunkId;

/// The bytes of a chunk. Memory is one piece, whatever the chunk's length.
///
/// Every piece must be there with its full length; otherwise reading fails with
/// [`Error::Damaged`] (inside the `io::Error`) and the chunk counts as missing from then on.
/// A chunk that is being read is not collected; if it moves, the reader goes on at its new place.
#[derive(Debug)]
pub struct Reader {
    store: Store,
    id: ChunkId,
    place: Place,
    position: u64,
    piece: Option<(u32, sled::IVec)>,
    _named: Named,
}

impl Reader {
    pub(super) const fn new(store: Store, id: ChunkId, place: Place, named: Named) -> Self {
        Self { store, id, place, position: 0, piece: None, _named: named }
    }

    /// Length of the whole chunk, in bytes.
    pub const fn len(&self) -> u64 {
        self.place.manifest.bytes
    }

    /// Whether the chunk has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Only `bytes` bytes from `offset` on, as far as there are any.
    pub fn range(mut self, offset: u64, bytes: u64) -> io::Take<Self> {
        self.position = offset.min(self.len());
        self.take(bytes)
    }

    /// What follows at the current position: the rest of its piece. Empty at the end.
    fn rest_of_piece(&mut self) -> Result<&[u8], Error> {
        if self.position >= self.len() {
            return Ok(&[]);
        }
        let mut piece_bytes;
        loop {
            piece_bytes = u64::from(self.place.manifest.piece_bytes);
            let index = u32::try_from(self.position / piece_bytes)
                .map_err(|_| Error::TooLong { max: piece_bytes * u64::from(u32::MAX) })?;
            if self.piece.as_ref().is_some_and(|(have, _)| *have == index) {
                break;
            }
            self.piece = None;
            if let Some(piece) = self.store.piece(&self.id, self.place, index)? {
                self.piece = Some((index, piece));
                break;
            }
            // The generation was dropped, after all that is held of it had been copied.
            let moved = self.store.place(&self.id);
            let moved = moved.filter(|place| place.generation != self.place.generation);
            self.place = moved.ok_or(Error::Missing(self.id))?;
        }
        let within = usize::try_from(self.position % piece_bytes).unwrap_or(usize::MAX);
        Ok(self.piece.as_ref().and_then(|(_, piece)| piece.get(within..)).unwrap_or_default())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
            let rest = self.rest_of_piece()?;
            if rest.is_empty() {
                break;
            }
            let count = rest.len().min(free.len());
            for (to, from) in free.iter_mut().zip(rest) {
                *to = *from;
            }
            filled += count;
            self.position += count as u64;
        }
        Ok(filled)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.len().checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
