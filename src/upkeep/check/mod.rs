//! Looks for everything that is wrong with a data directory that no service uses. It does not stop
//! at the first: what can be looked at behind a damage is looked at.

mod finding;
mod leftovers;

use std::sync::Arc;

use serde::Serialize;

pub use self::finding::{Finding, Weight};
use crate::chunks::{self, Fault, Inspection, Store};
use crate::domain::{ContentHash, Lsn, sentence};
use crate::engine::{CheckpointState, inspect_checkpoints};
use crate::eventlog::codec::Chain;
use crate::eventlog::{Damage, DataDir, Error as LogError, Inspected, LogReader, Mark, SledLog};
use crate::replay::verify::{self, Listener, Phase, Progress};
use crate::views::Held;

/// Findings that a report lists; the rest is only counted.
pub const FINDINGS_LISTED_MAX: usize = 1_000;

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot read the log")]
    Log(#[source] LogError),
    #[error("cannot read the chunk store")]
    Chunks(#[source] chunks::Error),
    #[error("cannot verify")]
    Verify(#[source] verify::Error),
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing but what is harmless was found.
    pub good: bool,
    /// Whether the service would start.
    pub starts: bool,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
    pub records: u64,
    /// Of the state that the log folds to, if it does.
    pub digest: Option<ContentHash>,
    /// Chunks that are held, and the bytes of those that are sound.
    pub chunks: u64,
    pub bytes: u64,
    /// Checkpoints that can be used.
    pub checkpoints: u64,
    /// How many findings there are, and the first [`FINDINGS_LISTED_MAX`] of them.
    pub findings_count: u64,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { good: true, starts: true, ..Self::default() }
    }

    /// Adds what was found.
    pub fn add(&mut self, finding: Finding) {
        self.findings_count += 1;
        self.good &= finding.weight == Weight::Harmless || finding.repaired;
        self.starts &= finding.weight != Weight::Fatal;
        if self.findings.len() < FINDINGS_LISTED_MAX {
            self.findings.push(finding);
        }
    }
}

/// Checks everything in `dir`. With `repair` it also does what loses nothing: removes leftovers and
/// checkpoints that can't be used, and forgets chunks whose content is not theirs, so that they are
/// asked for again.
///
/// Opening the databases does what every start does: it sets unreadable snapshots of the storage
/// engine aside and removes what was left of unfinished uploads.
pub fn check(dir: &Arc<DataDir>, repair: bool, listener: Listener<'_>) -> Result<Report, Error> {
    let mut check = Check { dir, repair, report: Report::new() };
    check.leftovers();
    let (log, held) = check.log(&mut *listener)?;
    check.chunks(log.as_deref(), held.as_ref(), listener)?;
    check.checkpoints(log.as_deref());
    check.replaced();
    Ok(check.report)
}

struct Check<'a> {
    dir: &'a Arc<DataDir>,
    repair: bool,
    report: Report,
}

type OpenedLog = (Option<Arc<dyn LogReader>>, Option<Held>);

impl Check<'_> {
    fn leftovers(&mut self) {
        for path in leftovers::find(self.dir) {
            let mut finding = Finding::of("leftover", "something was being written at a stop");
            finding.repaired = self.repair && leftovers::remove(&path);
            self.report.add(finding.at(&path));
        }
    }

    /// A log that another has taken the place of. It goes only when that one is sound.
    fn replaced(&mut self) {
        for path in leftovers::replaced(self.dir) {
            let mut finding = Finding::of("leftover", "the log was being compacted at a stop");
            finding.repaired = self.repair && self.report.starts && leftovers::remove(&path);
            self.report.add(finding.at(&path));
        }
    }

    fn log(&mut self, listener: Listener<'_>) -> Result<OpenedLog, Error> {
        let path = self.dir.log();
        if !SledLog::is_there(self.dir) {
            self.report.add(Finding::of("log", "it is not there").at(&path));
            return Ok((None, None));
        }
        let Inspected { reader, last, mark } = match SledLog::inspect(self.dir) {
            Ok(inspected) => inspected,
            Err(error @ (LogError::Damaged { .. } | LogError::TooNew { .. })) => {
                let too_new = matches!(error, LogError::TooNew { .. });
                let kind = if too_new { "too_new" } else { "log" };
                self.report.add(Finding::of(kind, sentence(&error)).at(&path));
                return Ok((None, None));
            }
            Err(other) => return Err(Error::Log(other)),
        };
        let (found, held) =
            verify::verify_log(&*reader, last, None, listener).map_err(Error::Verify)?;
        self.report.first_lsn = found.first_lsn;
        self.report.last_lsn = found.last_lsn;
        self.report.records = found.records;
        self.report.digest = found.digest;
        let listed = found.problems.len() as u64;
        for problem in found.problems {
            let finding = Finding::of(problem.kind, problem.error);
            self.report.add(finding.at(&path).about(problem.lsn, problem.chunk));
        }
        // Those that nobody listed are as bad.
        self.report.findings_count += found.problems_count - listed;
        self.mark(&*reader, last, mark);
        Ok((Some(reader), held))
    }

    /// Compares the end of the log with what was acknowledged.
    fn mark(&mut self, log: &dyn LogReader, last: Lsn, mark: Result<Option<Mark>, LogError>) {
        let path = self.dir.root().join("hwm");
        let finding = match mark {
            Err(error) => Finding::of("high_water_mark", sentence(&error)),
            Ok(None) if last == Lsn::ZERO => return,
            Ok(None) => Finding::of("no_mark", "there is no high-water file"),
            Ok(Some(mark)) if mark.lsn > last => {
                let lost = format!("records {}..={}", last.next(), mark.lsn);
                let error = format!("{lost} were acknowledged and are not there");
                let remedy = format!(
                    "restore the directory from a backup; starting with --accept-lost-history would \
                     give up {lost}"
                );
                Finding::of("lost_tail", error).about(Some(last.next()), None).remedy(remedy)
            }
            Ok(Some(mark)) if mark.lsn == Lsn::ZERO => return,
            // Folded since, so what there is is later than what was acknowledged.
            Ok(Some(mark)) if log.base().is_some_and(|base| mark.lsn < base.lsn) => return,
            Ok(Some(mark)) => {
                let base = log.base().filter(|base| base.lsn == mark.lsn);
                let value = || log.scan_values(mark.lsn, mark.lsn).find_map(Result::ok);
                let chain = match base {
                    Some(base) => Some(base.chain),
                    None => value().map(|(lsn, value)| Chain::of(lsn, &value)),
                };
                if chain == Some(mark.chain) {
                    return;
                }
                let error = Damage::OtherHistory { lsn: mark.lsn }.to_string();
                Finding::of("other_history", error).about(Some(mark.lsn), None)
            }
        };
        self.report.add(finding.at(&path));
    }

    fn chunks(
        &mut self,
        log: Option<&dyn LogReader>,
        held: Option<&Held>,
        listener: Listener<'_>,
    ) -> Result<(), Error> {
        let dir = self.dir.chunks();
        let options = chunks::Options { keep_damaged: !self.repair, ..chunks::Options::default() };
        let mut faults = Vec::new();
        let mut found = Inspection::list(&dir, &options, &mut |fault| faults.push(fault))
            .map_err(Error::Chunks)?;
        let (mut done, total) = (0, found.count());
        let mut tell = |done| listener(Progress { phase: Phase::Chunks, done, total });
        tell(0);
        found.read(&dir, &options, &mut |fault| faults.push(fault), &mut || {
            done += 1;
            tell(done)
        });
        self.report.chunks = total;
        self.report.bytes = found.bytes;
        let store = found.is_complete.then(|| Store::open(&dir, options));
        let store = store.transpose().map_err(Error::Chunks)?;
        for fault in faults {
            self.fault(fault, store.as_ref());
        }
        let (Some(log), Some(held), Some(store)) = (log, held, store) else {
            let why = "the log or the chunks can't be read in full";
            self.report.add(Finding::of("unknown_references", why));
            return Ok(());
        };
        for (chunk, by) in verify::needed_chunks(log, &store, held).map_err(Error::Verify)? {
            if !found.contains(&chunk) {
                let error = format!("record {by} needs it, and it is not held");
                self.report.add(Finding::of("missing_chunk", error).about(Some(by), Some(chunk)));
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: Fault, store: Option<&Store>) {
        let finding = match fault {
            Fault::Generation { path, error } => Finding::of("generation", error).at(&path),
            Fault::Index { path, error } => {
                let mut finding = Finding::of("chunk_index", error).at(&path);
                // Opening the store has made it anew.
                finding.repaired = store.is_some();
                finding
            }
            Fault::Blob { path } => {
                Finding::of("blob", "it is stored outside of the file").at(&path)
            }
            Fault::Chunk { id, path, error } => {
                let mut finding = Finding::of("damaged_chunk", error).at(&path);
                if self.repair && store.is_some_and(|store| store.verify(&id).is_err()) {
                    finding.means = "its content was lost already";
                    let remedy = "upload it again: it counts as missing now";
                    finding = finding.remedy(remedy.to_owned());
                }
                finding.about(None, Some(id))
            }
        };
        self.report.add(finding);
    }

    fn checkpoints(&mut self, log: Option<&dyn LogReader>) {
        for found in inspect_checkpoints(&self.dir.checkpoints(), log) {
            match found.state {
                CheckpointState::Sound(_) => self.report.checkpoints += 1,
                // One of the leftovers.
                CheckpointState::Unfinished => {}
                CheckpointState::Unusable(error) => {
                    let mut finding = Finding::of("checkpoint", error).at(&found.path);
                    // Where the log is damaged it may be all that is left of a state.
                    let spare = self.report.starts;
                    finding.repaired = self.repair && spare && leftovers::remove(&found.path);
                    self.report.add(finding);
                }
            }
        }
    }
}
