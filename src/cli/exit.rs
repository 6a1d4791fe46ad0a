//! Exit codes: a contract with scripts.

use std::process::ExitCode;

use super::output::ReaderGone;
use crate::client::Error as ClientError;

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// Done.
    Clean,
    /// The job or the check failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// The service can't be reached.
    Unreachable,
    /// Another instance holds the data directory.
    InUse,
    /// The data directory is damaged, or a newer version wrote it.
    Damaged,
    /// The storage failed; nothing acknowledged is lost, a restart recovers.
    StorageFailed,
    /// `run`: the exit code of the command that ran.
    Child(u8),
    /// `run`: the service failed.
    Service,
    /// `run`: the command can't be started.
    NotExecutable,
    /// `run`: the command doesn't exist.
    NotFound,
}

impl Code {
    /// The number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::InUse => 4,
            Self::Damaged => 5,
            Self::StorageFailed => 6,
            Self::Child(code) => code,
            Self::Service => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
        }
    }

    /// clap's own end: help and version are a success.
    pub(super) fn from_clap(wrong: &clap::Error) -> Self {
        if wrong.use_stderr() { Self::Usage } else { Self::Clean }
    }

    /// The code for an error that reached the top.
    pub(super) fn of(wrong: &anyhow::Error) -> Self {
        if wrong.is::<ReaderGone>() {
            return Self::Clean;
        }
        if let Some(coded) = wrong.downcast_ref::<Coded>() {
            return coded.code;
        }
        if wrong.is::<crate::config::Error>() {
            return Self::Usage;
        }
        match wrong.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable { .. }) => Self::Unreachable,
            Some(ClientError::File { .. } | ClientError::NoUrl { .. }) => Self::Usage,
            _ => Self::Failed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// An error with the exit code it ends the program with.
#[derive(Debug)]
pub(super) struct Coded {
    code: Code,
    wrong: anyhow::Error,
}

impl Coded {
    /// Gives an error its exit code; its text stays.
    pub(super) fn error(code: Code, wrong: impl Into<anyhow::Error>) -> anyhow::Error {
        Self { code, wrong: wrong.into() }.into()
    }
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // With its causes: they are not this error's own, because it isn't one.
        write!(f, "{:#}", self.wrong)
    }
}

impl std::error::Error for Coded {}
