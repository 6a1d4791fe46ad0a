//! Why there is no such state.

use crate::domain::Lsn;
use crate::eventlog;
use crate::views::ApplyError;

/// Why a past state can't be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It lies in the future.
    #[error("LSN {lsn} is still to come; the newest is {newest}")]
    Ahead { lsn: Lsn, newest: Lsn },
    /// It is before what the log holds.
    #[error("the log starts at {first}; what came before is gone")]
    Gone { first: Lsn },
    /// The log is not read yet.
    #[error("the service is starting")]
    Starting,
    #[error("the service is stopping")]
    Stopping,
    #[error("cannot read the log")]
    Log(#[from] eventlog::Error),
    #[error("the log does not begin with a state")]
    Base(#[from] crate::engine::BaseStateError),
    #[error("the log does not fold again")]
    Apply(#[from] ApplyError),
    /// The log ended before an LSN that it had.
    #[error("the log ends before record {lsn}")]
    Lost { lsn: Lsn },
    /// A defect of ours.
    #[error("making a past state failed")]
    Panicked,
}
