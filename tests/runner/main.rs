//! The local runner with real processes: what it reports, what it keeps, what it leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests"
)]

mod bench;
mod ends;
mod kept;
mod outputs;
mod processes;
mod survival;
