//! Of the log, how a record becomes a value and back.

#[path = "../../src/eventlog/codec.rs"]
pub mod codec;
#[expect(dead_code, reason = "only its error is needed")]
#[path = "../../src/eventlog/compact/base.rs"]
mod base;
// What opening a log can meet is in there as well, and nothing here opens one.
#[expect(dead_code, reason = "the codec's own errors are few of them")]
#[path = "../../src/eventlog/error.rs"]
mod error;
#[expect(dead_code, reason = "only its error is needed")]
#[path = "../../src/eventlog/frame.rs"]
mod frame;
#[path = "../../src/eventlog/head.rs"]
pub mod head;
#[path = "../../src/eventlog/packed.rs"]
mod packed;

mod compact {
    pub use super::base::BaseError;
}

pub use self::error::Error;
pub use self::frame::FrameError;
