//! Clients that load a service until it is gone, and note what it acknowledged.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ledgerun::clock::monotonic;
use ledgerun::domain::ChunkId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::chores::Chores;
use crate::http::{Http, Unknown};
use crate::workers::{Temper, Worker, action, content};

/// A submission that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) lsn: u64,
    /// When the answer came.
    pub(crate) heard: Instant,
    pub(crate) action: String,
    pub(crate) worker: String,
}

/// An upload that was acknowledged: the content is [`content`] of seed and length.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) id: ChunkId,
    /// When the answer came.
    pub(crate) heard: Instant,
    pub(crate) seed: u64,
    pub(crate) length: usize,
}

/// What one client was told to be so.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) workers: Vec<Worker>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) cancelled: Vec<(u64, Instant)>,
    /// What was done besides.
    pub(crate) chores: Chores,
    /// Whether the last thing it heard was that the service takes nothing any more.
    pub(crate) refused: bool,
}

impl Acknowledged {
    /// Forgets what was heard after a power cut had begun. Without power nobody hears an answer; in
    /// the simulation one may come, because a sync that is under way when the file system is shut
    /// down can report success.
    pub(crate) fn forget_after(&mut self, cut: Instant) {
        self.jobs.retain(|job| job.heard < cut);
        self.chunks.retain(|chunk| chunk.heard < cut);
        self.cancelled.retain(|(_, heard)| *heard < cut);
        self.chores.forget_after(cut);
    }
}

/// One client.
pub(crate) struct Client<'a> {
    pub(crate) http: Http,
    data: &'a Path,
    stop: &'a AtomicBool,
    /// Differs from that of every other client on this data directory.
    seed: u64,
    pub(crate) random: StdRng,
    counter: u64,
    pub(crate) told: Acknowledged,
}

impl<'a> Client<'a> {
    pub(crate) fn new(url: &str, data: &'a Path, stop: &'a AtomicBool, seed: u64) -> Self {
        let (http, random) = (Http::new(url), StdRng::seed_from_u64(seed));
        Self { http, data, stop, seed, random, counter: 0, told: Acknowledged::default() }
    }

    /// Submits, uploads, cancels, changes queues, records, exports and looks back until told to
    /// stop, or until the service can't be heard or takes nothing any more.
    pub(crate) fn run(self) -> Acknowledged {
        self.run_for(u64::MAX)
    }

    /// The same with so many things to do, if the service stands them.
    pub(crate) fn run_for(mut self, steps: u64) -> Acknowledged {
        let _: Result<(), Unknown> = self.work(steps);
        self.told
    }

    fn work(&mut self, steps: u64) -> Result<(), Unknown> {
        let tempers =
            [Temper::Quick, Temper::Flaky, Temper::Failing, Temper::Lingering].into_iter();
        for (number, temper) in (0..).zip(tempers) {
            let value = content(self.seed.wrapping_add(number), 1_000);
            let worker = Worker::register(&self.http, self.data, temper, &value)?;
            self.told.workers.push(worker);
        }
        for _ in 0..steps {
            if self.stop.load(Ordering::Relaxed) || self.told.refused {
                break;
            }
            match self.random.random_range(0..100) {
                0..38 => self.submit()?,
                38..43 => self.submit_batch()?,
                43..50 => self.cancel()?,
                50..64 => self.chore()?,
                _ => self.upload()?,
            }
        }
        Ok(())
    }

    /// A number that nobody used yet, or one of few that are used again and again.
    pub(crate) fn action(&mut self) -> (usize, Value) {
        self.counter += 1;
        let unique = self.seed.wrapping_mul(1 << 20).wrapping_add(self.counter) >> 1;
        let shared = self.random.random_range(0..8);
        match self.random.random_range(0..100) {
            0..80 => (0, action(shared)),
            80..88 => (0, action(unique)),
            88..93 => (1, action(unique)),
            93..95 => (2, action(shared)),
            95..97 => (2, action(unique)),
            _ => (3, action(unique)),
        }
    }

    fn submit(&mut self) -> Result<(), Unknown> {
        let (which, action) = self.action();
        let worker = self.told.workers[which].id.clone();
        let options = ["", "", "", "?priority=4", "?priority=0", "?priority=1&cache=skip"];
        let options = options[self.random.random_range(0..options.len())];
        let reply = self.http.post(&format!("/compute/jobs/{worker}{options}"), &action)?;
        if self.taken(reply.status) {
            self.note(&reply.value());
        }
        Ok(())
    }

    fn submit_batch(&mut self) -> Result<(), Unknown> {
        let worker = self.told.workers[0].id.clone();
        let actions: Vec<Value> = (0..12).map(action).collect();
        let path = format!("/compute/jobs/{worker}");
        let reply = self.http.post(&path, &json!({ "actions": actions }))?;
        if self.taken(reply.status) {
            for result in reply.value()["results"].as_array().unwrap() {
                self.note(result);
            }
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, accepted: &Value) {
        let text = |name: &str| accepted[name].as_str().unwrap().to_owned();
        let lsn = accepted["lsn"].as_u64().unwrap_or_else(|| panic!("{accepted}"));
        let heard = monotonic();
        self.told.jobs.push(Job { lsn, heard, action: text("action"), worker: text("worker") });
    }

    /// Cancels one of the newest jobs, which is mostly too late.
    fn cancel(&mut self) -> Result<(), Unknown> {
        let newest = self.told.jobs.iter().rev().take(4).map(|job| job.lsn).collect::<Vec<_>>();
        let Some(lsn) = newest.get(self.random.random_range(0..4_usize)).copied() else {
            return Ok(());
        };
        let reply = self.http.post(&format!("/compute/jobs/{lsn}/cancel"), &json!({}))?;
        if reply.status != 409 && self.taken(reply.status) {
            self.told.cancelled.push((lsn, monotonic()));
        }
        Ok(())
    }

    fn upload(&mut self) -> Result<(), Unknown> {
        self.counter += 1;
        let seed = self.seed.wrapping_mul(1 << 20).wrapping_add(self.counter);
        // From one byte to a mebibyte, each power of two as likely as the next.
        let power = self.random.random_range(0..=20);
        let length = self.random.random_range(1..=(1_usize << power));
        let bytes = content(seed, length);
        let id = ChunkId::of(&bytes);
        let reply = self.http.put_chunk(&id.to_string(), bytes)?;
        if self.taken(reply.status) {
            self.told.chunks.push(Chunk { id, heard: monotonic(), seed, length });
        }
        Ok(())
    }

    /// Whether a status acknowledges. Otherwise it must say that nothing is taken any more.
    pub(crate) fn taken(&mut self, status: u16) -> bool {
        self.told.refused = status == 503 || status == 507 || status == 500;
        assert!(self.told.refused || status == 200 || status == 201, "{status}");
        !self.told.refused
    }
}
