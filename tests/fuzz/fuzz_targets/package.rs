//! Any bytes: the whole-message and the streaming parser give the same answer, and neither panics.

#![no_main]

mod support;

use ledgerun::wire::package::{Attachment, Error, Event, Limits, Package, Parser, parse};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    root_bytes_max: 1 << 16,
    attachments_max: 64,
    total_bytes_max: 1 << 20,
    attachment_bytes_max: 1 << 18,
    raw_bytes_max: 1 << 19,
};

/// Parses with pieces of `step` bytes.
fn stream(message: &[u8], step: usize) -> Result<Package, Error> {
    let mut parser = Parser::new(LIMITS, Some(message.len() as u64));
    let mut root = Vec::new();
    let mut attachments: Vec<Attachment> = Vec::new();
    for piece in message.chunks(step) {
        let mut input = piece;
        while let Some(event) = parser.next(&mut input)? {
            match event {
                Event::Root(bytes) => root = bytes,
                Event::Begin { entry, .. } => {
                    attachments.push(Attachment {
                        hash: entry.hash,
                        object: entry.object,
                        content: Vec::new(),
                    });
                }
                Event::Content(bytes) => {
                    attachments
                        .last_mut()
                        .expect("content has a beginning")
                        .content
                        .extend_from_slice(bytes);
                }
                Event::End { index, .. } => assert_eq!(index as usize, attachments.len()),
            }
        }
    }
    let entries = parser.finish()?;
    Ok(Package { root, root_hash: entries[0].hash, attachments })
}

fuzz_target!(init: support::pass_guarded_panics(), |input: (u8, bool, &[u8])| {
    let (step, sealed, bytes) = input;
    let mut message = bytes.to_vec();
    if sealed {
        let _ = support::seal_package(&mut message);
    }
    assert_eq!(parse(&message, LIMITS), stream(&message, usize::from(step) + 1));
});
