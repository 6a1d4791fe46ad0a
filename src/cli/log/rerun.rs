//! Whether functions are pure: completed jobs run again, each twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{Global, output, progress};
use crate::client::{BatchItem, BatchOptions, Client, Mismatch, QueueRef, QueueSettings};
use crate::clock::{Entropy as _, System};
use crate::domain::command::PRIORITY_DEFAULT;
use crate::domain::{ActionId, Event, Lsn, ObjectRef, WorkerId};
use crate::replay::compare;
use crate::wire::cb::Object;
use crate::wire::output::Output;

/// Jobs of one request.
const PAGE: usize = 10_000;
const WAIT: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Chooses the same jobs again.
    seed: u64,
    /// Jobs that were run, each twice.
    jobs: u64,
    /// How many of which function, and how many of these were not pure.
    functions: BTreeMap<String, Tally>,
    /// Values that came out differently: `recorded` the first time, `replayed` the second.
    impure: Vec<Impure>,
    /// Jobs that did not complete both times.
    failed: Vec<Failed>,
}

#[derive(Debug, Default, Serialize)]
struct Tally {
    jobs: u64,
    impure: u64,
}

#[derive(Debug, Serialize)]
struct Impure {
    function: String,
    #[serde(flatten)]
    found: Mismatch,
}

#[derive(Debug, Serialize)]
struct Failed {
    lsn: Lsn,
    function: String,
    error: String,
}

impl Report {
    pub(super) fn is_good(&self) -> bool {
        self.impure.is_empty() && self.failed.is_empty()
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let verdict = if self.is_good() { "the same each time" } else { "NOT THE SAME" };
        output::line(&format!("{} jobs run twice (--seed {}): {verdict}", self.jobs, self.seed))?;
        let rows = self.functions.iter().map(|(function, tally)| {
            vec![function.clone(), tally.jobs.to_string(), tally.impure.to_string()]
        });
        output::table(&["function", "jobs", "not pure"], rows.collect())?;
        let hash = |hash: Option<crate::domain::ContentHash>| {
            hash.map_or_else(|| "(absent)".to_owned(), |hash| hash.to_string())
        };
        let rows = self.impure.iter().map(|Impure { function, found }| {
            vec![
                function.clone(),
                found.lsn.to_string(),
                found.value.clone().unwrap_or_else(|| "(the output object)".to_owned()),
                hash(found.recorded),
                hash(found.replayed),
            ]
        });
        output::table(&["not pure", "job", "value", "first", "second"], rows.collect())?;
        let rows = self.failed.iter().map(|failed| {
            vec![failed.function.clone(), failed.lsn.to_string(), failed.error.clone()]
        });
        output::table(&["failed", "job", "error"], rows.collect())
    }
}

/// A completed job that may be run again.
#[derive(Clone, Debug, Deserialize)]
struct Candidate {
    lsn: Lsn,
    worker: WorkerId,
    action: ActionId,
    function: String,
}

/// One of two runs.
struct Half {
    /// Which of the chosen jobs.
    of: usize,
    /// Its output, or why there is none.
    output: Result<Object, String>,
}

pub(super) async fn run(
    global: &Global,
    client: &Client,
    count: u64,
    seed: Option<u64>,
) -> anyhow::Result<Report> {
    let seed = seed.unwrap_or_else(|| System.number());
    let chosen = choose(client, usize::try_from(count).unwrap_or(usize::MAX), seed).await?;
    let mut report = Report { seed, jobs: chosen.len() as u64, ..Report::default() };
    let mut halves: BTreeMap<usize, Vec<Half>> = BTreeMap::new();
    if !chosen.is_empty() {
        let name = Some("determinism check".to_owned());
        let queue = client.own_queue(&QueueSettings { name, ..QueueSettings::default() }).await?;
        for half in twice(global, client, queue, &chosen).await? {
            halves.entry(half.of).or_default().push(half);
        }
        client.drain_queue(queue).await?;
    }
    for (index, job) in chosen.iter().enumerate() {
        judge(job, halves.remove(&index).unwrap_or_default(), &mut report)?;
    }
    Ok(report)
}

fn judge(job: &Candidate, halves: Vec<Half>, report: &mut Report) -> anyhow::Result<()> {
    let (lsn, function) = (job.lsn, job.function.clone());
    let tally = report.functions.entry(function.clone()).or_default();
    tally.jobs += 1;
    let mut outputs = Vec::new();
    for half in halves {
        match half.output {
            Ok(output) => outputs.push(Output::parse(output).context("a result is no output")?),
            Err(error) => {
                report.failed.push(Failed { lsn, function, error });
                return Ok(());
            }
        }
    }
    if let [first, second] = outputs.as_slice() {
        let found = compare::differences(lsn, first, second);
        tally.impure += u64::from(!found.is_empty());
        report.impure.extend(found.into_iter().map(|found| Impure {
            function: function.clone(),
            found: Mismatch {
                lsn: found.job,
                value: found.value,
                recorded: found.recorded,
                replayed: found.replayed,
            },
        }));
    }
    Ok(())
}

/// Chooses jobs of as many functions as there are, by the seed alone.
async fn choose(client: &Client, count: usize, seed: u64) -> anyhow::Result<Vec<Candidate>> {
    #[derive(Deserialize)]
    struct Page {
        jobs: Vec<Candidate>,
        next: Option<Lsn>,
    }
    let workers: Value = client.get("/compute/workers").await?;
    let workers = workers.get("workers").and_then(Value::as_array).into_iter().flatten();
    let workers: BTreeSet<WorkerId> = workers
        .filter_map(|worker| worker.get("worker").and_then(Value::as_str)?.parse().ok())
        .collect();
    let mut functions: BTreeMap<String, BTreeMap<[u8; 32], Candidate>> = BTreeMap::new();
    let mut after = Lsn::ZERO;
    loop {
        let path = format!("/compute/jobs?state=completed&after={after}&limit={PAGE}");
        let page: Page = client.get(&path).await?;
        for job in page.jobs.into_iter().filter(|job| workers.contains(&job.worker)) {
            // Of those that did the same one is enough.
            let key = key(seed, &job);
            let best = functions.entry(job.function.clone()).or_default();
            best.entry(key).or_insert(job);
            if best.len() > count {
                best.pop_last();
            }
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    let mut lines: Vec<_> = functions.into_values().map(BTreeMap::into_values).collect();
    let mut chosen = Vec::new();
    // One of each function, and again.
    while chosen.len() < count {
        let before = chosen.len();
        for line in &mut lines {
            if chosen.len() < count {
                chosen.extend(line.next());
            }
        }
        if chosen.len() == before {
            break;
        }
    }
    Ok(chosen)
}

/// Where a job stands in an order that the seed gives.
fn key(seed: u64, job: &Candidate) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&job.worker.0.0).update(&job.action.0.0);
    *hasher.finalize().as_bytes()
}

/// Runs each job twice.
async fn twice(
    global: &Global,
    client: &Client,
    queue: QueueRef,
    chosen: &[Candidate],
) -> anyhow::Result<Vec<Half>> {
    let mut halves = Vec::new();
    let mut open = BTreeMap::new();
    for (of, job) in chosen.iter().enumerate() {
        let action = action(client, job).await?;
        let options = BatchOptions { queue, worker: Some(job.worker), priority: PRIORITY_DEFAULT };
        for answer in client.submit_batch(&[action.clone(), action], options).await? {
            match answer {
                BatchItem::Accepted { lsn } => drop(open.insert(lsn, of)),
                BatchItem::Refused { error, .. } => halves.push(Half { of, output: Err(error) }),
            }
        }
    }
    let bar = progress::count(global, (open.len() + halves.len()) as u64);
    bar.set_message("run again");
    let mut since = Lsn::ZERO;
    while !open.is_empty() {
        let page = client.completed_in(Some(queue), since, PAGE, WAIT).await?;
        since = page.next;
        for ended in page.completed {
            let Some(of) = open.remove(&ended.lsn) else { continue };
            let shown = client.job_object(queue, ended.lsn).await?;
            let result = shown.get("result").and_then(Object::from_field);
            let error = shown.get("error").and_then(|error| error.as_str().map(str::to_owned));
            let output =
                result.ok_or_else(|| error.unwrap_or_else(|| format!("it was {}", ended.state)));
            halves.push(Half { of, output });
            bar.set_position(halves.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(halves)
}

/// The action of a job, byte for byte, as the log or the chunk store has it.
async fn action(client: &Client, job: &Candidate) -> anyhow::Result<Object> {
    #[derive(Deserialize)]
    struct Submission {
        event: Event,
    }
    let mut found = None;
    client
        .log_lines(job.lsn, 1, 0, |line| {
            let read: Submission =
                serde_json::from_slice(line).context("a record can't be read")?;
            found = Some(read.event);
            anyhow::Ok(job.lsn)
        })
        .await?;
    let Some(Event::JobSubmitted { object, .. }) = found else {
        anyhow::bail!("record {} submits no job", job.lsn);
    };
    let bytes = match object {
        ObjectRef::Inline(blob) => blob.0,
        ObjectRef::Chunk(chunk) => {
            let mut pieces = client.chunk(chunk).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.next().await? {
                bytes.extend_from_slice(&piece);
            }
            bytes.into()
        }
    };
    Ok(Object::parse(bytes)?)
}
