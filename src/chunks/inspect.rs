//! Looking at everything in a store's directory, for whoever looks for all that is wrong with it:
//! nothing is refused, and one generation that can't be opened does not hide the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::generation::{Fact, Generation, Manifest};
use super::{Error, Options, files, sealed};
use crate::domain::{ChunkId, ContentHash, sentence};

/// Something in a store's directory that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A generation can't be opened or listed.
    Generation { path: PathBuf, error: String },
    /// The index of a generation is damaged; it can be made again.
    Index { path: PathBuf, error: String },
    /// A held chunk is not what its name says.
    Chunk { id: ChunkId, path: PathBuf, error: String },
    /// The database moved something to where it is not synced.
    Blob { path: PathBuf },
}

/// What is held, in the order of names, and how it was found.
#[derive(Debug, Default)]
pub struct Inspection {
    held: BTreeMap<ChunkId, (u32, Manifest)>,
    /// Bytes read.
    pub bytes: u64,
    /// Whether all generations could be listed.
    pub is_complete: bool,
}

impl Inspection {
    /// Lists what the generations below `dir` hold, and tells `fault` what is wrong with them.
    pub fn list(
        dir: &Path,
        options: &Options,
        fault: &mut dyn FnMut(Fault),
    ) -> Result<Self, Error> {
        let failed = |source| Error::Io { operation: "list the chunk generations", source };
        let mut found = Self { is_complete: true, ..Self::default() };
        let numbers = files::numbers(dir).map_err(failed)?;
        let newest = numbers.last().copied();
        // Later ones count, and come last.
        for number in numbers {
            let path = files::dir_of(dir, number);
            blobs(&path, fault);
            if newest != Some(number) && found.indexed(&path, number, fault) {
                continue;
            }
            let listed = Generation::open(&path, options).and_then(|generation| {
                let listed = generation.facts(|id, fact| found.note(number, id, &fact));
                generation.close();
                listed
            });
            if let Err(error) = listed {
                found.is_complete = false;
                fault(Fault::Generation { path, error: sentence(&error) });
            }
        }
        Ok(found)
    }

    fn indexed(&mut self, path: &Path, number: u32, fault: &mut dyn FnMut(Fault)) -> bool {
        let path = path.with_extension(files::INDEX);
        match sealed::read(&path, number) {
            Ok(contents) => {
                contents.facts.into_iter().for_each(|(id, fact)| self.note(number, id, &fact));
                return true;
            }
            Err(sealed::Unusable::Missing) => {}
            Err(error) => fault(Fault::Index { path, error: sentence(&error) }),
        }
        false
    }

    fn note(&mut self, number: u32, id: ChunkId, fact: &Fact) {
        if let Fact::Held(manifest) = fact {
            self.held.insert(id, (number, *manifest));
        }
    }

    /// How many chunks are held.
    pub fn count(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether a chunk is held, sound or not.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.held.contains_key(id)
    }

    /// Reads every chunk and compares its length and its hash with its name. `step` is called after
    /// each; false ends it.
    pub fn read(
        &mut self,
        dir: &Path,
        options: &Options,
        fault: &mut dyn FnMut(Fault),
        step: &mut dyn FnMut() -> bool,
    ) {
        let mut by_generation: BTreeMap<u32, Vec<ChunkId>> = BTreeMap::new();
        for (id, (number, _)) in &self.held {
            by_generation.entry(*number).or_default().push(*id);
        }
        for (number, ids) in by_generation {
            let path = files::dir_of(dir, number);
            let generation = match Generation::open(&path, options) {
                Ok(generation) => generation,
                Err(error) => {
                    // Of one that has no index it was told already.
                    if self.is_complete {
                        fault(Fault::Generation { path, error: sentence(&error) });
                    }
                    continue;
                }
            };
            for id in ids {
                let Some((_, manifest)) = self.held.get(&id) else { continue };
                match hash(&generation, &id, *manifest) {
                    Ok(found) if found == id => self.bytes += manifest.bytes,
                    Ok(found) => {
                        let error = format!("its content is that of {found}");
                        fault(Fault::Chunk { id, path: path.clone(), error });
                    }
                    Err(error) => fault(Fault::Chunk { id, path: path.clone(), error }),
                }
                if !step() {
                    return generation.close();
                }
            }
            generation.close();
        }
    }
}

/// The name of what lies there, or why there is none.
fn hash(generation: &Generation, id: &ChunkId, manifest: Manifest) -> Result<ChunkId, String> {
    let mut hasher = blake3::Hasher::new();
    for index in 0..manifest.pieces {
        let wanted = manifest.piece_len(index);
        match generation.piece(id, index).map_err(|error| sentence(&error))? {
            Some(piece) if piece.len() as u64 == wanted => drop(hasher.update(&piece)),
            Some(piece) => {
                return Err(format!("piece {index} has {} bytes instead of {wanted}", piece.len()));
            }
            None => return Err(format!("piece {index} of {} is not there", manifest.pieces)),
        }
    }
    Ok(ChunkId(ContentHash::from_blake3(&hasher.finalize())))
}

fn blobs(generation: &Path, fault: &mut dyn FnMut(Fault)) {
    let Ok(entries) = fs::read_dir(generation.join("blobs")) else { return };
    entries.flatten().for_each(|entry| fault(Fault::Blob { path: entry.path() }));
}
