//! What the service costs, as ratios to what this machine can do, measured in one run.
//!
//! `cargo bench --bench service` prints everything; a name after `--` picks a part: `submit`,
//! `batch`, `noop`, `chunks`, `memory`, `queries`, `past`, `replay`, `start`, `steady`. Figures are
//! medians of three, with the two
//! sides of each ratio taken in turn, so that a machine that drifts moves both.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench measures time, prints, and may fail loudly"
)]

mod actions;
mod chunks;
mod events;
mod finished;
mod limits;
mod load;
mod memory;
mod noop;
mod past;
mod queries;
mod replay;
mod server;
mod start;
mod steady;
mod submit;

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if words.first().is_some_and(|word| word == limits::EMPTY_ROUTE) {
        return limits::serve_empty_route();
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    if wanted("submit") {
        submit::singles();
    }
    if wanted("batch") {
        submit::batches();
    }
    if wanted("noop") {
        noop::run();
    }
    if wanted("chunks") {
        chunks::run();
    }
    if wanted("memory") {
        memory::run();
    }
    if wanted("queries") {
        queries::run();
    }
    if wanted("past") {
        past::run();
    }
    if wanted("replay") {
        replay::run();
    }
    if wanted("start") {
        start::run();
    }
    if wanted("steady") {
        steady::run();
    }
}

/// The median of an odd number of figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
