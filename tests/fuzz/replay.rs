//! Of recordings, the archives that strangers send.

#[path = "../../src/replay/archive/mod.rs"]
pub mod archive;
#[path = "../../src/replay/flagged.rs"]
mod flagged;
#[path = "../../src/replay/references.rs"]
mod references;
