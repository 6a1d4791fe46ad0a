//! Ledgerun against what people would pick instead, in one run on one machine.
//!
//! `cargo bench --bench peers -- [--quick] [--only NAME]… [--part PART]… [--dir DIR]
//! [--write docs/performance.md]`
//!
//! Parts: `submit`, `batch`, `bulk`, `noop`, `finished`. Each round measures everybody once, in
//! turns; what counts is the median of five rounds (`--quick`: one, and short ones). The peers come
//! from `benches/peers/install.sh`; who is missing has a row that says so. Everything is kept below
//! DIR, which must be on a real disk, and removed.

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

#[path = "../service/actions.rs"]
#[allow(dead_code, reason = "shared with the bench `service`, which uses the rest")]
mod actions;
#[path = "../service/events.rs"]
mod events;
mod figures;
#[path = "../service/finished.rs"]
#[allow(dead_code, reason = "shared with the bench `service`, which uses the rest")]
mod finished;
mod jobs;
mod limits;
mod load;
mod machine;
mod options;
mod process;
mod rounds;
mod systems;
mod table;

use figures::Figures;
use options::Options;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, address] = words.as_slice()
        && word == systems::empty::ARGUMENT
    {
        return systems::empty::serve(address);
    }
    let options = Options::parse(&words);
    machine::check(&options.dir);
    let mut figures = Figures::default();
    let rounds = if options.quick { 1 } else { 5 };
    for round in 1..=rounds {
        println!("\n# Round {round} of {rounds}");
        rounds::one(&options, &mut figures);
    }
    let page = table::page(&figures, &options, rounds);
    println!("\n{page}");
    if let Some(file) = &options.write {
        table::write(file, &page);
    }
}

/// Where `install.sh` put something.
fn installed(what: &str) -> String {
    let build = std::path::Path::new(env!("CARGO_BIN_EXE_ledgerun"));
    // The build is in `target/release`.
    let target = build.parent().and_then(std::path::Path::parent).unwrap();
    target.join("peers").join(what).to_string_lossy().into_owned()
}
