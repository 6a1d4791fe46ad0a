//! The whole state as text, for people who compare two folds, and for tests.

use std::fmt::{self, Display, Formatter};

use super::Views;
use super::names::Names;
use super::order::{Order, Party};
use super::queues::Queue;
use super::state::{Execution, Job, Phase};
use super::workers::Worker;
use crate::domain::{Lsn, QueueId};

/// [`Views`] in full. Every field is named here, so that a new one can't be forgotten.
impl Display for Views {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            lsn,
            at,
            workers,
            functions,
            runners,
            jobs,
            executions,
            queues,
            recordings,
            replays,
            wants,
            order,
            waiting,
            under_way,
            offers: _,
            retired,
            held_units,
        } = self;
        writeln!(f, "at LSN {lsn}, {at}, results {held_units} units")?;
        for worker in workers.all() {
            show_worker(f, self, functions, worker)?;
        }
        for (id, job) in jobs.iter() {
            show_job(f, self, id, job)?;
        }
        for (id, execution) in executions.iter() {
            show_execution(f, runners, self, id, execution)?;
        }
        for (id, queue) in queues.iter() {
            show_queue(f, id, queue)?;
        }
        write!(f, "{recordings}{replays}")?;
        list(f, "wants", wants.iter().map(|(id, _, by, job)| format!("{job} {id} at {}", by.0)))?;
        write!(f, "{order}")?;
        list(f, "waiting", waiting.iter().map(|(until, id)| format!("{id} until {until}")))?;
        list(f, "under way", under_way.iter())?;
        let offers = self.offers();
        let mut live: Vec<Lsn> = offers.live.iter().map(|(_, id)| id).collect();
        live.sort_unstable();
        list(f, "may be joined", live.iter())?;
        let mut reusable: Vec<Lsn> = offers.reusable.iter().map(|(_, id)| id.0).collect();
        reusable.sort_unstable();
        list(f, "may be reused", reusable.iter())?;
        list(f, "retired", retired.iter())
    }
}

fn list<T: Display>(
    f: &mut Formatter<'_>,
    what: &str,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    let texts: Vec<String> = items.map(|item| item.to_string()).collect();
    if texts.is_empty() { Ok(()) } else { writeln!(f, "{what}: {}", texts.join(", ")) }
}

fn show_worker(
    f: &mut Formatter<'_>,
    views: &Views,
    names: &Names,
    worker: &Worker,
) -> fmt::Result {
    let Worker {
        id,
        name,
        host,
        build_system,
        functions,
        registered,
        registered_at,
        retired,
        open,
        tail,
    } = worker;
    let host = views.workers.host(*host).map(ToString::to_string).unwrap_or_default();
    let state = if *retired { "retired" } else { "registered" };
    writeln!(f, "worker {id} {name:?} on {host}, build system {build_system}")?;
    writeln!(f, "  {state} by {registered} at {registered_at}, {open} open jobs, tail {tail}")?;
    for (name, version) in functions {
        writeln!(f, "  offers {:?} version {version}", names.text(*name))?;
    }
    Ok(())
}

fn show_job(f: &mut Formatter<'_>, views: &Views, id: Lsn, job: &Job) -> fmt::Result {
    let Job {
        execution,
        submitted_at,
        tail,
        ended,
        queue,
        function,
        priority,
        retry_count,
        retries_max,
        end: _,
        cached,
    } = job;
    let state = views.state_of(job);
    let function = views.functions.text(*function);
    write!(f, "job {id} {state} by execution {execution}, {function:?}, priority {priority}")?;
    write!(f, ", retry {retry_count} of {retries_max}, at {submitted_at}, tail {tail}")?;
    if let Some(queue) = queue {
        write!(f, ", queue {queue}")?;
    }
    if *ended != Lsn::ZERO {
        write!(f, ", ended by {ended}")?;
    }
    writeln!(f, "{}", if *cached { ", from the cache" } else { "" })
}

fn show_queue(f: &mut Formatter<'_>, id: QueueId, queue: &Queue) -> fmt::Result {
    let Queue {
        stage: _,
        created,
        created_at,
        tail,
        token,
        retries_max,
        expire_after,
        max_running,
        open,
        held,
        idle_since,
        replay,
    } = queue;
    write!(f, "queue {id} {} made by {created} at {created_at}, tail {tail}", queue.state())?;
    writeln!(f, ", {} open, {held} held, last used {idle_since}", open.len())?;
    let token = if token.is_some() { "with" } else { "no" };
    write!(f, "  {token} token, retries {retries_max:?}, runs {max_running:?}")?;
    write!(f, ", expires after {:?} ms", expire_after.map(|time| time.0))?;
    writeln!(f, "{}", replay.map(|id| format!(", of replay {id}")).unwrap_or_default())
}

/// Lines and turns in full.
impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let party = |party: Party| match party {
            None => "outside".to_owned(),
            Some(queue) => format!("queue {queue}"),
        };
        list(
            f,
            "ready",
            self.iter().map(|(who, (host, by), job)| {
                format!("{job} of {} at {} on {host}", party(who), by.0)
            }),
        )?;
        list(
            f,
            "turns",
            self.turns().map(|(host, by, served, who)| {
                format!("{} at {} on {host} after {served}", party(who), by.0)
            }),
        )
    }
}

fn show_execution(
    f: &mut Formatter<'_>,
    runners: &Names,
    views: &Views,
    id: Lsn,
    execution: &Execution,
) -> fmt::Result {
    let Execution { action_at, tail, phase, action, worker, refs, priority, attempt, party } =
        execution;
    write!(f, "execution {id} ")?;
    match phase {
        Phase::Ready => write!(f, "ready")?,
        Phase::BackingOff { until } => write!(f, "waits until {until}")?,
        Phase::Retracted { avoid: None } => write!(f, "retracted")?,
        Phase::Retracted { avoid: Some(runner) } => {
            write!(f, "retracted from {}", runners.text(*runner))?;
        }
        Phase::Submitting { runner } => write!(f, "handed to {}", runners.text(*runner))?,
        Phase::Running { runner } => write!(f, "runs on {}", runners.text(*runner))?,
        Phase::Completed { at, cacheable, units } => {
            let once = if *cacheable { "" } else { ", for once" };
            write!(f, "completed by {at} with {units} units{once}")?;
        }
        Phase::Ended => write!(f, "ended")?,
    }
    if let Some(queue) = party {
        write!(f, ", on account of queue {queue}")?;
    }
    let worker = views.worker_id(*worker);
    writeln!(f, ", priority {priority}, {refs} jobs, attempt {attempt}, tail {tail}")?;
    writeln!(f, "  action {action} in {action_at}, worker {worker}")
}
