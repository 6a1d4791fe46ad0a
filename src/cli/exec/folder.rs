//! Running a folder of actions on a service.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::super::away::{Away, STEP};
use super::super::{Global, output, progress, workers};
use super::ExecCommand;
use super::layout::{Folder, Job};
use super::measure;
use super::summary::{Summary, rate};
use crate::client::{
    BatchItem, BatchOptions, Client, Completion, Mismatch, NewFailure, QueueRef, QueueSettings,
};
use crate::clock::monotonic;
use crate::domain::{ChunkId, JobState, Lsn, WorkerId};
use crate::replay::compare;
use crate::wire::cb::Object;
use crate::wire::descriptor::Descriptor;
use crate::wire::output::Output;

/// Most actions of a batch.
const BATCH_LEN_MAX: usize = 1_000;
/// Bytes of actions after which a batch is sent.
const BATCH_BYTES: usize = 4 << 20;
/// Ends of one request, and how long it waits for one.
const PAGE: usize = 1_000;
const WAIT: Duration = Duration::from_secs(10);

/// Runs the jobs of a folder in a queue of their own, and compares them with the results there.
pub(super) async fn execute(
    global: &Global,
    client: &Client,
    command: &ExecCommand,
    path: &Path,
) -> anyhow::Result<Summary> {
    let folder = Folder::open(path)?;
    let jobs = chosen(command, &folder)?;
    register(client, &folder, &jobs).await?;
    let retries = jobs.iter().filter_map(|(_, job)| job.retries_max).max();
    let name = path.file_name().map(|name| format!("exec {}", name.to_string_lossy()));
    let settings = QueueSettings { name, max_retries: retries, ..QueueSettings::default() };
    let queue = client.own_queue(&settings).await?;
    let begun = monotonic();
    let total = jobs.len() as u64;
    let bar = progress::count(global, total);
    let mut run =
        Run { client, folder: &folder, queue, open: BTreeMap::new(), found: Found::default() };
    run.submit(jobs).await?;
    run.follow(&bar).await?;
    bar.finish_and_clear();
    let elapsed = begun.elapsed();
    // What it was for is over; so it is not open for ever.
    client.drain_queue(queue).await?;
    let latency = measure::latency(client, queue).await?;
    let Found { matched, mut mismatched, mut failed, mut newly_passing, uncompared } = run.found;
    mismatched.sort_by_key(|found| found.lsn);
    failed.sort_by_key(|found| found.lsn);
    newly_passing.sort_unstable();
    Ok(Summary {
        good: mismatched.is_empty() && failed.is_empty(),
        replay: None,
        recording: None,
        total,
        matched,
        mismatched,
        failed,
        newly_passing,
        uncompared,
        reason: None,
        elapsed_ms: elapsed.as_secs_f64() * 1e3,
        jobs_per_s: rate(total, elapsed),
        latency_ms: latency,
    })
}

/// The jobs that are to run, in order, with the workers that are to run them.
fn chosen(command: &ExecCommand, folder: &Folder) -> anyhow::Result<Vec<(Option<WorkerId>, Job)>> {
    let plan = command.selection.local();
    let mut all = Vec::new();
    for (place, file) in (1..).zip(folder.files()?) {
        all.push(folder.job(&file, place)?);
    }
    let names: Vec<_> = all.iter().map(|job| (job.lsn, job.action.function())).collect();
    let indexes: Vec<usize> = plan.select(names.into_iter()).collect();
    let once = indexes.iter().filter_map(|index| all.get(*index));
    let once: Vec<_> =
        once.map(|job| (job.worker.map(|worker| plan.worker(worker)), job.clone())).collect();
    let times = usize::try_from(plan.repeat).unwrap_or(usize::MAX);
    if once.is_empty() {
        bail!("no job is selected; `--dump` without a selection shows which there are");
    }
    Ok(once.iter().cloned().cycle().take(once.len().saturating_mul(times)).collect())
}

/// Makes the workers of the jobs known to the service.
async fn register(
    client: &Client,
    folder: &Folder,
    jobs: &[(Option<WorkerId>, Job)],
) -> anyhow::Result<()> {
    let wanted: BTreeSet<WorkerId> = jobs.iter().filter_map(|(worker, _)| *worker).collect();
    for worker in wanted {
        let Some(object) = folder.object(worker.0)? else {
            let path = format!("/compute/workers/{worker}");
            client.get::<serde_json::Value>(&path).await.with_context(|| {
                format!(
                    "worker {worker} is neither in the folder nor known to the service; \
                     --worker OLD=NEW lets another one run its jobs"
                )
            })?;
            continue;
        };
        let descriptor = Descriptor::parse(object.clone())
            .with_context(|| format!("the folder's worker {worker} is no worker"))?;
        let files = files(folder, descriptor.chunks());
        let request = || {
            client
                .request(Method::POST, &format!("/compute/workers/{worker}"))
                .header(CONTENT_TYPE, "application/x-ue-cb")
                .body(object.bytes().clone())
        };
        workers::register(client, request, &files)
            .await
            .with_context(|| format!("cannot register worker {worker}"))?;
    }
    Ok(())
}

/// Those of the chunks that the folder has.
fn files(folder: &Folder, chunks: Vec<ChunkId>) -> BTreeMap<ChunkId, PathBuf> {
    chunks.into_iter().filter_map(|chunk| Some((chunk, folder.chunk(chunk)?))).collect()
}

/// What came of the jobs so far.
#[derive(Default)]
struct Found {
    matched: u64,
    mismatched: Vec<Mismatch>,
    failed: Vec<NewFailure>,
    newly_passing: Vec<Lsn>,
    uncompared: u64,
}

impl Found {
    fn message(&self) -> String {
        format!("ended: {} matched, {} mismatched", self.matched, self.mismatched.len())
    }
}

struct Run<'a> {
    client: &'a Client,
    folder: &'a Folder,
    queue: QueueRef,
    /// Jobs that were submitted and have not ended, by their LSN here.
    open: BTreeMap<Lsn, Job>,
    found: Found,
}

impl Run<'_> {
    async fn submit(&mut self, jobs: Vec<(Option<WorkerId>, Job)>) -> anyhow::Result<()> {
        let mut batch: Vec<Job> = Vec::new();
        let mut terms = None;
        let mut bytes = 0;
        for (worker, job) in jobs {
            // As in a replay: it never ran, so there is nothing to compare.
            if job.state == Some(JobState::Cancelled) {
                self.found.matched += 1;
                continue;
            }
            let own = BatchOptions { queue: self.queue, worker, priority: job.priority };
            let same = terms.is_none_or(|terms: BatchOptions| {
                (terms.worker, terms.priority) == (own.worker, own.priority)
            });
            if !same || batch.len() >= BATCH_LEN_MAX || bytes >= BATCH_BYTES {
                self.send(std::mem::take(&mut batch), terms).await?;
                bytes = 0;
            }
            terms = Some(own);
            bytes += job.action.object().bytes().len();
            batch.push(job);
        }
        self.send(batch, terms).await
    }

    async fn send(&mut self, batch: Vec<Job>, terms: Option<BatchOptions>) -> anyhow::Result<()> {
        let Some(terms) = terms.filter(|_| !batch.is_empty()) else { return Ok(()) };
        let inputs: BTreeSet<ChunkId> = batch.iter().flat_map(|job| job.action.chunks()).collect();
        let inputs: Vec<ChunkId> = inputs.into_iter().collect();
        if !inputs.is_empty() {
            // What the folder doesn't have either is told by the answer to the submission.
            for (chunk, file) in files(self.folder, self.client.missing(&inputs).await?) {
                let uploaded = self.client.put_file(chunk, &file).await;
                uploaded.with_context(|| format!("cannot upload {}", file.display()))?;
            }
        }
        let actions: Vec<Object> = batch.iter().map(|job| job.action.object().clone()).collect();
        let answers = self.client.submit_batch(&actions, terms).await?;
        for (job, answer) in batch.into_iter().zip(answers) {
            match answer {
                BatchItem::Accepted { lsn } => drop(self.open.insert(lsn, job)),
                BatchItem::Refused { error, need } => {
                    let need: Vec<String> = need.iter().map(ToString::to_string).collect();
                    let missing = if need.is_empty() { "" } else { "; the folder lacks " };
                    self.fails(&job, format!("{error}{missing}{}", need.join(", ")));
                }
            }
        }
        Ok(())
    }

    /// Waits until all have ended, and compares each.
    async fn follow(&mut self, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut away = Away::default();
        let mut since = Lsn::ZERO;
        let total = bar.length().unwrap_or_default();
        while !self.open.is_empty() {
            bar.set_position(total.saturating_sub(self.open.len() as u64));
            bar.set_message(self.found.message());
            match self.client.completed_in(Some(self.queue), since, PAGE, WAIT).await {
                Ok(page) => {
                    away.back();
                    since = page.next;
                    let none = page.completed.is_empty();
                    for ended in page.completed {
                        self.ended(&ended).await?;
                        bar.set_position(total.saturating_sub(self.open.len() as u64));
                    }
                    if none {
                        // The service waits before it says so, except while it stops.
                        tokio::time::sleep(STEP).await;
                    }
                }
                Err(wrong) => {
                    away.bear(wrong, |text| bar.suspend(|| output::complain(text))).await?;
                }
            }
        }
        Ok(())
    }

    async fn ended(&mut self, ended: &Completion) -> anyhow::Result<()> {
        let Some(job) = self.open.remove(&ended.lsn) else { return Ok(()) };
        if ended.state != "completed" {
            let shown = self.client.job_object(self.queue, ended.lsn).await?;
            let error = shown.get("error").and_then(|error| error.as_str().map(str::to_owned));
            self.fails(&job, error.unwrap_or_else(|| format!("it was {}", ended.state)));
            return Ok(());
        }
        match (job.state, job.output) {
            (Some(JobState::Completed), Some(_)) => self.compare(&job, ended.lsn).await?,
            (Some(JobState::Failed | JobState::Abandoned), _) => {
                self.found.newly_passing.push(job.lsn);
            }
            _ => self.found.uncompared += 1,
        }
        Ok(())
    }

    /// It has no result. That is as it was, or a failure.
    fn fails(&mut self, job: &Job, error: String) {
        if matches!(job.state, Some(JobState::Failed | JobState::Abandoned)) {
            self.found.matched += 1;
        } else {
            self.found.failed.push(NewFailure { lsn: job.lsn, error });
        }
    }

    async fn compare(&mut self, job: &Job, here: Lsn) -> anyhow::Result<()> {
        let shown = self.client.job_object(self.queue, here).await?;
        let result = shown.get("result").and_then(Object::from_field);
        let result = result.with_context(|| format!("job {here} has lost its result"))?;
        let (recorded, replayed) = (job.output, Some(result.hash()));
        if recorded == replayed {
            self.found.matched += 1;
            return Ok(());
        }
        let kept = match recorded {
            Some(hash) => self.folder.object(hash)?.map(Output::parse).transpose()?,
            None => None,
        };
        match kept {
            Some(kept) => {
                let found = compare::differences(job.lsn, &kept, &Output::parse(result)?);
                self.found.mismatched.extend(found.into_iter().map(|found| Mismatch {
                    lsn: found.job,
                    value: found.value,
                    recorded: found.recorded,
                    replayed: found.replayed,
                }));
            }
            // Only its hash is known.
            None => self.found.mismatched.push(Mismatch {
                lsn: job.lsn,
                value: None,
                recorded,
                replayed,
            }),
        }
        Ok(())
    }
}
