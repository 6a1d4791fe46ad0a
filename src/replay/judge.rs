//! Compares the end of a replayed job with the recorded one.

use std::sync::Arc;

use super::Error;
use super::compare::differences;
use super::follow::{End, Ended};
use super::script::{Outputs, Script};
use crate::domain::{Mismatch, ReplayFailure, Verdicts};

/// Knows what was recorded.
pub(super) struct Judge {
    script: Arc<Script>,
}

/// What comparing some jobs gave, and how many jobs that are.
#[derive(Default)]
pub(super) struct Judged {
    verdicts: Verdicts,
    pub(super) len: usize,
}

impl Judged {
    /// Adds what comparing one job gave.
    pub(super) fn add(&mut self, verdicts: Verdicts) {
        self.len += 1;
        verdicts.merge_into(&mut self.verdicts);
    }

    /// Passes everything on.
    pub(super) fn into_verdicts(self, all: &mut Verdicts) {
        self.verdicts.merge_into(all);
    }
}

impl Judge {
    /// Judges by the recording of `script`.
    pub(super) const fn new(script: Arc<Script>) -> Self {
        Self { script }
    }

    /// Compares one job. Fails only when the disk does; an output that is not held any more, or
    /// makes no sense, is a failure of the job.
    pub(super) fn judge(&self, ended: &Ended) -> Result<Verdicts, Error> {
        let job = ended.recorded.job;
        let completed = self.script.completed(ended.recorded.position);
        Ok(match (completed, &ended.end) {
            (true, End::Completed(replayed)) => {
                match self.script.outputs(ended.recorded.position, replayed)? {
                    Outputs::Both { recorded, replayed } => {
                        of_mismatches(differences(job, &recorded, &replayed))
                    }
                    Outputs::Lost(what) => failed(ReplayFailure { job, error: what }),
                }
            }
            (true, End::Without { state, reason }) => {
                failed(ReplayFailure { job, error: format!("{state}: {reason}") })
            }
            (false, End::Completed(_)) => {
                Verdicts { newly_passing: vec![job], ..Verdicts::default() }
            }
            (false, End::Without { .. }) => of_mismatches(Vec::new()),
        })
    }
}

fn of_mismatches(mismatched: Vec<Mismatch>) -> Verdicts {
    let matched = u32::from(mismatched.is_empty());
    Verdicts { matched, mismatched, ..Verdicts::default() }
}

fn failed(failure: ReplayFailure) -> Verdicts {
    Verdicts { failed: vec![failure], ..Verdicts::default() }
}
