//! Random histories of uploads, wants, holds, collections and crashes against a model of what must
//! be there and what must be gone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ledgerun::chunks::{Hold, Options, Put, Reader, Store};
use ledgerun::clock::Clock;
use ledgerun::domain::{ChunkId, Millis, Timestamp};
use proptest::prelude::*;

const HOUR: i64 = 3_600_000_000;
const GRACE: i64 = 24 * HOUR;
/// A want may be written down up to a quarter of the grace late, so chunks stay that much longer.
const KEPT: i64 = GRACE + GRACE / 4;

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// One step of a history; contents are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Stream(u64),
    Batch(Vec<u64>),
    Want(Vec<u64>),
    /// Upload and want under a hold that stays until the next release.
    Hold(Vec<u64>),
    Release,
    /// Read half of it now, the rest at the next finish.
    Read(u64),
    Finish,
    Later(i64),
    /// With these chunks referred to; told to stop after so many questions, if at all.
    Collect {
        live: Vec<u64>,
        stop_after: Option<i64>,
    },
    Reopen,
    /// Goes on with what the disk had at this moment.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seed = || 0..14_u64;
    let seeds = move |most: usize| prop::collection::vec(seed(), 0..most);
    let step = prop_oneof![
        3 => seed().prop_map(Step::Put),
        2 => seed().prop_map(Step::Stream),
        2 => seeds(5).prop_map(Step::Batch),
        2 => seeds(5).prop_map(Step::Want),
        2 => seeds(4).prop_map(Step::Hold),
        1 => Just(Step::Release),
        1 => seed().prop_map(Step::Read),
        1 => Just(Step::Finish),
        4 => (1..30 * HOUR).prop_map(Step::Later),
        4 => (seeds(6), prop::option::weighted(0.3, 0..12_i64))
            .prop_map(|(live, stop_after)| Step::Collect { live, stop_after }),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn content(seed: u64) -> Vec<u8> {
    let mut content = vec![0; [0, 1, 4_097, 20_000, 70_000, 30_000, 9_000][(seed % 7) as usize]];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(seed % 14).to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

fn id(seed: u64) -> ChunkId {
    ChunkId::of(&content(seed))
}

fn options() -> Options {
    Options {
        group_bytes: 16 << 10,
        generation_bytes: 120_000,
        segment_bytes: 512 << 10,
        grace: Millis(24 * 3_600_000),
        garbage_bytes: 30_000,
        copy_bytes_per_second: 0,
        ..Options::default()
    }
}

/// A store and what is known about it.
struct Run {
    dir: tempfile::TempDir,
    clock: Arc<Hand>,
    store: Store,
    /// What must be there, and when it was wanted last.
    wanted: BTreeMap<ChunkId, i64>,
    /// What may be there although it was collected, since a crash brought it back.
    back: BTreeSet<ChunkId>,
    hold: Option<(Hold, BTreeSet<ChunkId>)>,
    reader: Option<(u64, Reader, Vec<u8>)>,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(10_000 * HOUR)));
        let store = open(dir.path(), &clock);
        let (wanted, back) = Default::default();
        Self { dir, clock, store, wanted, back, hold: None, reader: None }
    }

    fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    fn put(&mut self, seed: u64) {
        let held = self.store.contains(&id(seed));
        let put = self.store.put(id(seed), &content(seed)).unwrap();
        assert_eq!(put == Put::Held, held);
        self.used(seed);
    }

    fn used(&mut self, seed: u64) {
        self.wanted.insert(id(seed), self.now());
        if let Some((_, held)) = &mut self.hold {
            held.insert(id(seed));
        }
    }

    fn want(&mut self, seeds: &[u64]) {
        let ids: Vec<_> = seeds.iter().map(|seed| id(*seed)).collect();
        let (missing, _hold) = self.store.want(&ids).unwrap();
        for seed in seeds {
            if missing.contains(&id(*seed)) {
                assert!(!self.wanted.contains_key(&id(*seed)), "chunk {seed} is missing");
            } else {
                self.used(*seed);
            }
        }
    }

    fn finish_reading(&mut self) {
        if let Some((seed, mut reader, mut bytes)) = self.reader.take() {
            reader.read_to_end(&mut bytes).unwrap();
            assert!(bytes == content(seed), "chunk {seed} was read wrong");
        }
    }

    fn collect(&mut self, live: &[u64], stop_after: Option<i64>) {
        let live: BTreeSet<_> = live.iter().map(|seed| id(*seed)).collect();
        let mark = self.store.begin_collection();
        let asked = AtomicI64::new(0);
        let stop = || stop_after.is_some_and(|most| asked.fetch_add(1, Ordering::SeqCst) >= most);
        let done = self.store.collect(mark, &|id| live.contains(id), &stop).unwrap();
        let reading = self.reader.as_ref().map(|(seed, ..)| id(*seed));
        for (id, wanted) in std::mem::take(&mut self.wanted) {
            let held = self.hold.as_ref().is_some_and(|(_, held)| held.contains(&id));
            let used = held || reading == Some(id) || live.contains(&id);
            if used || wanted + GRACE > self.now() {
                assert!(self.store.contains(&id), "{id} was collected");
                self.wanted.insert(id, wanted);
            } else if self.store.contains(&id) {
                let kept = wanted + KEPT > self.now() || done.stopped;
                assert!(kept, "{id} was left");
                self.wanted.insert(id, wanted);
            } else {
                self.back.insert(id);
            }
        }
    }

    fn crash(&mut self) {
        self.end_life();
        let next = tempfile::tempdir().unwrap();
        let from = self.dir.path().join(".");
        let copied = Command::new("cp").arg("-r").arg(from).arg(next.path()).status().unwrap();
        assert!(copied.success());
        self.store = open(next.path(), &self.clock);
        self.dir = next;
        // Garbage that is back is as good as any: it must be whole, and then goes again.
        for id in self.store.ids() {
            if !self.wanted.contains_key(&id) {
                assert!(self.back.contains(&id), "{id} was never there");
                self.wanted.insert(id, i64::MIN / 2);
            }
        }
    }

    fn end_life(&mut self) {
        self.finish_reading();
        self.hold = None;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(seed) => self.put(*seed),
            Step::Stream(seed) => {
                let mut writer = self.store.writer(id(*seed)).unwrap();
                content(*seed).chunks(7_000).for_each(|part| writer.write(part).unwrap());
                writer.finish().unwrap();
                self.used(*seed);
            }
            Step::Batch(seeds) => {
                let mut batch = self.store.batch();
                for seed in seeds {
                    batch.put(id(*seed), &content(*seed)).unwrap();
                }
                batch.commit().unwrap();
                for seed in seeds {
                    self.used(*seed);
                }
            }
            Step::Want(seeds) => self.want(seeds),
            Step::Hold(seeds) => {
                if self.hold.is_none() {
                    self.hold = Some((self.store.hold(), BTreeSet::new()));
                }
                let (upload, want) = seeds.split_at(seeds.len() / 2);
                for seed in upload {
                    self.put(*seed);
                }
                self.want(want);
            }
            Step::Release => self.hold = None,
            Step::Read(seed) => {
                self.finish_reading();
                if let Ok(mut reader) = self.store.read(&id(*seed)) {
                    let mut half = vec![0; content(*seed).len() / 2];
                    reader.read_exact(&mut half).unwrap();
                    self.reader = Some((*seed, reader, half));
                }
            }
            Step::Finish => self.finish_reading(),
            Step::Later(micros) => {
                self.clock.0.fetch_add(*micros, Ordering::SeqCst);
            }
            Step::Collect { live, stop_after } => self.collect(live, *stop_after),
            Step::Reopen => {
                self.end_life();
                let placeholder = tempfile::tempdir().unwrap();
                self.store = open(placeholder.path(), &self.clock);
                self.store = open(self.dir.path(), &self.clock);
            }
            Step::Crash => self.crash(),
        }
        let held: BTreeSet<_> = self.store.ids().into_iter().collect();
        for id in self.wanted.keys() {
            assert!(held.contains(id), "{id} is gone after {step:?}");
        }
        // After a stop that was no crash, too, garbage of a collection that was cut short.
        for id in held {
            assert!(self.wanted.contains_key(&id) || self.back.contains(&id), "{id} is back");
            self.wanted.entry(id).or_insert(i64::MIN / 2);
        }
    }
}

fn open(dir: &Path, clock: &Arc<Hand>) -> Store {
    Store::open_with(dir, options(), Arc::<Hand>::clone(clock)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn collections_take_what_nobody_wants_and_nothing_else(steps in steps()) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.end_life();
        for id in &run.store.ids() {
            run.store.verify(id).unwrap();
        }
        for entry in std::fs::read_dir(run.dir.path()).unwrap() {
            let blobs = entry.unwrap().path().join("blobs");
            prop_assert!(!blobs.exists() || std::fs::read_dir(blobs).unwrap().next().is_none());
        }
    }
}
