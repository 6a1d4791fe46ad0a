//! What a worker wrote.

#![no_main]

use bytes::Bytes;
use ledgerun::wire::cb::Object;
use ledgerun::wire::output::Output;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::parse(Bytes::copy_from_slice(bytes)) else { return };
    let Ok(output) = Output::parse(object) else { return };
    let _ = (output.has_errors(), output.is_cacheable());
    for value in output.values() {
        let _ = output.value_name(value.id);
    }
    assert!(output.chunks().len() <= output.values().len());
});
