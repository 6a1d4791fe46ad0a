//! The `ledgerun` program: parse, run, exit code. Everything else is in the library.

use std::process::ExitCode;

/// See `src/cli/allocator.rs` for its settings.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ledgerun::cli::main()
}
