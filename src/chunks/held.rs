//! Reading what is held, and what happens when it can't be read.

use std::io::Read as _;

use super::generation::Generation;
use super::index::Place;
use super::{Error, Reader, Store};
use crate::domain::{ChunkId, ContentHash, sentence};

impl Store {
    /// Opens a held chunk for reading.
    pub fn read(&self, id: &ChunkId) -> Result<Reader, Error> {
        self.check()?;
        // Named first: once it's looked up, it stays.
        let named = self.inner.turns.name(*id);
        let place = self.place(id).ok_or(Error::Missing(*id))?;
        Ok(Reader::new(self.clone(), *id, place, named))
    }

    /// The whole of a held chunk; none when it is missing or damaged.
    pub fn load(&self, id: &ChunkId) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        let read = self
            .read(id)
            .and_then(|mut reader| reader.read_to_end(&mut bytes).map_err(Error::of_read));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(Error::Missing(_) | Error::Damaged { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Reads a held chunk in full and checks that it still hashes to its name.
    pub fn verify(&self, id: &ChunkId) -> Result<(), Error> {
        let mut reader = self.read(id)?;
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut reader, &mut hasher).map_err(Error::of_read)?;
        let actual = ChunkId(ContentHash::from_blake3(&hasher.finalize()));
        if actual == *id {
            return Ok(());
        }
        let place = self.place(id).ok_or(Error::Missing(*id))?;
        Err(self.damaged(id, place, 0, format!("its content hashes to {actual}")))
    }

    /// One piece of a chunk, with the right length. None when the generation is gone: then the
    /// chunk has moved.
    pub(super) fn piece(
        &self,
        id: &ChunkId,
        place: Place,
        index: u32,
    ) -> Result<Option<sled::IVec>, Error> {
        let read = |generation: &Generation| generation.piece(id, index);
        let offset = u64::from(index) * u64::from(place.manifest.piece_bytes);
        let piece = match self.with_damage(place.generation, read) {
            // The engine looks whether a page is whole when it is wanted, not when it opens.
            Err(error) if error.is_damage() => {
                return Err(self.rotten(id, place, offset, sentence(&error)));
            }
            read => read?,
        };
        let Some(piece) = piece else { return Ok(None) };
        let wanted = place.manifest.piece_len(index);
        let what = match piece {
            Some(piece) if piece.len() as u64 == wanted => return Ok(Some(piece)),
            Some(piece) => format!("piece {index} has {} bytes instead of {wanted}", piece.len()),
            None => format!("piece {index} is not there"),
        };
        Err(self.damaged(id, place, offset, what))
    }

    /// The same for one whose page of the database is damaged. What is written beside it from now on
    /// would meet that page, so it goes to another generation.
    fn rotten(&self, id: &ChunkId, place: Place, offset: u64, what: String) -> Error {
        if !self.inner.options.keep_damaged
            && let Err(error) =
                self.poisoning(self.inner.generations.seal_damaged(place.generation))
        {
            return error;
        }
        self.damaged(id, place, offset, what)
    }

    /// Takes a damaged chunk out, so that it is asked for and uploaded again.
    pub(super) fn damaged(&self, id: &ChunkId, place: Place, offset: u64, what: String) -> Error {
        if self.inner.options.keep_damaged {
            return Error::Damaged { id: *id, offset, what };
        }
        tracing::error!(chunk = %id, offset, what, "a held chunk is damaged");
        let mut index = self.index_mut();
        let removed = index.remove(id, place);
        // Under the lock: nobody uploads it before its old manifest is gone.
        if removed {
            let forget = |generation: &Generation| generation.forget(id);
            match self.with_damage(place.generation, forget) {
                // Then it is found damaged again after the next start.
                Err(error) if error.is_damage() => {
                    tracing::warn!(chunk = %id, error = sentence(&error), "cannot forget a chunk");
                }
                Err(error) => return error,
                Ok(_) => {}
            }
            self.inner.generations.remove_index(place.generation);
        }
        Error::Damaged { id: *id, offset, what }
    }
}
