//! Unsigned integers of one to nine bytes, big-endian. The number of leading one-bits in the first
//! byte is the number of bytes that follow it.

/// Longest encoding, in bytes.
pub const BYTES_MAX: usize = 9;

/// How many bytes the integer takes whose encoding starts with `first`.
pub const fn len_from(first: u8) -> usize {
    first.leading_ones() as usize + 1
}

/// How many bytes the shortest encoding of `value` takes.
pub const fn len_of(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    if bits > 56 { BYTES_MAX } else { bits.div_ceil(7) }
}

/// Reads one integer; `None` when `bytes` ends before it does. Encodings that are longer than
/// needed are read too. The second number is how many bytes it took.
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = len_from(first);
    let more = bytes.get(1..len)?;
    // The ones, and the zero after them, are not part of the number.
    let top = if len >= 8 { 0 } else { u64::from(first) & (0x7f >> (len - 1)) };
    Some((more.iter().fold(top, |value, byte| value << 8 | u64::from(*byte)), len))
}

/// Appends the shortest encoding of `value`.
pub fn write(out: &mut Vec<u8>, value: u64) {
    let (bytes, len) = encode(value);
    out.extend(bytes.iter().skip(BYTES_MAX - len));
}

/// The shortest encoding of `value`, at the end of the array; the second number is its length.
pub fn encode(value: u64) -> ([u8; BYTES_MAX], usize) {
    let len = len_of(value);
    let mut bytes = [0; BYTES_MAX];
    let mut rest = value;
    for byte in bytes.iter_mut().rev() {
        *byte = rest.to_le_bytes()[0];
        rest >>= 8;
    }
    let marker = (0xff00_u16 >> (len - 1)).to_le_bytes()[0];
    if let Some(first) = bytes.get_mut(BYTES_MAX - len) {
        *first |= marker;
    }
    (bytes, len)
}
