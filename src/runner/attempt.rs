//! One attempt, start to finish: make its folder, run its process, gather what it made.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::collect::{collect, with_tail};
use super::failure::{Stop, cut, failure, signal_text};
use super::folder::{ACTION_FILE, Folder};
use super::link::{Lease, Lost};
use super::local::{Control, Inner};
use super::protocol::{Ended, Exit, Reply, Spawn};
use super::workers::Worker;
use super::{Launch, Report};
use crate::chunks::Hold;
use crate::clock::monotonic;
use crate::domain::{AttemptRef, Failure, FailureKind, Outcome, Usage};

/// What came of an attempt.
pub(super) struct Made {
    pub(super) outcome: Outcome,
    pub(super) usage: Usage,
    /// Keeps what it made until the report about it is queued.
    pub(super) hold: Option<Hold>,
    /// Its folder, where another attempt may run in it: what was started in it ended by itself,
    /// and nothing of it lives any more.
    pub(super) folder: Option<Folder>,
}

impl From<Outcome> for Made {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, usage: Usage::default(), hold: None, folder: None }
    }
}

impl Inner {
    /// Makes one attempt.
    pub(super) fn attempt(&self, launch: &Launch, control: &Control) -> Made {
        self.steps(launch, control).unwrap_or_else(|stop| Made::from(stopped(stop)))
    }

    fn steps(&self, launch: &Launch, control: &Control) -> Result<Made, Stop> {
        if let Some(cut) = control.is_cut() {
            return Err(Stop::Cut(cut));
        }
        let worker = self.workers.get(launch.worker, &launch.descriptor, control)?;
        let mut folder =
            self.folders.take(launch.attempt, launch.worker, &worker).inspect_err(|_| {
                if worker.files.iter().any(|file| !file.source.exists()) {
                    // Somebody deleted what was unpacked; the next try unpacks it again.
                    self.workers.forget(launch.worker);
                }
            })?;
        folder.fill(self, &launch.action, control)?;
        let ended = self.process(launch.attempt, &folder.path, &worker, control)?;
        let usage = Usage { cpu_ms: ended.cpu_ms, peak_rss_bytes: ended.peak_rss_bytes };
        let hold = Some(self.store.hold());
        let outcome = self.outcome(&ended, &folder.path, &worker, control).unwrap_or_else(stopped);
        let keep = ended.alone && matches!(ended.exit, Exit::Code(_));
        Ok(Made { outcome, usage, hold, folder: keep.then_some(folder) })
    }

    /// What the end of a process means, with what it made in the store.
    fn outcome(
        &self,
        ended: &Ended,
        folder: &Path,
        worker: &Worker,
        control: &Control,
    ) -> Result<Outcome, Stop> {
        if let Some(cut) = control.is_cut() {
            return Err(Stop::Cut(cut));
        }
        let failure = if ended.exit == Exit::Code(0) {
            match collect(&self.store, folder, &ended.stderr, control) {
                Err(Stop::Failed(failure)) => failure,
                other => return other,
            }
        } else {
            exit_failure(ended, worker)
        };
        Err(with_tail(&self.store, failure, &ended.stderr).into())
    }

    /// Runs the process in a slot of the supervisor and reports its start and its end.
    fn process(
        &self,
        attempt: AttemptRef,
        folder: &Path,
        worker: &Worker,
        control: &Control,
    ) -> Result<Ended, Stop> {
        let no_slot = || failure(FailureKind::RunnerLost, "the runner had no slot for it any more");
        let Some(mut lease) = self.link.lease() else {
            return Err(control.is_cut().map_or_else(|| no_slot().into(), Stop::Cut));
        };
        let serial = self.next_serial();
        let spawn = Spawn {
            serial,
            program: folder.join(&worker.path).as_os_str().as_bytes().to_vec(),
            args: vec![format!("-Build={ACTION_FILE}")],
            folder: folder.as_os_str().as_bytes().to_vec(),
            environment: worker.environment.clone(),
            marker: format!("{}.{serial}", self.nonce),
            timeout_ms: worker.timeout_ms,
            sandbox: self.sandbox,
        };
        let Some(stream) = lease.stream() else { return Err(no_slot().into()) };
        match control.start_process(serial, stream, || lease.spawn(spawn)) {
            Ok(None) => {}
            Ok(Some(cut)) => {
                lease.give_back();
                return Err(Stop::Cut(cut));
            }
            Err(Lost) => return Err(lost(lease)),
        }
        let begun = monotonic();
        let ended = self.follow(attempt, serial, &mut lease);
        control.process_gone();
        match ended {
            Ok(ended) => {
                lease.give_back();
                self.report(Report::SlotFree { attempt, ran: begun.elapsed() });
                ended.map_err(|error| Stop::Failed(launch_failure(&error, folder, worker)))
            }
            Err(Lost) => Err(lost(lease)),
        }
    }

    /// Waits for the end of the process, or for the news that there was none.
    fn follow(
        &self,
        attempt: AttemptRef,
        serial: u64,
        lease: &mut Lease<'_>,
    ) -> Result<Result<Ended, NotStarted>, Lost> {
        let started = || {
            let sandbox = self.sandbox.name().to_owned();
            self.report(Report::Started { attempt, sandbox });
        };
        let mut announced = false;
        loop {
            match lease.reply()? {
                Reply::Started { serial: of } if of == serial => {
                    announced = true;
                    started();
                }
                Reply::Ended(ended) if ended.serial == serial => {
                    if !announced {
                        started();
                    }
                    return Ok(Ok(ended));
                }
                Reply::NotStarted { serial: of, errno, error } if of == serial => {
                    return Ok(Err(NotStarted { errno, error }));
                }
                // About another attempt: the two sides don't understand each other any more.
                _ => return Err(Lost),
            }
        }
    }
}

fn stopped(stop: Stop) -> Outcome {
    Outcome::Failed(match stop {
        Stop::Failed(failure) => failure,
        Stop::Cut(reason) => cut(reason),
    })
}

/// Why there was no process.
struct NotStarted {
    errno: Option<i32>,
    error: String,
}

fn lost(lease: Lease<'_>) -> Stop {
    lease.bury();
    failure(FailureKind::RunnerLost, format!("{Lost}")).into()
}

fn launch_failure(error: &NotStarted, folder: &Path, worker: &Worker) -> Failure {
    let enoent = nix::errno::Errno::ENOENT as i32;
    let hint = if error.errno == Some(enoent) && folder.join(&worker.path).exists() {
        "; the file is there, so what is missing is its interpreter or loader"
    } else {
        ""
    };
    failure(FailureKind::Launch, format!("cannot start {}: {}{hint}", worker.path, error.error))
}

fn exit_failure(ended: &Ended, worker: &Worker) -> Failure {
    match ended.exit {
        Exit::Code(code) => Failure {
            exit_code: Some(code),
            ..failure(FailureKind::Exit, format!("exited with code {code}"))
        },
        Exit::Signal(signal) => {
            Failure { signal: Some(signal), ..failure(FailureKind::Exit, signal_text(signal)) }
        }
        Exit::TimedOut => {
            let seconds = worker.timeout_ms.unwrap_or(0) / 1_000;
            failure(FailureKind::TimedOut, format!("ran longer than its {seconds} s"))
        }
        // Only asked for with a reason that was looked at before.
        Exit::Killed => failure(FailureKind::Exit, "killed on request"),
    }
}
