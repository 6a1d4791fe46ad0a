//! A value of the log: refused, or a record that is written and read as itself.

#![no_main]

use ledgerun::domain::Lsn;
use ledgerun::eventlog::codec::{CODEC_VERSION, Encoder, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The fuzzer shouldn't have to find the version byte.
    let value = [&[CODEC_VERSION][..], bytes].concat();
    let lsn = Lsn(7);
    match decode(lsn, &value) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok((record, after)) => {
            let mut encoder = Encoder::default();
            // Fields that came without their names take more bytes now, perhaps too many.
            let Ok((again, _)) = encoder.encode(&record, after) else { return };
            assert_eq!(decode(lsn, again).ok(), Some((record, after)));
        }
    }
});
