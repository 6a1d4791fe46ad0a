//! What happens to executions by their attempts, one function for each event.

use super::Views;
use super::apply::{Illegal, ensure};
use super::names::NameIx;
use super::order::Party;
use super::state::{End, Phase, RESULT_UNIT_BYTES};
use crate::domain::{AttemptNo, AttemptRef, Lsn, Outcome, Timestamp};

impl Views {
    pub(super) fn touch(&mut self, lsn: Lsn, execution: Lsn) {
        if let Some(execution) = self.executions.get_mut(execution) {
            execution.tail = lsn;
        }
    }

    /// Fails unless this very attempt is under way.
    pub(super) fn under_way(&self, execution: Lsn, attempt: AttemptNo) -> Result<(), Illegal> {
        let current = self.attempt_under_way(execution);
        ensure(current == Some(AttemptRef { execution, attempt }), "the attempt is not under way")
    }

    pub(super) fn attempt_assigned(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        attempt: AttemptNo,
        runner: NameIx,
        party: Party,
    ) -> Result<(), Illegal> {
        let place = self.place(id, party);
        let execution = self.executions.get_mut(id).ok_or(Illegal("no such execution"))?;
        ensure(execution.phase.is_ready(), "the execution is not ready")?;
        let counts = execution.attempt.0.checked_add(1) == Some(attempt.0);
        ensure(counts, "the attempt's number is not the next")?;
        let (level, _) = place.ok_or(Illegal("the queue does not want the execution"))?;
        ensure(!self.order.is_full(party), "the queue may not run more")?;
        execution.attempt = attempt;
        execution.tail = lsn;
        execution.party = party;
        self.set_phase(id, Phase::Submitting { runner });
        self.order.serve(party, level, lsn);
        Ok(())
    }

    pub(super) fn attempt_started(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        attempt: AttemptNo,
    ) -> Result<(), Illegal> {
        self.under_way(id, attempt)?;
        let phase = self.executions.get(id).map(|execution| execution.phase);
        let Some(Phase::Submitting { runner }) = phase else {
            return Err(Illegal("the attempt has started already"));
        };
        self.set_phase(id, Phase::Running { runner });
        self.touch(lsn, id);
        Ok(())
    }

    /// The attempt failed and is to be repeated at `until`.
    pub(super) fn attempt_failed(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        outcome: &Outcome,
        until: Timestamp,
    ) -> Result<(), Illegal> {
        ensure(matches!(outcome, Outcome::Failed(_)), "a completed attempt is not repeated")?;
        let wanting: Vec<Lsn> = self.wanting(id).map(|(_, _, _, job)| job).collect();
        for job in wanting {
            let Some(job) = self.jobs.get_mut(job) else { continue };
            ensure(job.retry_count < job.retries_max, "a job has no retry left")?;
            job.retry_count += 1;
        }
        self.set_phase(id, Phase::BackingOff { until });
        self.touch(lsn, id);
        Ok(())
    }

    /// Everybody who still wants the execution ends with it.
    pub(super) fn execution_ended(&mut self, lsn: Lsn, id: Lsn, outcome: &Outcome) {
        let (end, phase) = match outcome {
            Outcome::Completed { cacheable, bytes, .. } => {
                let units = u32::try_from(bytes.div_ceil(RESULT_UNIT_BYTES)).unwrap_or(u32::MAX);
                (End::Completed, Phase::Completed { at: lsn, cacheable: *cacheable, units })
            }
            Outcome::Failed(failure) if failure.kind.abandons() => (End::Abandoned, Phase::Ended),
            Outcome::Failed(_) => (End::Failed, Phase::Ended),
        };
        let wanting: Vec<Lsn> = self.wanting(id).map(|(_, _, _, job)| job).collect();
        for job in wanting {
            self.end_job(job, end, lsn);
        }
        self.set_phase(id, phase);
        self.touch(lsn, id);
    }

    pub(super) fn jobs_gave_up(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        abandoned: bool,
        jobs: &[Lsn],
    ) -> Result<(), Illegal> {
        ensure(self.attempt_under_way(id).is_some(), "no attempt is under way")?;
        let end = if abandoned { End::Abandoned } else { End::Failed };
        for job in jobs {
            let found = self.open_job(*job)?;
            ensure(found.execution == id, "a job wants another execution")?;
            self.end_job(*job, end, lsn);
        }
        ensure(self.wanting(id).next().is_some(), "nobody is left for the next try")?;
        self.settle_priority(id);
        self.touch(lsn, id);
        Ok(())
    }

    pub(super) fn execution_retracted(
        &mut self,
        lsn: Lsn,
        id: Lsn,
        stop: Option<AttemptNo>,
        avoid: Option<NameIx>,
    ) -> Result<(), Illegal> {
        let phase = self.executions.get(id).map(|execution| execution.phase);
        let phase = phase.ok_or(Illegal("no such execution"))?;
        let fits = phase.is_live() && !matches!(phase, Phase::Retracted { .. });
        ensure(fits, "the execution's phase does not allow it")?;
        let expected = self.attempt_under_way(id).map(|current| current.attempt);
        ensure(stop == expected, "it stops another attempt than the one under way")?;
        self.set_phase(id, Phase::Retracted { avoid });
        self.touch(lsn, id);
        Ok(())
    }
}
