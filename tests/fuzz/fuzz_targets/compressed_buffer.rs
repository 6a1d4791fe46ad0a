//! Any bytes: the whole-buffer and the streaming decoder give the same answer, and neither panics.

#![no_main]

use ledgerun::wire::compressed::{Decoder, Error, HEADER_BYTES, Header, Limits, Method, decode};
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

/// Makes the checksum fit, since no mutation would; the blocks behind it are the interesting part.
fn reseal(packed: &mut [u8]) {
    let Ok(header) = Header::parse(packed) else { return };
    let (words, _) = packed[HEADER_BYTES..].as_chunks::<4>();
    let blocks = if header.method == Method::Stored { 0 } else { header.block_count as usize };
    let table: Vec<u32> = words.iter().take(blocks).map(|word| u32::from_be_bytes(*word)).collect();
    let sealed = header.to_bytes(&table);
    packed[..sealed.len()].copy_from_slice(&sealed);
}

fuzz_target!(init: {
    // The Oodle library panics on damaged blocks and is guarded; libFuzzer would end the process at
    // any panic, so it only does for those that are ours.
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|at| at.file().contains("oozextract") || at.file().contains("/library/")) {
            abort(info);
        }
    }));
}, |input: (u8, bool, &[u8])| {
    let (step, seal, bytes) = input;
    let mut packed = bytes.to_vec();
    if seal {
        reseal(&mut packed);
    }
    let limits = Limits::raw(RAW_BYTES_MAX);
    let whole = decode(&packed, limits);
    if let Ok(raw) = &whole {
        assert!(raw.len() as u64 <= RAW_BYTES_MAX);
    }
    assert_eq!(whole, stream(&packed, usize::from(step) + 1, limits));
});
