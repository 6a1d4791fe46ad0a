//! What is made of a log while it is opened.

use super::error::Source;
use super::hwm::Mark;
use super::{Error, LogReader};
use crate::domain::Record;

/// Takes in the records of a log that is being opened, from where it says on.
pub trait Fold {
    /// Why a record is refused.
    type Error: Into<Source>;

    /// After which record to begin: [`Mark::before`] the log, or a record of this very log that everything
    /// up to it is already folded of. That record's chain hash has to be the one in `log`; what is
    /// before it is not looked at.
    ///
    /// Asked once, before any record is given. An error ends the opening.
    fn begin(&mut self, log: &dyn LogReader) -> Result<Mark, Error>;

    /// The next record. An error ends the opening as [`super::Damage::Rejected`].
    fn apply(&mut self, record: Record) -> Result<(), Self::Error>;
}

/// Calls a function for every record of the log.
#[derive(Debug)]
pub(super) struct Each<F>(pub(super) F);

impl<F, E> Fold for Each<F>
where
    F: FnMut(Record) -> Result<(), E>,
    E: Into<Source>,
{
    type Error = E;

    fn begin(&mut self, log: &dyn LogReader) -> Result<Mark, Error> {
        log.check_base()?;
        Ok(Mark::before(log))
    }

    fn apply(&mut self, record: Record) -> Result<(), E> {
        (self.0)(record)
    }
}
