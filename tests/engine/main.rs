#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "sizes of tests are small")]
//! The real program and a client that behaves as Unreal's does: its requests byte by byte, its
//! order of steps, and what it takes an answer for. Then everything that such a client never sends.

mod builds;
mod bytes;
mod editor;
mod host;
mod memory;
mod not_found;
mod result;
mod strange_requests;
mod wire;
mod work;
mod wrong_inputs;

#[path = "../support/service.rs"]
mod service;
