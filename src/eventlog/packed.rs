//! Bytes packed with LZ4, as frames and packs lie in the database.

/// First byte of what is packed.
pub(super) const PACKED: u8 = 3;
/// Before the LZ4 block: [`PACKED`], and how long it is when it is unpacked, big-endian.
pub(super) const HEAD_BYTES: usize = 3;
/// Less than this isn't worth packing.
const FROM_BYTES: usize = 512;

/// `bytes` packed, if that makes them shorter and there are at most 65,535 of them.
pub(super) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok().filter(|_| bytes.len() >= FROM_BYTES)?;
    let most = lz4_flex::block::get_maximum_output_size(bytes.len());
    let mut packed = vec![0; HEAD_BYTES + most];
    let [kind, high, low, block @ ..] = packed.as_mut_slice() else { return None };
    *kind = PACKED;
    [*high, *low] = length.to_be_bytes();
    let found = HEAD_BYTES + lz4_flex::block::compress_into(bytes, block).ok()?;
    packed.truncate(found);
    (found < bytes.len()).then_some(packed)
}

/// Why bytes can't be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// They are no longer than this, which is less than their head.
    Short(usize),
    /// They would be this long.
    Long(usize),
    /// They are not what was packed; they should have been this long.
    Damaged(usize),
}

/// What [`pack`] made `packed` of, if that has at most `most` bytes.
pub(super) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
    let [PACKED, high, low, block @ ..] = packed else {
        return Err(Refused::Short(packed.len()));
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > most {
        return Err(Refused::Long(length));
    }
    let mut bytes = vec![0; length];
    match lz4_flex::block::decompress_into(block, &mut bytes) {
        Ok(found) if found == length && length > 0 => Ok(bytes),
        _ => Err(Refused::Damaged(length)),
    }
}
