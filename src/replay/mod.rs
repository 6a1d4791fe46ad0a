//! Looking back: recordings that are kept, carried elsewhere and run again.

pub mod archive;
pub mod compare;
pub mod plan;
pub mod recorded;
pub mod source;
