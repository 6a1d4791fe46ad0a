//! The built-in workers, run as the service runs them: this very executable, started in a folder
//! laid out like an attempt's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "tests"
)]

mod exec;
mod protocol;
mod sandbox;
mod sdk;
mod shaders;
