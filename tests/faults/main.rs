//! The fault matrix: the real program, killed, stopped, starved of disk, descriptors, processes and
//! memory, cut from power, on damaged files. Whatever it acknowledged is there afterwards, or it says
//! what is not. `docs/operations.md` has the table, one row for each kind of fault; a test compares it
//! with the tests here.
//!
//! `LEDGERUN_FAULT_KILLS` is the number of random kills (50), `LEDGERUN_FAULT_CUTS` that of power cuts
//! (20), `LEDGERUN_FAULT_MOMENTS` has faults injected at every system call up to this one,
//! `LEDGERUN_FAULT_FLIPS` is how many damages of each kind of file are tried (20).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod chores;
mod directory;
mod exhaustion;
mod full_disk;
mod http;
mod inject;
mod kills;
mod load;
mod power_cut;
#[path = "../support/powercut.rs"]
mod powercut;
mod processes;
mod rot;
#[path = "../support/service.rs"]
mod service;
mod starts;
mod stops;
mod storage;
mod witness;
mod workers;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use powercut::disk;

/// Held by tests that measure times or load the machine, so that they don't disturb each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what a test lacks here, in spite of the capture of what tests print.
fn skipped(missing: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: a test needs {missing}");
}

/// The moments at which a fault is to come: a few, or all up to what was asked for.
fn moments(few: &[u64]) -> Vec<u64> {
    match setting("LEDGERUN_FAULT_MOMENTS", 0) {
        0 => few.to_vec(),
        all => (1..=all).collect(),
    }
}

/// A number that whoever runs the tests may set.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Says what a failure can be looked into with.
#[expect(clippy::print_stdout, reason = "shown when a test fails")]
fn say(text: &str) {
    println!("{text}");
}
