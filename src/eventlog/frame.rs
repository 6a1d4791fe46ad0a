//! Frames: successive records that lie under one key, since the storage engine takes as long for an
//! entry of one record as for one of twenty. Packed, since each byte of it is written behind an
//! answer that waits. `docs/format.md` describes them for other programs.

use bytes::{Buf, Bytes};

use super::codec::CODEC_VERSION;
use super::packed::{PACKED, Refused, pack, unpack};
use crate::domain::Lsn;
use crate::domain::record::RECORD_BYTES_MAX;

/// First byte of a frame, where a record that lies alone has its codec version.
const FRAME: u8 = 2;
/// Bytes before each record in a frame: its length, big-endian.
const LENGTH_BYTES: usize = 2;
/// Longest frame in bytes, as it lies. No more than a record that lies alone may have, as the
/// engine's pages need.
const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// What one frame has at most when it is unpacked: who looks for one record unpacks all of it.
const UNPACKED_BYTES_MAX: usize = 32 << 10;

const _: () = assert!(FRAME != CODEC_VERSION && PACKED != CODEC_VERSION);
const _: () = assert!(RECORD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(UNPACKED_BYTES_MAX <= u16::MAX as usize);

/// An entry: the LSN of its first record, and what lies there.
pub(super) type Entry = (Lsn, Vec<u8>);

/// Packs the values of successive records into entries.
#[derive(Debug)]
pub(super) struct Packer {
    /// Of the first record that waits.
    first: Lsn,
    /// The records that wait, each behind its length.
    body: Vec<u8>,
    /// Where each of them ends in it.
    ends: Vec<usize>,
    /// How many bytes of records are expected to fit into a frame, by what the last one took.
    fits: usize,
}

impl Default for Packer {
    fn default() -> Self {
        Self { first: Lsn::ZERO, body: Vec::new(), ends: Vec::new(), fits: UNPACKED_BYTES_MAX }
    }
}

impl Packer {
    /// Adds the value of the record at `lsn`. Gives the entries before when they are full.
    pub(super) fn push(&mut self, lsn: Lsn, value: &[u8]) -> Vec<Entry> {
        let full = self.body.len() + LENGTH_BYTES + value.len() > self.fits;
        let entries = if full { self.take() } else { Vec::new() };
        if self.ends.is_empty() {
            self.first = lsn;
        }
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.body.extend_from_slice(&length.to_be_bytes());
        self.body.extend_from_slice(value);
        self.ends.push(self.body.len());
        entries
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.ends.clear();
    }

    /// The entries of all that waits, none when nothing does.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        let (body, ends) = (self.body.as_slice(), self.ends.as_slice());
        let mut entries = Vec::new();
        let (mut rest, mut start, mut lsn) = (ends, 0, self.first);
        while let Some(first) = rest.first() {
            let entry = enframed(body, start, rest, &mut self.fits);
            // Alone it lies as it is, and its value may be longer than a frame has room for.
            let alone = || (1, part(body, start + LENGTH_BYTES, *first).to_vec());
            let (count, entry) = entry.unwrap_or_else(alone);
            entries.push((lsn, entry));
            let (packed, after) = rest.split_at(count);
            start = packed.last().copied().unwrap_or(start);
            (rest, lsn) = (after, Lsn(lsn.0 + count as u64));
        }
        self.clear();
        entries
    }
}

/// A frame of as many records as fit into it, and how many these are; none when it would be one.
/// They begin at `start` of `body`, and end where `ends` says.
fn enframed(
    body: &[u8],
    start: usize,
    ends: &[usize],
    fits: &mut usize,
) -> Option<(usize, Vec<u8>)> {
    let mut limit = UNPACKED_BYTES_MAX;
    loop {
        let count = ends.partition_point(|end| end - start <= limit);
        let end = ends.get(..count).filter(|ends| ends.len() > 1)?.last()?;
        let records = part(body, start, *end);
        let frame = frame(records);
        let should_fit = records.len() * FRAME_BYTES_MAX / frame.len();
        if frame.len() <= FRAME_BYTES_MAX {
            // Short ones don't tell how well more of them would pack.
            if records.len() > FRAME_BYTES_MAX / 2 {
                *fits = should_fit.min(UNPACKED_BYTES_MAX);
            }
            return Some((count, frame));
        }
        // A little less, so that the next attempt is mostly the last.
        limit = should_fit - should_fit / 16;
    }
}

/// The frame of `records`, packed if that makes it shorter.
fn frame(records: &[u8]) -> Vec<u8> {
    pack(records).unwrap_or_else(|| [&[FRAME], records].concat())
}

fn part(body: &[u8], start: usize, end: usize) -> &[u8] {
    body.get(start..end).unwrap_or_default()
}

/// Why an entry is no frame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("its frame of {bytes} bytes breaks off at byte {offset}")]
    Short { bytes: usize, offset: usize },
    #[error("its frame of {0} bytes is over the limit of {FRAME_BYTES_MAX}")]
    Long(usize),
    #[error("its frame would be {0} bytes unpacked, over the limit of {UNPACKED_BYTES_MAX}")]
    LongUnpacked(usize),
    #[error("its frame of {bytes} bytes can't be unpacked to the {unpacked} it should have")]
    Packed { bytes: usize, unpacked: usize },
}

/// The records of the entry at `first`, each with its LSN and value. After an error there is none.
#[derive(Debug)]
pub(super) struct Records {
    rest: Rest,
    next: Lsn,
}

/// What is left of an entry.
#[derive(Debug)]
enum Rest {
    /// A record alone, or what its codec will refuse.
    Alone(Bytes),
    /// Records of a frame, each behind its length; `bytes` is where they end in the frame.
    Frame {
        records: Bytes,
        bytes: usize,
    },
    Broken(FrameError),
    None,
}

impl Records {
    pub(super) fn of(first: Lsn, entry: Bytes) -> Self {
        Self { rest: Rest::of(entry), next: first }
    }
}

impl Rest {
    fn of(mut entry: Bytes) -> Self {
        let bytes = entry.len();
        match entry.first() {
            Some(&(FRAME | PACKED)) if bytes > FRAME_BYTES_MAX => {
                Self::Broken(FrameError::Long(bytes))
            }
            Some(&FRAME) => {
                entry.advance(1);
                Self::Frame { records: entry, bytes }
            }
            Some(&PACKED) => match unpack(&entry, UNPACKED_BYTES_MAX) {
                Ok(records) => Self::Frame { bytes: records.len(), records: records.into() },
                Err(refused) => Self::Broken(FrameError::of(refused, bytes)),
            },
            _ => Self::Alone(entry),
        }
    }
}

impl FrameError {
    /// Why a frame of `bytes` can't be unpacked.
    const fn of(refused: Refused, bytes: usize) -> Self {
        match refused {
            Refused::Short(offset) => Self::Short { bytes, offset },
            Refused::Long(unpacked) => Self::LongUnpacked(unpacked),
            Refused::Damaged(unpacked) => Self::Packed { bytes, unpacked },
        }
    }
}

/// The next value of a frame that ends at `bytes`, of which `rest` is left.
fn cut(rest: &mut Bytes, bytes: usize) -> Result<Bytes, FrameError> {
    let short = FrameError::Short { bytes, offset: bytes - rest.len() };
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

impl Iterator for Records {
    type Item = Result<(Lsn, Bytes), (Lsn, FrameError)>;

    fn next(&mut self) -> Option<Self::Item> {
        let lsn = self.next;
        let value = match std::mem::replace(&mut self.rest, Rest::None) {
            Rest::None => return None,
            Rest::Broken(error) => return Some(Err((lsn, error))),
            Rest::Alone(value) => value,
            Rest::Frame { mut records, bytes } => match cut(&mut records, bytes) {
                Err(error) => return Some(Err((lsn, error))),
                Ok(value) => {
                    if !records.is_empty() {
                        self.rest = Rest::Frame { records, bytes };
                    }
                    value
                }
            },
        };
        self.next = lsn.next();
        Some(Ok((lsn, value)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eventlog::packed::HEAD_BYTES;

    fn entries(values: &[Vec<u8>]) -> Vec<(Lsn, Vec<u8>)> {
        let mut packer = Packer::default();
        let mut entries: Vec<_> =
            (5..).map(Lsn).zip(values).flat_map(|(lsn, value)| packer.push(lsn, value)).collect();
        entries.extend(packer.take());
        assert!(packer.take().is_empty());
        entries
    }

    /// Values begin with their codec version. Some pack to nearly nothing, some not at all.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![3 => 0..300_usize, 1 => 0..RECORD_BYTES_MAX];
        (length, any::<u64>(), any::<bool>()).prop_map(|(rest, seed, random)| {
            let mut value = vec![CODEC_VERSION; rest + 1];
            if random {
                blake3::Hasher::new()
                    .update(&seed.to_be_bytes())
                    .finalize_xof()
                    .fill(&mut value[1..]);
            }
            value
        })
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
        fn frames_are_as_full_as_they_come(
            values in prop::collection::vec(value(), 0..60),
        ) {
            let bytes: usize = values.iter().map(|value| LENGTH_BYTES + value.len()).sum();
            let entries = entries(&values);
            // Each but the last has more than half of its room taken, however the records pack.
            let most = bytes.div_ceil(FRAME_BYTES_MAX / 2) + 1;
            prop_assert!(entries.len() <= most, "{} entries of {bytes} bytes", entries.len());
        }

        #[test]
        fn any_bytes_end(entry in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4_u8) {
            let entry = if kind > 0 { [vec![kind], entry].concat() } else { entry };
            let records = Records::of(Lsn(1), entry.into());
            prop_assert!(records.count() <= UNPACKED_BYTES_MAX);
        }

        #[test]
        fn a_damaged_frame_gives_no_more_than_it_may(
            values in prop::collection::vec(value(), 2..40), at: usize, bit in 0..8_u8,
        ) {
            for (first, mut entry) in entries(&values) {
                let at = at % entry.len();
                entry[at] ^= 1 << bit;
                let records = Records::of(first, entry.into());
                prop_assert!(records.count() <= UNPACKED_BYTES_MAX);
            }
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

    #[test]
    fn records_that_are_alike_share_a_frame() {
        let alike: Vec<_> =
            (0..40_u8).map(|it| [vec![CODEC_VERSION; 600], vec![it]].concat()).collect();
        let [(first, entry)] = entries(&alike).try_into().unwrap();
        assert_eq!((first, entry.first()), (Lsn(5), Some(&PACKED)));
        assert!(entry.len() < 1_000, "{} bytes", entry.len());
    }

    #[test]
    fn noise_is_forgotten_when_records_are_alike_again() {
        let mut packer = Packer::default();
        let mut noise = vec![0; 20_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let alike = [7; 500];
        let values = noise.chunks(500).chain([&alike[..]; 400]);
        let frames: Vec<Entry> =
            (1..).map(Lsn).zip(values).flat_map(|(lsn, value)| packer.push(lsn, value)).collect();
        assert!(frames[0].1.len() > 3_000);
        let [.., before, last] = frames.as_slice() else { panic!("{} frames", frames.len()) };
        assert_eq!(last.0.0 - before.0.0, (UNPACKED_BYTES_MAX / 502) as u64);
    }

    #[test]
    fn a_packed_frame_that_lies_is_refused() {
        let alike = vec![vec![CODEC_VERSION; 600]; 3];
        let [(first, entry)] = entries(&alike).try_into().unwrap();
        let (bytes, unpacked) = (entry.len(), 3 * 602);
        let error = |head: &[u8], rest: &[u8]| {
            let mut records = Records::of(first, [head, rest].concat().into());
            let error = records.next();
            assert!(records.next().is_none(), "and nothing after it");
            error.unwrap().unwrap_err()
        };
        let packed = &entry[HEAD_BYTES..];
        for length in [unpacked - 1, unpacked + 1, 0] {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            let lied = FrameError::Packed { bytes, unpacked: length };
            assert_eq!(error(&[PACKED, high, low], packed), (first, lied));
        }
        let short = FrameError::Packed { bytes: bytes - 1, unpacked };
        assert_eq!(error(&entry[..bytes - 1], &[]), (first, short));
        let long = FrameError::LongUnpacked(0xffff);
        assert_eq!(error(&[PACKED, 0xff, 0xff], packed), (first, long));
        let cut = FrameError::Short { bytes: 2, offset: 2 };
        assert_eq!(error(&entry[..2], &[]), (first, cut));
    }
}
