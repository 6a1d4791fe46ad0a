//! Chunks in and out, as ratios to hashing the same bytes and writing a plain file with fdatasync.
//!
//! `cargo bench --bench chunks` measures the default layout, `-- layouts` compares several, and
//! `-- memory` reports the growth of memory for a large chunk, and `-- collect` what a collection
//! costs; a size as printed (`1024K`) restricts the first two to that size. Rounds of the store and of the plain
//! file take turns, and the median ratio counts, so that other load on the machine hits both.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]
#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a bench")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledgerun::chunks::{Options, Store};
use ledgerun::clock::monotonic;
use ledgerun::domain::ChunkId;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Size of a chunk, writers at once, chunks of each writer in a round, rounds.
const LOADS: [(usize, usize, usize, usize); 7] = [
    (4 * KIB, 1, 200, 5),
    (4 * KIB, 16, 60, 5),
    (4 * KIB, 64, 30, 5),
    (MIB, 1, 24, 5),
    (MIB, 8, 4, 5),
    (16 * MIB, 1, 4, 5),
    (256 * MIB, 1, 1, 3),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let wants = |word: &str| arguments.iter().any(|argument| argument == word);
    let default = Options::default();
    if wants("memory") {
        return memory();
    }
    if wants("collect") {
        return collect();
    }
    let mut layouts = vec![default.clone()];
    if wants("layouts") {
        layouts.clear();
        for (segment_bytes, piece_bytes) in [
            (512 * KIB, 4_096),
            (2 * MIB, 4_096),
            (8 * MIB, 4_096),
            (8 * MIB, 8_192),
            (8 * MIB, 16_384),
            (8 * MIB, 65_536),
            (16 * MIB, 4_096),
        ] {
            layouts.push(Options { segment_bytes, piece_bytes, ..default.clone() });
        }
    }
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).unwrap();
    println!(
        "segment  piece   chunk writers    file MB/s   store MB/s  ratio  read MB/s  disk/payload  written/payload"
    );
    for options in layouts {
        let sizes = LOADS.iter().filter(|load| wants(&format!("{}K", load.0 / KIB)));
        let some = sizes.clone().next().is_some();
        for load in LOADS {
            if some && !sizes.clone().any(|wanted| wanted.0 == load.0) {
                continue;
            }
            measure(dir.path(), &options, load);
        }
    }
}

/// Fresh, incompressible bytes; `number` makes them unique.
fn fill(buffer: &mut [u8], number: u64) {
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(buffer);
}

fn in_parallel(writers: usize, count: usize, size: usize, each: impl Fn(&[u8], u64) + Sync) -> f64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let contents: Vec<Vec<(u64, Vec<u8>)>> = (0..writers)
        .map(|_| {
            let one = |_| {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let mut bytes = vec![0; size];
                fill(&mut bytes, number);
                (number, bytes)
            };
            (0..count).map(one).collect()
        })
        .collect();
    let begin = monotonic();
    std::thread::scope(|scope| {
        for mine in &contents {
            scope.spawn(|| mine.iter().for_each(|(number, bytes)| each(bytes, *number)));
        }
    });
    (writers * count * size) as f64 / begin.elapsed().as_secs_f64() / 1e6
}

fn measure(dir: &Path, options: &Options, load: (usize, usize, usize, usize)) {
    let (size, writers, count, rounds) = load;
    let home = tempfile::tempdir_in(dir).unwrap();
    let store = Store::open(home.path(), options.clone()).unwrap();
    let plain = tempfile::tempdir_in(dir).unwrap();
    let file = |bytes: &[u8], number: u64| {
        let id = ChunkId::of(bytes);
        let mut file = File::create(plain.path().join(format!("{number}-{id}"))).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
    };
    let put = |bytes: &[u8], _: u64| {
        let id = ChunkId::of(bytes);
        if size <= options.group_bytes {
            // The name was just computed, as for the plain file: don't hash twice.
            store.put_unnamed(bytes).unwrap();
        } else {
            let mut writer = store.writer(id).unwrap();
            bytes.chunks(64 * KIB).for_each(|part| writer.write(part).unwrap());
            writer.finish().unwrap();
        }
    };
    let mut rates = Vec::new();
    let before = written_bytes();
    for round in 0..=rounds {
        let pair =
            (in_parallel(writers, count, size, file), in_parallel(writers, count, size, put));
        // The first round warms up.
        if round > 0 {
            rates.push(pair);
        }
    }
    let written = written_bytes() - before;
    rates.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
    let (file_rate, store_rate) = rates[rates.len() / 2];
    let begin = monotonic();
    let mut read = 0;
    let mut buffer = vec![0; 64 * KIB];
    for id in store.ids() {
        let mut reader = store.read(&id).unwrap();
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                n => read += n,
            }
        }
    }
    let read_rate = read as f64 / begin.elapsed().as_secs_f64() / 1e6;
    let stats = store.stats();
    println!(
        "{:6}K {:5} {:6}K {writers:7} {file_rate:12.0} {store_rate:12.0} {:6.2} {read_rate:10.0} {:8.2} {:8.2}",
        options.segment_bytes / KIB,
        options.piece_bytes,
        size / KIB,
        store_rate / file_rate,
        stats.disk_bytes as f64 / stats.bytes as f64,
        // The plain files' own payload is taken off.
        written as f64 / stats.bytes as f64 - 1.0,
    );
}

/// Empties generations at full speed and at the default pace, while another thread stores chunks of
/// 4 KiB; and what a start costs with and without indexes.
fn collect() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).unwrap();
    println!("pace MB/s  dropped  copied MB  copied MB/s  disk before  after  put p50 us  p99 us");
    for copy_bytes_per_second in [0, Options::default().copy_bytes_per_second] {
        let home = tempfile::tempdir_in(dir.path()).unwrap();
        let options = Options {
            grace: ledgerun::domain::Millis(0),
            generation_bytes: 128 << 20,
            copy_bytes_per_second,
            ..Options::default()
        };
        let mut store = Store::open(home.path(), options.clone()).unwrap();
        let mut bytes = vec![0; MIB];
        let mut live = std::collections::BTreeSet::new();
        for number in 0..512 {
            fill(&mut bytes, number);
            let id = store.put_unnamed(&bytes).unwrap();
            if number % 4 == 0 {
                live.insert(id);
            }
        }
        let first = store.put_unnamed(&{
            fill(&mut bytes, 0);
            bytes.clone()
        });
        drop(store);
        start_times(home.path(), first.unwrap());
        store = Store::open(home.path(), options).unwrap();
        let alone = put_times(&store, || false, 400);
        println!("puts without a collection: {alone:?}");
        let over = std::sync::atomic::AtomicBool::new(false);
        let (done, took, times) = std::thread::scope(|scope| {
            let puts = scope.spawn(|| put_times(&store, || over.load(Ordering::SeqCst), 1 << 20));
            let begin = monotonic();
            let mark = store.begin_collection();
            let done = store.collect(mark, &|id| live.contains(id), &|| false).unwrap();
            let took = begin.elapsed();
            over.store(true, Ordering::SeqCst);
            (done, took, puts.join().unwrap())
        });
        println!(
            "{:9} {:8} {:10} {:12.1} {:12} {:6} {:11} {:7}",
            copy_bytes_per_second >> 20,
            done.generations_dropped,
            done.bytes_copied >> 20,
            done.bytes_copied as f64 / took.as_secs_f64() / 1e6,
            done.disk_before >> 20,
            done.disk_after >> 20,
            times.0,
            times.1,
        );
    }
}

/// Median and 99th percentile of the time that storing 4 KiB takes, in microseconds.
fn put_times(store: &Store, over: impl Fn() -> bool, most: u64) -> (u128, u128) {
    static NUMBER: AtomicU64 = AtomicU64::new(1 << 40);
    let mut bytes = vec![0; 4 * KIB];
    let mut times = Vec::new();
    for _ in 0..most {
        fill(&mut bytes, NUMBER.fetch_add(1, Ordering::Relaxed));
        let begin = monotonic();
        store.put_unnamed(&bytes).unwrap();
        times.push(begin.elapsed().as_micros());
        if over() {
            break;
        }
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// How long a start takes with the indexes, and without; and the first look into the oldest
/// generation, which opens it: the second time the database's own snapshot is there.
fn start_times(home: &Path, oldest: ChunkId) {
    let open = || {
        let begin = monotonic();
        let store = Store::open(home, Options::default()).unwrap();
        let took = begin.elapsed();
        let begin = monotonic();
        store.read(&oldest).unwrap().read_exact(&mut [0]).unwrap();
        ((took, begin.elapsed()), store.stats())
    };
    let (with, stats) = open();
    let (again, _) = open();
    for entry in fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "index") {
            fs::remove_file(path).unwrap();
        }
    }
    let (without, _) = open();
    println!(
        "start and first read with {} MiB: {with:?}, again {again:?}, without indexes {without:?}",
        stats.bytes >> 20
    );
}

/// What this process has had written to the disk so far.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Resident memory of this process, in MiB: now and at its peak.
fn resident() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

fn memory() {
    let dir = tempfile::tempdir_in("target").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Arc::new(Store::open(dir.path(), Options::default()).unwrap());
    let mut part = vec![0; MIB];
    println!("before: {:?} MiB resident (now, peak)", resident());
    for gib in 1..=2_u64 {
        let mut hasher = blake3::Hasher::new();
        let numbers = gib * 10_000..gib * 10_000 + 1_024;
        for number in numbers.clone() {
            fill(&mut part, number);
            hasher.update(&part);
        }
        let short = hasher.finalize().as_bytes()[..20].try_into().unwrap();
        let id = ChunkId(ledgerun::domain::ContentHash(short));
        let mut writer = store.writer(id).unwrap();
        for number in numbers {
            fill(&mut part, number);
            writer.write(&part).unwrap();
        }
        writer.finish().unwrap();
        println!("1 GiB in: {:?}", resident());
        let mut reader = store.read(&id).unwrap();
        while reader.read(&mut part).unwrap() > 0 {}
        println!("1 GiB out: {:?}", resident());
    }
    for id in store.ids() {
        store.verify(&id).unwrap();
    }
    println!("2 GiB read: {:?}", resident());
}
