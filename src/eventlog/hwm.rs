//! The high-water file: how long the log was, so that a log that lost its end is noticed.
//!
//! sled drops damaged batches at the end of its file silently. This file says what the last
//! acknowledged record was. It may lag behind by what was committed since the last sync, never run
//! ahead: it is written after the commit.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::codec::Chain;
use super::{Damage, Error};
use crate::domain::Lsn;
use crate::durable;

const SLOT_BYTES: usize = 32;
const SLOTS: usize = 2;
const MAGIC: [u8; 8] = *b"LRUNHWM1";

/// A record by its position and its chain hash, which stands for all before it as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub lsn: Lsn,
    pub chain: Chain,
}

impl Mark {
    /// What the first record of a log follows: the state that older ones were folded into, or
    /// nothing.
    pub fn before(log: &dyn super::LogReader) -> Self {
        log.base().map_or(Self::START, |base| Self { lsn: base.lsn, chain: base.chain })
    }

    /// Before the first record.
    pub const START: Self = Self { lsn: Lsn::ZERO, chain: Chain::START };

    fn to_slot(self) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        let (head, checksum) = slot.split_at_mut(24);
        for (to, from) in head.chunks_exact_mut(8).zip([MAGIC, self.lsn.to_key(), self.chain.0]) {
            to.copy_from_slice(&from);
        }
        checksum.copy_from_slice(&super::head::checksum(head));
        slot
    }

    fn from_slot(slot: &[u8]) -> Option<Self> {
        let (head, checksum) = slot.split_at_checked(24)?;
        let (magic, rest) = head.split_first_chunk::<8>()?;
        let (lsn, chain) = rest.split_first_chunk::<8>()?;
        let valid = *magic == MAGIC && checksum == super::head::checksum(head);
        valid.then_some(Self {
            lsn: Lsn(u64::from_be_bytes(*lsn)),
            chain: Chain(chain.try_into().ok()?),
        })
    }
}

/// The open high-water file.
#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
    /// Where the next write goes, so that a torn one leaves the other slot.
    slot: u64,
}

impl HighWater {
    /// Opens the file; `None` when there is none.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Mark)>, Error> {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::storage("open the high-water file", path, error)),
        };
        let mut bytes = [0; SLOTS * SLOT_BYTES];
        let newest = file.read_exact_at(&mut bytes, 0).ok().and_then(|()| {
            let marks = bytes.chunks_exact(SLOT_BYTES).map(Mark::from_slot);
            (0..)
                .zip(marks)
                .filter_map(|(slot, mark)| Some((slot, mark?)))
                .max_by_key(|(_, m)| m.lsn)
        });
        let (newest, mark) = newest.ok_or_else(|| Error::damaged(path, Damage::Mark))?;
        Ok(Some((Self { file, slot: 1 - newest }, mark)))
    }

    /// Writes a new file that says `mark`, durable when this returns.
    pub(super) fn create(path: &Path, mark: Mark) -> Result<Self, Error> {
        let slot = mark.to_slot();
        durable::write_atomically(path, &[slot, slot].concat())
            .and_then(|()| File::options().read(true).write(true).open(path))
            .map(|file| Self { file, slot: 0 })
            .map_err(|error| Error::storage("write the high-water file", path, error))
    }

    /// Notes `mark` without waiting for the disk.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&mark.to_slot(), self.slot * SLOT_BYTES as u64)?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// Makes the last write durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
