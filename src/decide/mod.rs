//! Rules: may this be done now, and which events follow?
//!
//! [`decide`] judges a command against the views and changes nothing. Whatever is not in the views
//! or the command enters through [`Facts`], and what it leads to leaves through events, so that
//! replay never has to decide again.

mod attempt;
mod facts;
mod job;
mod limits;
mod queue;
mod recording;
mod replay;
mod schedule;
mod submit;
mod worker;

use crate::domain::{Answer, Command, Event, Rejection};
use crate::views::Views;

pub use self::facts::{Facts, Policy};
pub use self::schedule::next_due;

/// What follows from a command that is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// In order; all of them or none are appended. Empty when the command was true already.
    pub events: Vec<Event>,
    pub answer: Answer,
}

impl Decision {
    /// One event.
    fn event(event: Event, answer: Answer) -> Self {
        Self { events: vec![event], answer }
    }

    /// One event and nothing to add.
    fn done(event: Event) -> Self {
        Self::event(event, Answer::Done)
    }

    /// Nothing changes.
    const fn nothing(answer: Answer) -> Self {
        Self { events: Vec::new(), answer }
    }
}

/// Judges `command` in the state `views`. The events of an accepted one apply to that state.
pub fn decide(views: &Views, command: &Command, facts: &Facts) -> Result<Decision, Rejection> {
    match command {
        Command::RegisterWorker(new) => worker::register(views, new),
        Command::RetireWorker { worker } => worker::retire(views, *worker),
        Command::SubmitJob(new) => submit::submit(views, new, &facts.policy),
        Command::CancelJob { job } => job::cancel(views, *job),
        Command::ChangePriority { job, priority } => job::change_priority(views, *job, *priority),
        Command::RescheduleJob { job } => job::reschedule(views, *job),
        Command::RetractJob { job } => job::retract(views, *job),
        Command::RetireJob { job } => job::retire(views, *job),
        Command::RetireJobs { jobs } => Ok(queue::retire_jobs(views, jobs)),
        Command::CreateQueue(new) => queue::create(views, new, &facts.policy),
        Command::DrainQueue { queue } => queue::drain(views, *queue),
        Command::CancelQueue { queue } => queue::cancel(views, *queue),
        Command::ExpireQueue { queue, quiet_since } => {
            queue::expire(views, *queue, *quiet_since, facts)
        }
        Command::RetireQueue { queue } => queue::retire(views, *queue),
        Command::StartRecording { name } => recording::start(views, name.as_deref()),
        Command::StopRecording => recording::stop(views),
        Command::ImportRecording(new) => recording::import(views, new),
        Command::DeleteRecording { recording } => recording::delete(views, *recording),
        Command::StartReplay(new) => replay::start(views, new),
        Command::JudgeReplay { replay, judged_to, next, verdicts } => {
            replay::judge(views, *replay, *judged_to, *next, verdicts)
        }
        Command::EndReplay { replay, reason } => replay::end(views, *replay, reason.as_deref()),
        Command::StartAttempt { attempt, sandbox } => Ok(attempt::start(views, *attempt, sandbox)),
        Command::FinishAttempt { attempt, outcome, usage } => {
            attempt::finish(views, *attempt, outcome, *usage, facts)
        }
        Command::LoseAttempt { attempt } => Ok(attempt::lose(views, *attempt)),
        Command::Assign { runner, host } => schedule::assign(views, runner, host, facts),
    }
}
