//! Any bytes: the whole-buffer and the streaming decoder give the same answer, and neither panics.

#![no_main]

mod support;

use std::io::Read;

use ledgerun::wire::compressed::{Decoder, Error, Limits, Reader, decode};
use libfuzzer_sys::fuzz_target;

const RAW_BYTES_MAX: u64 = 1 << 20;

/// Decodes with pieces of `step` bytes.
fn stream(packed: &[u8], step: usize, limits: Limits) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new(limits, Some(packed.len() as u64));
    let mut raw = Vec::new();
    for piece in packed.chunks(step) {
        let mut input = piece;
        while let Some(bytes) = decoder.next(&mut input)? {
            raw.extend_from_slice(bytes);
        }
    }
    decoder.finish().map(|_| raw)
}

fuzz_target!(init: support::pass_guarded_panics(), |input: (u8, bool, &[u8])| {
    let (step, sealed, bytes) = input;
    let mut packed = bytes.to_vec();
    if sealed {
        support::seal_buffer(&mut packed);
    }
    let limits = Limits::raw(RAW_BYTES_MAX);
    let whole = decode(&packed, limits);
    if let Ok(raw) = &whole {
        assert!(raw.len() as u64 <= RAW_BYTES_MAX);
    }
    assert_eq!(whole, stream(&packed, usize::from(step) + 1, limits));
    let mut raw = Vec::new();
    let mut reader = Reader::new(packed.as_slice(), limits, Some(packed.len() as u64));
    let read = reader.read_to_end(&mut raw).map(|_| raw);
    assert_eq!(read.ok(), whole.ok());
});
