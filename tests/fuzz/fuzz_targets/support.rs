//! What targets share that read compressed buffers.

use std::panic;

use ledgerun::domain::ContentHash;
use ledgerun::wire::compressed::{HEADER_BYTES, Header, Method};

/// Lets the guarded panics of the Oodle library pass, which are its way to refuse damaged blocks.
/// libFuzzer would end the process at any panic; now it does for those that are ours.
pub fn pass_guarded_panics() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let guarded = |file: &str| file.contains("oozextract") || file.contains("/library/");
        if !info.location().is_some_and(|at| guarded(at.file())) {
            abort(info);
        }
    }));
}

/// Makes the checksum of a compressed buffer fit, since no mutation would; the blocks behind it are
/// the interesting part.
pub fn seal_buffer(packed: &mut [u8]) -> Option<Header> {
    let header = Header::parse(packed).ok()?;
    let (words, _) = packed[HEADER_BYTES..].as_chunks::<4>();
    let blocks = if header.method == Method::Stored { 0 } else { header.block_count as usize };
    let table: Vec<u32> = words.iter().take(blocks).map(|word| u32::from_be_bytes(*word)).collect();
    let sealed = header.to_bytes(&table);
    packed[..sealed.len()].copy_from_slice(&sealed);
    Some(header)
}

/// The same for the hashes in the table of a package message, as far as its payloads are there.
#[allow(dead_code, reason = "not every target reads packages")]
pub fn seal_package(message: &mut [u8]) -> Option<()> {
    const HEAD_BYTES: usize = 16;
    const LINE_BYTES: usize = 32;
    let attachments = u32::from_le_bytes(*message.get(4..)?.first_chunk()?) as usize;
    let table_end = HEAD_BYTES + LINE_BYTES * (attachments + 1);
    let (head, mut payloads) = message.split_at_mut_checked(table_end)?;
    for line in head[HEAD_BYTES..].chunks_exact_mut(LINE_BYTES) {
        let length = u64::from_le_bytes(*line.first_chunk()?) as usize;
        let (payload, rest) = std::mem::take(&mut payloads).split_at_mut_checked(length)?;
        payloads = rest;
        let compressed = line[8] & 1 != 0;
        let hash = match compressed.then(|| seal_buffer(payload)).flatten() {
            Some(header) => header.content_hash(),
            None => ContentHash::of(payload),
        };
        line[12..].copy_from_slice(hash.as_bytes());
    }
    Some(())
}
