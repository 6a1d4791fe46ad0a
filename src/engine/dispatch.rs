//! Carries out effects: loads what an attempt needs and hands it to the runner.
//!
//! A thread of its own, because an action or a descriptor can be a large chunk and the writer must
//! not wait for one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::handle::{Handle, Shared};
use crate::chunks;
use crate::domain::{
    AttemptRef, Event, Failure, FailureKind, Lsn, ObjectRef, Outcome, Usage, WorkerId,
};
use crate::effects::Effect;
use crate::runner::{Launch, Report, Reports, Runner};

/// Launched attempts remembered before those that are over are forgotten.
const LAUNCHED_MAX: usize = 4_096;

/// Descriptors kept in memory.
const DESCRIPTORS_MAX: usize = 64;

pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    chunks: chunks::Store,
    runner: Arc<dyn Runner>,
    reports: Handle,
    descriptors: BTreeMap<WorkerId, Bytes>,
    /// Attempts given to the runner. Those that are over leave when there are many.
    launched: BTreeSet<AttemptRef>,
}

impl Dispatcher {
    /// Starts the thread. It ends when every sender of effects is gone.
    pub(super) fn start(
        shared: Arc<Shared>,
        chunks: chunks::Store,
        runner: Option<Arc<dyn Runner>>,
        reports: Handle,
    ) -> (Sender<Effect>, JoinHandle<()>) {
        let (sender, effects) = channel();
        let thread = thread::spawn(move || match runner {
            Some(runner) => {
                let dispatcher = Self {
                    shared,
                    chunks,
                    runner,
                    reports,
                    descriptors: BTreeMap::new(),
                    launched: BTreeSet::new(),
                };
                dispatcher.run(&effects);
            }
            None => effects.into_iter().for_each(drop),
        });
        (sender, thread)
    }

    fn run(mut self, effects: &Receiver<Effect>) {
        for effect in effects {
            match effect {
                Effect::Launch { attempt } => self.launch(attempt),
                Effect::Kill { attempt } => self.runner.kill(attempt),
                Effect::KillUnwanted => {
                    for attempt in self.over() {
                        self.runner.kill(attempt);
                    }
                }
                Effect::JobsEnded => {}
            }
        }
    }

    /// Forgets the launched attempts that are over, and returns them. The runner may be done with
    /// some; ending those again does nothing.
    fn over(&mut self) -> BTreeSet<AttemptRef> {
        let published = self.shared.published();
        let is_over = |attempt: AttemptRef| {
            published.views.attempt_under_way(attempt.execution) != Some(attempt)
        };
        let (over, going) = self.launched.iter().partition(|attempt| is_over(**attempt));
        drop(published);
        self.launched = going;
        over
    }

    /// Every attempt handed out ends in exactly one report, also one that can't be launched: its
    /// slot depends on it.
    fn launch(&mut self, attempt: AttemptRef) {
        match self.load(attempt) {
            Ok(Some(launch)) => {
                if self.launched.len() >= LAUNCHED_MAX {
                    self.over();
                }
                self.launched.insert(attempt);
                self.runner.launch(launch);
            }
            Ok(None) => self.fail(attempt, "cancelled before it was launched".into()),
            Err(reason) => self.fail(attempt, reason),
        }
    }

    fn fail(&self, attempt: AttemptRef, reason: String) {
        let failure = Failure {
            kind: FailureKind::InputLost,
            reason,
            exit_code: None,
            signal: None,
            stderr: None,
        };
        let outcome = Outcome::Failed(failure);
        self.reports.report(Report::Finished { attempt, outcome, usage: Usage::default() });
    }

    /// What the runner needs, or None when nobody wants the attempt any more.
    fn load(&mut self, attempt: AttemptRef) -> Result<Option<Launch>, String> {
        let found = {
            let published = self.shared.published();
            published.views.launch_of(attempt)
        };
        let Some(found) = found else { return Ok(None) };
        let action = self.object(found.action_at)?;
        let descriptor = if let Some(held) = self.descriptors.get(&found.worker) {
            held.clone()
        } else {
            let loaded = self.object(found.descriptor_at)?;
            if self.descriptors.len() >= DESCRIPTORS_MAX {
                self.descriptors.clear();
            }
            self.descriptors.insert(found.worker, loaded.clone());
            loaded
        };
        Ok(Some(Launch { attempt, worker: found.worker, descriptor, action }))
    }

    /// The object that the record at `lsn` carries or refers to.
    fn object(&self, lsn: Lsn) -> Result<Bytes, String> {
        let log = self.shared.log.get().ok_or("the log is not open")?;
        let record = log.get(lsn).map_err(|wrong| format!("cannot read record {lsn}: {wrong}"))?;
        let Some(
            Event::JobSubmitted { object, .. } | Event::WorkerRegistered { descriptor: object, .. },
        ) = record.map(|record| record.event)
        else {
            return Err(format!("record {lsn} has no object"));
        };
        let id = match object {
            ObjectRef::Inline(blob) => return Ok(blob.0),
            ObjectRef::Chunk(id) => id,
        };
        let mut bytes = Vec::new();
        self.chunks
            .read(&id)
            .map_err(|wrong| format!("cannot read chunk {id}: {wrong}"))?
            .read_to_end(&mut bytes)
            .map_err(|wrong| format!("cannot read chunk {id}: {wrong}"))?;
        Ok(bytes.into())
    }
}
