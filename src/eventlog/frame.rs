//! Frames: successive records that lie under one key, since the storage engine takes as long for an
//! entry of one record as for one of twenty. `docs/format.md` describes them for other programs.

use bytes::{Buf, Bytes};

use super::codec::CODEC_VERSION;
use crate::domain::Lsn;
use crate::domain::record::RECORD_BYTES_MAX;

/// First byte of a frame, where a record that lies alone has its codec version.
const FRAME: u8 = 2;
/// Bytes before each record in a frame: its length, big-endian.
const LENGTH_BYTES: usize = 2;
/// Longest frame in bytes. No more than a record that lies alone may have, as the engine's pages
/// need.
const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX;

const _: () = assert!(FRAME != CODEC_VERSION && RECORD_BYTES_MAX <= u16::MAX as usize);

/// Packs the values of successive records into entries, each as full as they come.
#[derive(Debug, Default)]
pub(super) struct Packer {
    first: Lsn,
    entry: Vec<u8>,
    records: usize,
}

impl Packer {
    /// Adds the value of the record at `lsn`. Gives the entry before when it has no more room.
    pub(super) fn push(&mut self, lsn: Lsn, value: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        let more = LENGTH_BYTES + value.len();
        let full = if self.entry.len() + more > FRAME_BYTES_MAX { self.take() } else { None };
        if self.records == 0 {
            self.first = lsn;
            // One allocation in place of many, and none that is much too large.
            self.entry.reserve(if full.is_some() { FRAME_BYTES_MAX } else { 1 + more });
            self.entry.push(FRAME);
        }
        self.records += 1;
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.entry.extend_from_slice(&length.to_be_bytes());
        self.entry.extend_from_slice(value);
        full
    }

    /// The last entry, unless there is none.
    pub(super) fn take(&mut self) -> Option<(Lsn, Vec<u8>)> {
        let mut entry = std::mem::take(&mut self.entry);
        let records = std::mem::take(&mut self.records);
        if records == 1 {
            // Alone it lies as it is, and its value may be longer than a frame has room for.
            entry.drain(..=LENGTH_BYTES);
        }
        (records > 0).then_some((self.first, entry))
    }
}

/// Why an entry is no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("its frame of {bytes} bytes breaks off at byte {offset}")]
    Short { bytes: usize, offset: usize },
    #[error("its frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    Long(usize),
}

/// The records of the entry at `first`, each with its LSN and value. After an error there is none.
#[derive(Debug)]
pub(super) struct Records {
    /// What is left of the entry; none at its end.
    rest: Option<Bytes>,
    is_frame: bool,
    bytes: usize,
    next: Lsn,
}

impl Records {
    pub(super) fn of(first: Lsn, mut entry: Bytes) -> Self {
        let bytes = entry.len();
        let is_frame = entry.first() == Some(&FRAME);
        if is_frame {
            entry.advance(1);
        }
        Self { rest: Some(entry), is_frame, bytes, next: first }
    }

    /// The next value of a frame, of which `rest` is left.
    fn cut(&self, rest: &mut Bytes) -> Result<Bytes, FrameError> {
        if self.bytes > FRAME_BYTES_MAX {
            return Err(FrameError::Long(self.bytes));
        }
        let short = FrameError::Short { bytes: self.bytes, offset: self.bytes - rest.len() };
        let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(short);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if after.len() < length {
            return Err(short);
        }
        rest.advance(LENGTH_BYTES);
        Ok(rest.split_to(length))
    }
}

impl Iterator for Records {
    type Item = Result<(Lsn, Bytes), (Lsn, FrameError)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        let lsn = self.next;
        if self.is_frame {
            match self.cut(&mut rest) {
                Err(error) => return Some(Err((lsn, error))),
                Ok(value) => {
                    self.next = lsn.next();
                    self.rest = Some(rest).filter(|rest| !rest.is_empty());
                    return Some(Ok((lsn, value)));
                }
            }
        }
        // A record alone, or what its codec will refuse.
        self.next = lsn.next();
        Some(Ok((lsn, rest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(values: &[Vec<u8>]) -> Vec<(Lsn, Vec<u8>)> {
        let mut packer = Packer::default();
        let mut entries: Vec<_> =
            (5..).map(Lsn).zip(values).filter_map(|(lsn, value)| packer.push(lsn, value)).collect();
        entries.extend(packer.take());
        assert_eq!(packer.take(), None);
        entries
    }

    /// Values begin with their codec version.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![3 => 0..300_usize, 1 => 0..RECORD_BYTES_MAX];
        length.prop_map(|rest| [vec![CODEC_VERSION], vec![7; rest]].concat())
    }

    proptest! {
        #[test]
        fn what_was_packed_is_found(values in prop::collection::vec(value(), 0..60)) {
            let mut found = Vec::new();
            for (first, entry) in entries(&values) {
                prop_assert!(entry.len() <= FRAME_BYTES_MAX);
                let records = Records::of(first, entry.into());
                prop_assert_eq!(first, Lsn(5 + found.len() as u64));
                for record in records {
                    let (lsn, value) = record.unwrap();
                    prop_assert_eq!(lsn, Lsn(5 + found.len() as u64));
                    found.push(value.to_vec());
                }
            }
            prop_assert_eq!(found, values);
        }

        #[test]
        fn no_record_would_have_fitted_into_the_entry_before(
            values in prop::collection::vec(value(), 0..60),
        ) {
            let found: Vec<Vec<usize>> = entries(&values).into_iter().map(|(first, entry)| {
                let records = Records::of(first, entry.into());
                records.map(|record| LENGTH_BYTES + record.unwrap().1.len()).collect()
            }).collect();
            for pair in found.windows(2) {
                prop_assert!(1 + pair[0].iter().sum::<usize>() + pair[1][0] > FRAME_BYTES_MAX);
            }
        }

        #[test]
        fn any_bytes_end(entry in prop::collection::vec(any::<u8>(), 0..200), framed: bool) {
            let entry = if framed { [vec![FRAME], entry].concat() } else { entry };
            let bytes = entry.len();
            let records = Records::of(Lsn(1), entry.into());
            prop_assert!(records.count() <= bytes.max(1));
        }
    }

    #[test]
    fn a_lone_record_lies_as_it_is() {
        let long = vec![CODEC_VERSION; RECORD_BYTES_MAX];
        assert_eq!(entries(std::slice::from_ref(&long)), [(Lsn(5), long)]);
    }

    #[test]
    fn a_frame_that_breaks_off_names_the_record_and_the_byte() {
        let [(first, entry)] = entries(&[vec![1, 2, 3], vec![1, 4]]).try_into().unwrap();
        let cut = |to: usize| {
            let mut records = Records::of(first, entry[..to].to_vec().into());
            let error = records.find_map(Result::err);
            assert!(records.next().is_none(), "and nothing after it");
            error
        };
        assert_eq!(cut(10), None);
        assert_eq!(cut(9), Some((Lsn(6), FrameError::Short { bytes: 9, offset: 6 })));
        assert_eq!(cut(7), Some((Lsn(6), FrameError::Short { bytes: 7, offset: 6 })));
        assert_eq!(cut(1), Some((Lsn(5), FrameError::Short { bytes: 1, offset: 1 })));
        let long = Records::of(first, [&entry[..1], &[0; FRAME_BYTES_MAX]].concat().into()).next();
        assert_eq!(long, Some(Err((Lsn(5), FrameError::Long(FRAME_BYTES_MAX + 1)))));
    }
}
