//! Packs: records that are kept from before a base state, several under one key as in a frame. Their
//! LSNs have gaps, so each has its own, and no neighbour says whether one is whole, so each pack has a
//! checksum. In the database each is packed, if that makes it shorter; what says which ones there are
//! (`Sum`, the head of the base state) is about them as they are unpacked.

use bytes::{Buf, Bytes};

use super::base::{BaseError, HASH_BYTES};
use crate::domain::Lsn;
use crate::domain::record::RECORD_BYTES_MAX;
use crate::eventlog::head::{CHECKSUM_BYTES, checksum};
use crate::eventlog::packed;

/// Before each record: its LSN and its length.
const HEAD_BYTES: usize = 10;
/// Longest pack of several records. One that is longer than this alone has its own.
const PACK_BYTES_MAX: usize = 4_096;

/// Longest pack there is.
const UNPACKED_BYTES_MAX: usize = CHECKSUM_BYTES + HEAD_BYTES + PACK_BYTES_MAX;

const _: () = assert!(RECORD_BYTES_MAX <= u16::MAX as usize && RECORD_BYTES_MAX <= PACK_BYTES_MAX);

/// Packs records, as full as they come.
#[derive(Debug, Default)]
pub(in crate::eventlog) struct Packer {
    first: Lsn,
    pack: Vec<u8>,
    hasher: blake3::Hasher,
    count: u64,
}

impl Packer {
    /// Adds a record, after all before it. Gives the pack before when it has no more room.
    pub(in crate::eventlog) fn push(&mut self, lsn: Lsn, value: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        let full = self.pack.len() + HEAD_BYTES + value.len() > PACK_BYTES_MAX;
        let pack = if full { self.take() } else { None };
        if self.pack.is_empty() {
            self.first = lsn;
            self.pack.extend_from_slice(&[0; CHECKSUM_BYTES]);
        }
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.pack.extend_from_slice(&lsn.to_key());
        self.pack.extend_from_slice(&length.to_be_bytes());
        self.pack.extend_from_slice(value);
        self.count += 1;
        pack
    }

    /// The last pack, unless there is none.
    pub(in crate::eventlog) fn take(&mut self) -> Option<(Lsn, Vec<u8>)> {
        let mut pack = std::mem::take(&mut self.pack);
        let (head, rest) = pack.split_first_chunk_mut::<CHECKSUM_BYTES>()?;
        *head = checksum(rest);
        self.hasher.update(&self.first.to_key()).update(&pack);
        Some((self.first, pack))
    }

    /// How many records there are in all packs given, and what these hash to.
    pub(in crate::eventlog) fn sum(&self) -> (u64, [u8; HASH_BYTES]) {
        (self.count, *self.hasher.finalize().as_bytes())
    }
}

/// A pack as it lies in the database.
pub(in crate::eventlog) fn stored(pack: Vec<u8>) -> Vec<u8> {
    packed::pack(&pack).unwrap_or(pack)
}

/// A pack from the database, as it was packed. Logs of schema 5 have them so already.
fn unpacked(first: Lsn, pack: Bytes) -> Result<Bytes, BaseError> {
    let is_whole = |pack: &[u8]| {
        pack.split_first_chunk::<CHECKSUM_BYTES>().is_some_and(|(sum, rest)| *sum == checksum(rest))
    };
    if is_whole(&pack) {
        return Ok(pack);
    }
    let unpacked = packed::unpack(&pack, UNPACKED_BYTES_MAX).ok();
    let whole = unpacked.filter(|pack| is_whole(pack));
    whole.map(Bytes::from).ok_or(BaseError::Kept(first))
}

/// The records of a pack, in order. Nothing is taken from one that is damaged.
#[derive(Debug)]
pub(in crate::eventlog) struct Records {
    rest: Bytes,
    first: Lsn,
}

impl Records {
    pub(in crate::eventlog) fn of(first: Lsn, pack: Bytes) -> Result<Self, BaseError> {
        unpacked(first, pack).map(|pack| Self::within(first, pack))
    }

    /// Of one that [`unpacked`] gave.
    fn within(first: Lsn, mut pack: Bytes) -> Self {
        pack.advance(CHECKSUM_BYTES);
        Self { rest: pack, first }
    }

    fn cut(&mut self) -> Option<(Lsn, Bytes)> {
        let (lsn, after) = self.rest.split_first_chunk::<8>()?;
        let lsn = Lsn(u64::from_be_bytes(*lsn));
        let (length, after) = after.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if after.len() < length {
            return None;
        }
        self.rest.advance(HEAD_BYTES);
        Some((lsn, self.rest.split_to(length)))
    }
}

impl Iterator for Records {
    type Item = Result<(Lsn, Bytes), BaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.cut().ok_or(BaseError::Kept(self.first));
        if record.is_err() {
            self.rest.clear();
        }
        Some(record)
    }
}

/// Adds up packs as they are read, to be compared with what was written.
#[derive(Debug, Default)]
pub(in crate::eventlog) struct Sum {
    hasher: blake3::Hasher,
    count: u64,
}

impl Sum {
    /// The next pack, in order.
    pub(in crate::eventlog) fn add(&mut self, first: Lsn, pack: Bytes) -> Result<(), BaseError> {
        let pack = unpacked(first, pack)?;
        self.hasher.update(&first.to_key()).update(&pack);
        for record in Records::within(first, pack) {
            record?;
            self.count += 1;
        }
        Ok(())
    }

    /// Same as [`Packer::sum`].
    pub(in crate::eventlog) fn sum(&self) -> (u64, [u8; HASH_BYTES]) {
        (self.count, *self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packs(records: &[(u64, Vec<u8>)]) -> (Vec<(Lsn, Vec<u8>)>, Packer) {
        let mut packer = Packer::default();
        let mut packs: Vec<_> =
            records.iter().filter_map(|(lsn, value)| packer.push(Lsn(*lsn), value)).collect();
        packs.extend(packer.take());
        assert_eq!(packer.take(), None);
        (packs, packer)
    }

    fn records() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
        let length = prop_oneof![3 => 0..300_usize, 1 => 0..=RECORD_BYTES_MAX];
        let one = (1..100_u64, length).prop_map(|(step, length)| (step, vec![7; length]));
        prop::collection::vec(one, 0..40).prop_map(|mut all| {
            let mut lsn = 0;
            for (at, _) in &mut all {
                lsn += *at;
                *at = lsn;
            }
            all
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_is_found(records in records(), packed: bool) {
            let (packs, packer) = packs(&records);
            let mut found = Vec::new();
            let mut sum = Sum::default();
            for (first, pack) in packs {
                prop_assert!(pack.len() <= UNPACKED_BYTES_MAX);
                let pack = Bytes::from(if packed { stored(pack) } else { pack });
                sum.add(first, pack.clone()).unwrap();
                let start = found.len();
                for record in Records::of(first, pack).unwrap() {
                    let (lsn, value) = record.unwrap();
                    found.push((lsn.0, value.to_vec()));
                }
                prop_assert_eq!(first, Lsn(found[start].0));
            }
            prop_assert_eq!(&found, &records);
            prop_assert_eq!(sum.sum(), packer.sum());
        }

        #[test]
        fn any_bytes_end(pack in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
            let pack = match kind {
                0 => pack,
                1 => [&checksum(&pack), pack.as_slice()].concat(),
                _ => [&[packed::PACKED], pack.as_slice()].concat(),
            };
            if let Ok(records) = Records::of(Lsn(1), pack.into()) {
                records.for_each(drop);
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        for length in [3, 900] {
            let (packs, _) = packs(&[(3, vec![7; length]), (9, vec![4])]);
            let [(first, pack)] = packs.try_into().unwrap();
            let pack = stored(pack);
            assert!(pack.len() < 100);
            let whole: Vec<_> = Records::of(first, pack.clone().into()).unwrap().collect();
            for bit in 0..pack.len() * 8 {
                let mut damaged = pack.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                // There is more than one way to pack the same bytes.
                if let Ok(records) = Records::of(first, damaged.into()) {
                    assert!(length > 3 && records.collect::<Vec<_>>() == whole, "bit {bit}");
                }
            }
        }
    }
}
