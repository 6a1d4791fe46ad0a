//! Failures, as the log keeps them.

use std::io;

use super::local::Cut;
use crate::domain::event::REASON_BYTES_MAX;
use crate::domain::{ChunkId, Failure, FailureKind, sentence};

/// Why an attempt goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    /// Ended from outside.
    Cut(Cut),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A failure with `reason`, cut to what the log takes.
pub(super) fn failure(kind: FailureKind, reason: impl Into<String>) -> Failure {
    let mut reason = reason.into();
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Failure { kind, reason, exit_code: None, signal: None, stderr: None }
}

/// The attempt's folder couldn't be made ready.
pub(super) fn unprepared(what: &str, error: &io::Error) -> Failure {
    failure(FailureKind::Launch, format!("cannot {what}: {error}"))
}

/// `chunk`, needed as `what`, is missing or damaged, or the store failed over it.
pub(super) fn unreadable(what: &str, chunk: ChunkId, error: &crate::chunks::Error) -> Failure {
    use crate::chunks::Error;
    match error {
        Error::Missing(_) => failure(
            FailureKind::InputLost,
            format!("{what} (chunk {chunk}) is no longer held; upload it again"),
        ),
        Error::Damaged { .. } | Error::Mismatch { .. } => failure(
            FailureKind::InputLost,
            format!("{what} (chunk {chunk}) is damaged; upload it again: {error}"),
        ),
        _ => failure(
            FailureKind::RunnerLost,
            format!("cannot read {what} (chunk {chunk}): {}", sentence(error)),
        ),
    }
}

/// The attempt was ended from outside.
pub(super) fn cut(cut: Cut) -> Failure {
    match cut {
        Cut::Killed => failure(FailureKind::Exit, "killed on request"),
        Cut::Stopped => failure(FailureKind::RunnerLost, "the service stopped before it ended"),
    }
}

/// "killed by signal 11 (SIGSEGV)".
pub(super) fn signal_text(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(name) => format!("killed by signal {signal} ({})", name.as_str()),
        Err(_) => format!("killed by signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = failure(FailureKind::Exit, "ä".repeat(REASON_BYTES_MAX));
        assert_eq!(cut.reason, "ä".repeat(REASON_BYTES_MAX / 2));
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(signal_text(11), "killed by signal 11 (SIGSEGV)");
        assert_eq!(signal_text(40), "killed by signal 40");
    }
}
