//! Looking back: recordings that are kept, carried elsewhere and run again.

pub mod archive;
pub mod compare;
pub mod export;
mod flagged;
pub mod plan;
pub mod recorded;
mod references;
pub mod selection;
pub mod source;
