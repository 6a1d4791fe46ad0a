//! A worker descriptor in either spelling: no path that it lets through leaves the worker's folder.

#![no_main]

use std::path::{Component, Path};

use bytes::Bytes;
use ledgerun::wire::cb::Object;
use ledgerun::wire::descriptor::Descriptor;
use ledgerun::wire::json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let descriptor = match Object::parse(Bytes::copy_from_slice(bytes)) {
        Ok(object) => Descriptor::parse(object),
        Err(_) => match json::parse(bytes) {
            Ok(value) => Descriptor::from_json(&value),
            Err(_) => return,
        },
    };
    let Ok(descriptor) = descriptor else { return };
    let files = descriptor.executables().iter().chain(descriptor.files()).map(|file| &file.name);
    for path in files.chain(descriptor.dirs()) {
        assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))));
    }
    assert!(descriptor.executables().iter().any(|file| file.name == descriptor.path()));
});
