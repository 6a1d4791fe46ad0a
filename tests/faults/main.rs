//! The real program, killed, stopped, starved of disk and cut from power. Whatever it acknowledged
//! is there afterwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod full_disk;
mod http;
mod kills;
mod load;
mod power_cut;
#[path = "../support/powercut.rs"]
mod powercut;
mod processes;
#[path = "../support/service.rs"]
mod service;
mod starts;
mod stops;
mod storage;
mod witness;
mod workers;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by tests that measure times or load the machine, so that they don't disturb each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A disk of its own for a test, or none where this machine can't: then it says so in spite of the
/// capture of what tests print.
fn disk(mebibytes: u64) -> Option<powercut::Disk> {
    let disk = powercut::Disk::new(mebibytes);
    disk.map_err(|reason| {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no disk of its own for a test ({reason})");
    })
    .ok()
}
