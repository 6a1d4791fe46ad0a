//! Data directories in one file.

use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

pub(crate) fn pack(folder: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    archive.mode(tar::HeaderMode::Deterministic);
    archive.append_dir_all("", folder).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn unpack(packed: &[u8], folder: &Path) {
    tar::Archive::new(GzDecoder::new(packed)).unpack(folder).unwrap();
}
