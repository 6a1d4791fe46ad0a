//! Handing out, and what runners report, each with what the model says must come of it.

use ledgerun::decide::{Decision, decide};
use ledgerun::domain::{
    Answer, AttemptNo, AttemptRef, Blob, Command, Event, Failure, FailureKind, JobState, ObjectRef,
    Outcome, Usage,
};
use ledgerun::effects::{Effect, effects_of};

use super::bench::Bench;
use super::history::{self, Ending};
use super::model::Phase;
use super::turns::Asking;

impl Bench {
    /// Hands out what the model says is next.
    pub(crate) fn assign(&mut self, runner: u8, host: u8) -> Option<AttemptRef> {
        let (runner, host) = (history::runner(runner), history::host(host));
        let asking =
            Asking { runner: &runner, host: &host, now: self.now(), runners: self.runners };
        let expected = self.model.next(&asking);
        let command = Command::Assign { runner: runner.clone(), host: host.clone() };
        let (records, answer) = self.execute(&command).unwrap();
        let Some(place) = expected else {
            assert_eq!(answer, Answer::Idle);
            return None;
        };
        let number = self.model.assign(&place, &asking, records[0].lsn);
        let attempt = AttemptRef { execution: place.execution, attempt: AttemptNo(number) };
        assert_eq!(answer, Answer::Assigned(attempt));
        let Event::AttemptAssigned { queue, .. } = &records[0].event else { panic!("{records:?}") };
        assert_eq!(*queue, place.party, "another's turn");
        let effects: Vec<Effect> = effects_of(&records[0]).collect();
        assert_eq!(effects, [Effect::Launch { attempt }]);
        let action = self.model.executions[&place.execution].pair.1;
        assert_eq!(self.staging.launch_of(attempt).unwrap().action, action);
        self.attempts.push(attempt);
        Some(attempt)
    }

    pub(crate) fn start(&mut self, attempt: AttemptRef) {
        let command = Command::StartAttempt { attempt, sandbox: "none".into() };
        let (_, answer) = self.execute(&command).unwrap();
        let known = self.model.executions.get_mut(&attempt.execution).unwrap();
        if let Phase::Submitting(runner) = &known.phase {
            assert_eq!(answer, Answer::Done);
            known.phase = Phase::Running(runner.clone());
        } else {
            assert_eq!(answer, Answer::Stale);
        }
    }

    pub(crate) fn finish(&mut self, attempt: AttemptRef, ending: Ending) {
        let command = report(attempt, ending);
        let execution = attempt.execution;
        let (records, answer) = self.execute(&command).unwrap();
        assert_eq!(answer, Answer::Done);
        let last = records.last().unwrap();
        let Event::AttemptFinished { retry_at, .. } = &last.event else { panic!("{records:?}") };
        let (by, at) = (last.lsn, self.now());
        let kind = match ending {
            Ending::Completed { cacheable } => {
                let phase = Phase::Completed(cacheable);
                self.model.end_all(execution, JobState::Completed, phase, by, at);
                assert_eq!((retry_at, records.len()), (&None, 1));
                return;
            }
            Ending::Failed(kind) => kind,
        };
        let end =
            if kind == FailureKind::RunnerLost { JobState::Abandoned } else { JobState::Failed };
        let (again, gave_up) = self.model.sorted_by_retries(execution);
        if again.is_empty() || kind == FailureKind::InputLost {
            self.model.end_all(execution, end, Phase::Ended, by, at);
            assert_eq!((retry_at, records.len()), (&None, 1));
            return;
        }
        for job in &again {
            self.model.jobs.get_mut(job).unwrap().retries += 1;
        }
        assert_eq!(records.len(), 1 + usize::from(!gave_up.is_empty()));
        for job in gave_up {
            self.model.end(job, end, records[0].lsn, at);
        }
        let until = retry_at.unwrap();
        assert!(until > at);
        self.model.executions.get_mut(&execution).unwrap().phase = Phase::Waits(until);
    }

    pub(crate) fn lose(&mut self, attempt: AttemptRef) {
        let (_, answer) = self.execute(&Command::LoseAttempt { attempt }).unwrap();
        assert_eq!(answer, Answer::Done);
        self.model.executions.get_mut(&attempt.execution).unwrap().phase = Phase::Ready;
    }

    /// Whatever comes about an attempt that is over changes nothing.
    pub(crate) fn late_reports(&self) {
        for attempt in &self.attempts {
            if self.model.is_current(*attempt) {
                continue;
            }
            let next = AttemptNo(attempt.attempt.0 + 1_000);
            for attempt in [*attempt, AttemptRef { attempt: next, ..*attempt }] {
                let reports = [
                    Command::StartAttempt { attempt, sandbox: String::new() },
                    report(attempt, Ending::Completed { cacheable: true }),
                    report(attempt, history::FAILED),
                    Command::LoseAttempt { attempt },
                ];
                for report in reports {
                    let stale = Decision { events: Vec::new(), answer: Answer::Stale };
                    assert_eq!(decide(&self.staging, &report, &self.facts()).unwrap(), stale);
                }
                assert_eq!(self.staging.launch_of(attempt), None);
            }
        }
    }
}

/// What a runner says at the end of an attempt.
pub(crate) fn report(attempt: AttemptRef, ending: Ending) -> Command {
    let outcome = match ending {
        Ending::Completed { cacheable } => Outcome::Completed {
            bytes: 1_000,
            output: ObjectRef::Inline(Blob(vec![1, 2, 3].into())),
            cacheable,
            stderr: None,
        },
        Ending::Failed(kind) => Outcome::Failed(Failure {
            kind,
            reason: "a reason".into(),
            exit_code: Some(1),
            signal: None,
            stderr: None,
        }),
    };
    Command::FinishAttempt { attempt, outcome, usage: Usage::default() }
}
