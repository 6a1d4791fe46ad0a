//! What the heads of files and entries have in common: fields of a fixed length and a short hash.

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 8;

/// A short hash, against damage and not against malice.
pub fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut short = [0; CHECKSUM_BYTES];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut short);
    short
}

/// The next field; none when there are fewer bytes.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}
