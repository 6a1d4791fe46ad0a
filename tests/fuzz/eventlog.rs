//! Of the log, how a record becomes a value and back.

#[path = "../../src/eventlog/codec.rs"]
pub mod codec;
// What opening a log can meet is in there as well, and nothing here opens one.
#[expect(dead_code, reason = "the codec's own errors are few of them")]
#[path = "../../src/eventlog/error.rs"]
mod error;
#[expect(dead_code, reason = "only its error is needed")]
#[path = "../../src/eventlog/frame.rs"]
mod frame;

pub use self::error::Error;
pub use self::frame::FrameError;
