//! A submission as compact binary: read, and kept byte for byte.

#![no_main]

use bytes::Bytes;
use ledgerun::domain::ContentHash;
use ledgerun::wire::action::Submission;
use ledgerun::wire::cb::Object;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::parse(Bytes::copy_from_slice(bytes)) else { return };
    match Submission::parse(object.clone()) {
        Ok(Submission::One(action)) => {
            assert_eq!(action.object(), &object);
            assert_eq!(action.id().0, ContentHash::of(object.bytes()));
            assert!(action.chunks().len() <= object.attachments().len());
        }
        Ok(Submission::Batch(items)) => {
            for action in items.iter().flatten() {
                let again = Object::parse(action.object().bytes().clone());
                assert_eq!(again.as_ref(), Ok(action.object()));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
