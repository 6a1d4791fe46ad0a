//! A rewritten log takes the place of the one in use.

use std::sync::Arc;

use super::SledLog;
use super::reader::Generation;
use super::rewrite::Rewrite;
use crate::durable::Barrier;
use crate::eventlog::compact::{Marker, Names, Step};
use crate::eventlog::hwm::Mark;
use crate::eventlog::{Error, error};

/// What came of [`crate::eventlog::EventLog::adopt`].
pub enum Adopted {
    /// It is the log now.
    Done(Replaced),
    /// It is not, and why; the log is as it was.
    Not(Error),
}

/// The log from before, which somebody may still read.
pub struct Replaced {
    generation: Arc<Generation>,
    names: Names,
}

impl Replaced {
    /// Gives its space back, unless it is being read: then it comes back to be asked again. What
    /// cannot be removed now, the next start removes.
    pub fn remove(self) -> Option<Self> {
        let Self { generation, names } = self;
        match Arc::try_unwrap(generation) {
            Err(generation) => Some(Self { generation, names }),
            Ok(unread) => {
                drop(unread);
                if let Err(error) = names.finish() {
                    tracing::warn!(%error, "cannot remove the log from before it was rewritten");
                }
                None
            }
        }
    }
}

impl SledLog {
    /// See [`crate::eventlog::EventLog::adopt`].
    pub(super) fn take_over(&mut self, mut next: Rewrite) -> Result<Adopted, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let now = self.reader.current();
        // One before it that is still being read has the name that this one is to have.
        let barrier = match next.complete(&now, self.last).and_then(|barrier| self.vacant(barrier))
        {
            Ok(barrier) => barrier,
            Err(error) => return Ok(Adopted::Not(error)),
        };
        self.poisoned = true;
        // A mark from before the base state could not be compared with any record.
        self.mark
            .sync()
            .map_err(|error| Error::storage("sync the high-water file", &self.dir.hwm(), error))?;
        let moved = Self::exchange_names(next.names(), self.last);
        if let Err((step, error)) = moved {
            let failed = Error::storage("rename", &self.dir.log(), error);
            if matches!(step, Step::Mark | Step::MoveOld) && next.names().abandon().is_ok() {
                self.poisoned = false;
                return Ok(Adopted::Not(failed));
            }
            next.leave();
            return Err(failed);
        }
        let names = next.names().clone();
        let database = next.into_database().ok_or(Error::Poisoned)?;
        let generation = self.reader.exchange(Arc::new(Generation::new(&self.dir, database)));
        self.barrier = barrier;
        self.poisoned = false;
        Ok(Adopted::Done(Replaced { generation, names }))
    }

    fn vacant(&self, barrier: Barrier) -> Result<Barrier, Error> {
        let old = Names::of(self.dir.root()).old();
        match old.try_exists() {
            Ok(false) => Ok(barrier),
            Ok(true) => {
                let why: error::Source = "the one before the last is still being read".into();
                Err(Error::storage("move the log to", &old, why))
            }
            Err(error) => Err(Error::storage("look for", &old, error)),
        }
    }

    /// Does the steps; which failed, if one did.
    fn exchange_names(names: &Names, last: Mark) -> Result<(), (Step, std::io::Error)> {
        let marker = Marker { last: last.lsn, chain: last.chain };
        Step::ALL
            .into_iter()
            .try_for_each(|step| names.perform(step, marker).map_err(|error| (step, error)))
    }
}
