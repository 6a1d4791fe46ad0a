//! Somebody who reads along, remembers everything that was read or acknowledged, and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ledgerun::domain::ChunkId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::chores::Chores;
use crate::http::{Http, Unknown};
use crate::load::{Acknowledged, Chunk, Job};
use crate::service::Service;
use crate::workers::{Temper, Worker, content};

/// Records asked for at once.
const PAGE: usize = 2_000;

/// The log as it was read.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Hash of each line, where it was read before the log was compacted; the first is of LSN 1.
    lines: Vec<Option<blake3::Hash>>,
    /// Action and worker of each submission, by LSN.
    submitted: BTreeMap<u64, (String, String)>,
}

impl Log {
    pub(crate) fn last(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Reads what is new. Every record must be the next one.
    pub(crate) fn follow(&mut self, http: &Http) -> Result<(), Unknown> {
        loop {
            self.skip_folded(http)?;
            let from = self.last() + 1;
            let page = page(http, from)?;
            for line in lines(&page) {
                let record: Value = serde_json::from_slice(line).unwrap();
                assert_eq!(record["lsn"], self.last() + 1, "LSNs are gapless");
                self.lines.push(Some(blake3::hash(line)));
                if let Some(job) = record["event"].get("job_submitted") {
                    let text = |name: &str| job[name].as_str().unwrap().to_owned();
                    self.submitted.insert(self.last(), (text("action"), text("worker")));
                }
            }
            if self.last() < from + PAGE as u64 - 1 {
                return Ok(());
            }
        }
    }

    /// Learns from the jobs themselves what was folded before it could be read as records.
    fn skip_folded(&mut self, http: &Http) -> Result<(), Unknown> {
        let sysinfo = http.get("/compute/sysinfo")?;
        if sysinfo.status != 200 {
            return Err(Unknown);
        }
        let first = sysinfo.value()["log"]["first_lsn"].as_u64().unwrap();
        while self.last() + 1 < first {
            let reply = http.get(&format!("/compute/jobs/{}", self.last() + 1))?;
            match reply.status {
                200 | 202 => {
                    let job = reply.value();
                    let text = |name: &str| job[name].as_str().unwrap().to_owned();
                    self.submitted.insert(self.last() + 1, (text("action"), text("worker")));
                }
                404 => {}
                _ => return Err(Unknown),
            }
            self.lines.push(None);
        }
        Ok(())
    }

    /// Reads again what was read before, from `from` on.
    pub(crate) fn reread(&self, http: &Http, mut from: u64) {
        from = from.max(first(http));
        while from <= self.last() {
            let page = page(http, from).unwrap();
            for line in lines(&page) {
                if from <= self.last() {
                    let known = self.lines[usize::try_from(from).unwrap() - 1];
                    let same = known.is_none_or(|known| blake3::hash(line) == known);
                    assert!(same, "record {from} is another one now");
                }
                from += 1;
            }
        }
    }
}

fn page(http: &Http, from: u64) -> Result<Vec<u8>, Unknown> {
    let reply = http.get(&format!("/compute/log?from={from}&limit={PAGE}"))?;
    if reply.status == 200 { Ok(reply.body) } else { Err(Unknown) }
}

/// The first record that the log has; what came before was compacted.
fn first(http: &Http) -> u64 {
    http.json("/compute/sysinfo")["log"]["first_lsn"].as_u64().unwrap()
}

fn lines(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The feed of ended jobs, read by a consumer that stores `next`.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    since: u64,
    ended: BTreeMap<u64, String>,
}

impl Feed {
    /// Takes the next page; waits a second for one.
    pub(crate) fn follow(&mut self, http: &Http) -> Result<usize, Unknown> {
        let since = self.since;
        let reply = http.get(&format!("/compute/jobs/completed?since={since}&limit=50&wait=1"))?;
        if reply.status != 200 {
            return Err(Unknown);
        }
        let page = reply.value();
        let jobs = page["completed"].as_array().unwrap();
        let mut newest = since;
        for job in jobs {
            let (lsn, ended) =
                (job["lsn"].as_u64().unwrap(), job["completed_lsn"].as_u64().unwrap());
            assert!(ended > since && ended >= newest, "in order: {page}");
            newest = ended;
            let state = job["state"].as_str().unwrap().to_owned();
            let former = self.ended.insert(lsn, state);
            assert_eq!(former, None, "job {lsn} is listed twice");
        }
        self.since = page["next"].as_u64().unwrap();
        assert_eq!(self.since, newest);
        Ok(jobs.len())
    }
}

/// All that is known of a data directory.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) log: Log,
    pub(crate) feed: Feed,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) chores: Chores,
    workers: BTreeMap<String, Worker>,
    cancelled: BTreeSet<u64>,
    random: StdRng,
}

impl Witness {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            log: Log::default(),
            feed: Feed::default(),
            jobs: BTreeMap::new(),
            chunks: Vec::new(),
            chores: Chores::default(),
            workers: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Checks, on a service that was just started, what its former life acknowledged and showed.
    pub(crate) fn check(&mut self, service: &Service, former: Vec<Acknowledged>) {
        let http = Http::new(service.url());
        assert!(service.last_lsn() >= self.log.last(), "the log ends before what was read");
        let read_again = self.log.last().saturating_sub(300).max(1);
        self.log.reread(&http, read_again);
        self.log.follow(&http).unwrap();
        let mut chores = Chores::default();
        for mut told in former {
            chores.add(std::mem::take(&mut told.chores));
            self.take(&http, told, service.last_lsn());
        }
        chores.check(&http);
        self.chores.add(chores);
        for _ in 0..3 {
            if let Some(chunk) = self.some_chunk() {
                held(&http, chunk);
            }
        }
    }

    fn some_chunk(&mut self) -> Option<&Chunk> {
        let index = self.random.random_range(0..self.chunks.len().max(1));
        self.chunks.get(index)
    }

    fn take(&mut self, http: &Http, told: Acknowledged, last: u64) {
        for worker in told.workers {
            assert_eq!(http.get(&format!("/compute/workers/{}", worker.id)).unwrap().status, 200);
            self.workers.insert(worker.id.clone(), worker);
        }
        for job in told.jobs {
            assert!(job.lsn <= last, "job {} was acknowledged, the log ends at {last}", job.lsn);
            let known = self.log.submitted.get(&job.lsn);
            let known = known.unwrap_or_else(|| panic!("acknowledged job {} is lost", job.lsn));
            assert_eq!(*known, (job.action.clone(), job.worker.clone()), "job {}", job.lsn);
            let former = self.jobs.insert(job.lsn, job);
            assert!(former.is_none(), "an LSN was given twice: {former:?}");
        }
        for (lsn, _) in told.cancelled {
            assert_eq!(http.json(&format!("/compute/jobs/{lsn}"))["state"], "cancelled");
            self.cancelled.insert(lsn);
        }
        let lost = missing(http, told.chunks.iter().map(|chunk| chunk.id));
        let lost: Vec<_> = (1..)
            .zip(&told.chunks)
            .filter(|(_, chunk)| lost.contains(&chunk.id.to_string()))
            .collect();
        assert!(lost.is_empty(), "of {} acknowledged chunks are lost: {lost:?}", told.chunks.len());
        self.chunks.extend(told.chunks);
    }

    /// Lets the service finish all jobs, then checks everything there is to know.
    pub(crate) fn check_all(&mut self, service: &Service) {
        let http = Http::new(service.url());
        self.log.reread(&http, 1);
        self.log.follow(&http).unwrap();
        let mut idle = 0;
        while self.feed.ended.len() < self.log.submitted.len() {
            idle = if self.feed.follow(&http).unwrap() == 0 { idle + 1 } else { 0 };
            assert!(idle < 40, "jobs that never end: {:?}", self.open());
        }
        assert_eq!(self.feed.follow(&http).unwrap(), 0, "no job ends again");
        self.log.follow(&http).unwrap();
        assert!(self.feed.ended.keys().eq(self.log.submitted.keys()));
        self.chores.check(&http);
        assert_eq!(missing(&http, self.chunks.iter().map(|chunk| chunk.id)), [""; 0]);
        let sample = self.chunks.len().div_ceil(300);
        self.chunks.iter().step_by(sample.max(1)).for_each(|chunk| held(&http, chunk));
        let mut values = BTreeSet::new();
        for (lsn, state) in &self.feed.ended {
            let cancelled = state == "cancelled";
            assert!(cancelled || !self.cancelled.contains(lsn), "job {lsn} was cancelled: {state}");
            let Some(worker) = self.workers.get(&self.log.submitted[lsn].1) else { continue };
            let right = match worker.temper {
                // Ended early by a kill or not, an attempt that the service lost counts nothing.
                Temper::Quick | Temper::Lingering => cancelled || state == "completed",
                Temper::Failing => cancelled || state == "failed",
                _ => true,
            };
            assert!(right, "job {lsn} of a {:?} worker is {state}", worker.temper);
            if state == "completed" {
                values.insert(worker.value);
            }
        }
        assert_eq!(missing(&http, values.into_iter()), [""; 0], "results are held");
    }

    fn open(&self) -> Vec<u64> {
        let all = self.log.submitted.keys();
        all.filter(|lsn| !self.feed.ended.contains_key(lsn)).copied().take(10).collect()
    }
}

/// Which of `chunks` the service does not hold.
pub(crate) fn missing(http: &Http, chunks: impl Iterator<Item = ChunkId>) -> Vec<String> {
    let chunks: Vec<String> = chunks.map(|id| id.to_string()).collect();
    let answer = http.post("/compute/chunks", &json!({ "chunks": chunks })).unwrap().expect(200);
    let need = answer["need"].as_array().unwrap();
    need.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Reads a chunk and compares every byte.
fn held(http: &Http, chunk: &Chunk) {
    let reply = http.get(&format!("/compute/chunks/{}", chunk.id)).unwrap();
    assert_eq!(reply.status, 200, "{chunk:?}");
    assert!(reply.body == content(chunk.seed, chunk.length), "{chunk:?} has other content now");
}

/// Names of the attempts' folders and of those being deleted.
pub(crate) fn leftovers(data: &Path) -> BTreeSet<String> {
    let names = |dir: &str| {
        let entries = std::fs::read_dir(data.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    names("run").chain(names("trash")).collect()
}

/// What all data directories of a test held together.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    jobs: usize,
    chunks: usize,
    chores: usize,
    records: u64,
    ended: BTreeMap<String, usize>,
}

impl Totals {
    pub(crate) fn add(&mut self, witness: &Witness) {
        self.jobs += witness.jobs.len();
        self.chunks += witness.chunks.len();
        self.chores += witness.chores.count();
        self.records += witness.log.last();
        for state in witness.feed.ended.values() {
            *self.ended.entry(state.clone()).or_default() += 1;
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { jobs, chunks, chores, records, ended } = self;
        write!(
            f,
            "acknowledged {jobs} jobs, {chunks} chunks, {chores} queues, recordings, archives and \
             past answers; {records} records; ended: {ended:?}"
        )
    }
}
