//! Being built.

use crate::runner::supervisor;

/// The program.
pub fn main() -> std::process::ExitCode {
    // Before anything else is set up: the supervisor has to stay small.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervisor::SUBCOMMAND) {
        return supervisor::main();
    }
    if let Some(code) = crate::worker::builtin::main_if_worker(std::env::args_os()) {
        return code;
    }
    std::process::ExitCode::SUCCESS
}
