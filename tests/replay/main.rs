//! Recording, exporting, importing and running again, by the real program: what comes out the same,
//! what is told when it doesn't, and that a kill at any moment loses or repeats nothing.
//!
//! `LEDGERUN_REPLAY_KILLS` is how often each thing is killed (20), `LEDGERUN_REPLAY_JOBS` how many
//! jobs the large session has at least (1,000).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod actions;
mod api;
mod changed;
mod ends;
mod hot;
#[path = "../faults/http.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod http;
mod kills;
mod plans;
mod scripts;
#[path = "../support/service.rs"]
mod service;
mod session;
mod wire;

use std::time::Duration;

use ledgerun::clock::{Clock as _, System, monotonic};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// How long something that happens in the background may take before the test fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// Looks until `wanted` gives something.
#[track_caller]
fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let begun = monotonic();
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number that whoever runs the tests may set.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// A random source whose seed is printed, so that a failure can be looked into.
#[expect(clippy::print_stdout, reason = "whoever sees it fail can look into it")]
fn random() -> StdRng {
    let seed = u64::try_from(System.now().0).unwrap();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}
