//! The chunk store against SIGKILL, and against a map.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, reason = "how the child that is killed reports")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use ledgerun::chunks::{Error, Options, Store};
use ledgerun::domain::ChunkId;
use proptest::prelude::*;

/// Small groups, segments and generations, so that little data meets every border.
fn small() -> Options {
    Options {
        group_bytes: 16 << 10,
        generation_bytes: 2 << 20,
        segment_bytes: 512 << 10,
        ..Options::default()
    }
}

fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

/// Set in the child that is killed: where its store is, and the first seed of its contents.
const CHILD: &str = "LEDGERUN_TEST_CHUNKS_CHILD";

/// Uploads for ever, from several threads and in every way, and says what was acknowledged.
fn upload_until_killed(dir: &Path, first_seed: u64) {
    let store = Store::open(dir, small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for number in 0.. {
                    let seed = first_seed + number * 4 + thread;
                    let bytes = content([300, 4_096, 30_000, 90_000][(seed % 4) as usize], seed);
                    let id = ChunkId::of(&bytes);
                    if number % 3 == 0 {
                        let mut batch = store.batch();
                        batch.put(id, &bytes).unwrap();
                        batch.commit().unwrap();
                    } else {
                        let mut writer = store.writer(id).unwrap();
                        bytes.chunks(7_000).for_each(|part| writer.write(part).unwrap());
                        writer.finish().unwrap();
                    }
                    // One write, so that a kill can't cut a line that another one continues.
                    println!("acknowledged {id}");
                }
            });
        }
    });
}

#[test]
fn no_acknowledged_chunk_is_lost_to_a_kill() {
    #[expect(clippy::disallowed_methods, reason = "how a test tells its child what it is")]
    if let Ok(task) = std::env::var(CHILD) {
        let (seed, dir) = task.split_once(' ').unwrap();
        return upload_until_killed(Path::new(dir), seed.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..8_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_acknowledged_chunk_is_lost_to_a_kill", "--nocapture"])
            .env(CHILD, format!("{} {}", round * 1_000_000, dir.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: String| {
            if let Some((_, id)) = line.split_once("acknowledged ") {
                acknowledged.push(id.parse::<ChunkId>().unwrap());
            }
        };
        // The child is in the middle of other uploads when one of them is acknowledged.
        for line in lines.by_ref().take(5 + 11 * round) {
            take(line.unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).filter(|line| line.len() == 53).for_each(&mut take);
        let store = Store::open(dir.path(), small()).unwrap();
        assert_eq!(store.missing(&acknowledged), [], "round {round}");
        store.ids().iter().for_each(|id| store.verify(id).unwrap());
    }
    assert!(acknowledged.len() > 200, "{} acknowledged", acknowledged.len());
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let blobs = entry.unwrap().path().join("blobs");
        assert!(!blobs.exists() || std::fs::read_dir(blobs).unwrap().next().is_none());
    }
}

/// One step of a test run; contents are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Stream { seed: u64, part: usize },
    Spool { seed: u64, part: usize },
    Batch(Vec<u64>),
    Lie { seed: u64, other: u64 },
    Abandon(u64),
    Range { seed: u64, from: u64, count: u64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seed = || 0..12_u64;
    let step = prop_oneof![
        3 => seed().prop_map(Step::Put),
        3 => (seed(), 1..20_000_usize).prop_map(|(seed, part)| Step::Stream { seed, part }),
        2 => (seed(), 1..20_000_usize).prop_map(|(seed, part)| Step::Spool { seed, part }),
        2 => prop::collection::vec(seed(), 0..6).prop_map(Step::Batch),
        2 => (seed(), seed()).prop_map(|(seed, other)| Step::Lie { seed, other }),
        1 => seed().prop_map(Step::Abandon),
        3 => (seed(), 0..80_000_u64, 0..80_000_u64)
            .prop_map(|(seed, from, count)| Step::Range { seed, from, count }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..24)
}

fn sized(seed: u64) -> Vec<u8> {
    content([0, 1, 4_095, 4_097, 20_000, 70_000][(seed % 6) as usize], seed)
}

fn run(dir: &Path, steps: &[Step]) {
    let options = || Options { generation_bytes: 150_000, ..small() };
    let mut store = Store::open(dir, options()).unwrap();
    let mut model = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(seed) => {
                store.put(ChunkId::of(&sized(*seed)), &sized(*seed)).unwrap();
                model.insert(ChunkId::of(&sized(*seed)), sized(*seed));
            }
            Step::Stream { seed, part } => {
                let mut writer = store.writer(ChunkId::of(&sized(*seed))).unwrap();
                sized(*seed).chunks(*part).for_each(|bytes| writer.write(bytes).unwrap());
                writer.finish().unwrap();
                model.insert(ChunkId::of(&sized(*seed)), sized(*seed));
            }
            Step::Spool { seed, part } => {
                let mut spool = store.spool().unwrap();
                sized(*seed).chunks(*part).for_each(|bytes| spool.write(bytes).unwrap());
                model.insert(spool.finish().unwrap(), sized(*seed));
            }
            Step::Batch(seeds) => {
                let mut batch = store.batch();
                for seed in seeds {
                    model.insert(batch.put_unnamed(&sized(*seed)).unwrap(), sized(*seed));
                }
                batch.commit().unwrap();
            }
            Step::Lie { seed, other } => {
                let mut writer = store.writer(ChunkId::of(&sized(*seed))).unwrap();
                writer.write(&content(50_000, 100 + other)).unwrap();
                assert!(matches!(writer.finish(), Err(Error::Mismatch { .. })));
            }
            Step::Abandon(seed) => {
                let mut writer = store.writer(ChunkId::of(&sized(*seed))).unwrap();
                writer.write(&sized(*seed)).unwrap();
            }
            Step::Range { seed, from, count } => {
                let bytes = sized(*seed);
                let id = ChunkId::of(&bytes);
                let mut part = Vec::new();
                match store.read(&id) {
                    Ok(reader) => drop(reader.range(*from, *count).read_to_end(&mut part).unwrap()),
                    Err(error) => {
                        assert!(!model.contains_key(&id), "{error}");
                        continue;
                    }
                }
                let from = bytes.len().min(usize::try_from(*from).unwrap());
                let to = bytes.len().min(from + usize::try_from(*count).unwrap());
                assert_eq!(part, bytes[from..to]);
            }
            Step::Reopen => {
                drop(store);
                store = Store::open(dir, options()).unwrap();
            }
        }
        assert_eq!(store.ids(), model.keys().copied().collect::<Vec<_>>());
        let bytes: u64 = model.values().map(|bytes| bytes.len() as u64).sum();
        assert_eq!(store.stats().bytes, bytes);
    }
    for id in model.keys() {
        store.verify(id).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_from_names_to_contents(steps in steps()) {
        run(tempfile::tempdir().unwrap().path(), &steps);
    }
}
