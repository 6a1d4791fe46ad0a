//! Who runs what next.

use super::facts::Facts;
use super::{Decision, limits};
use crate::domain::{Answer, AttemptNo, AttemptRef, Event, Host, Rejection, RunnerName, Timestamp};
use crate::views::Views;

/// Hands the most urgent execution of whoever's turn it is to `runner`. One that was pulled back from it waits
/// for another as long as there is another.
pub(super) fn assign(
    views: &Views,
    runner: &RunnerName,
    host: &Host,
    facts: &Facts,
) -> Result<Decision, Rejection> {
    limits::name("a runner's name", &runner.0)?;
    let avoided = (facts.runners > 1).then_some(runner);
    let Some((execution, queue)) = views.first_to_run(host, facts.now, avoided) else {
        return Ok(Decision::nothing(Answer::Idle));
    };
    let last = views.execution(execution).map_or(AttemptNo(0), |found| found.attempt);
    let attempt = AttemptNo(last.0.saturating_add(1));
    let event = Event::AttemptAssigned { execution, attempt, runner: runner.clone(), queue };
    Ok(Decision::event(event, Answer::Assigned(AttemptRef { execution, attempt })))
}

/// When the next waiting execution is due: until then there is nothing new to assign unless a
/// command comes.
pub fn next_due(views: &Views) -> Option<Timestamp> {
    views.next_due()
}
