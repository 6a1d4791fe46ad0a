//! Chunks up and down over HTTP, against hashing and writing a plain file with fdatasync.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use ledgerun::domain::ChunkId;

use crate::load::{self, request};
use crate::median;
use crate::server::{Server, data_dir};

const ROUNDS: usize = 3;

/// PUT and GET of three sizes, in MB/s.
pub(crate) fn run() {
    println!("\n# Chunks over HTTP, one connection, MB/s; medians of {ROUNDS}");
    println!("     size     PUT   hash+file+fdatasync  ratio      GET   file+hash  ratio");
    for (name, bytes, count) in
        [("4 KiB", 4 << 10, 2_000), ("1 MiB", 1 << 20, 128), ("256 MiB", 256 << 20, 1)]
    {
        let (mut puts, mut writes, mut gets, mut reads) = (vec![], vec![], vec![], vec![]);
        for round in 0..ROUNDS {
            let contents: Vec<Vec<u8>> =
                (0..count).map(|n| content(bytes, (round * count + n) as u64)).collect();
            let megabytes = (bytes * count) as f64 / 1e6;
            let ids: Vec<ChunkId> = contents.iter().map(|c| ChunkId::of(c)).collect();
            let server = Server::start(0);
            let headers = "Content-Type: application/octet-stream\r\n";
            let uploads = ids.iter().zip(&contents).map(|(id, content)| {
                request("PUT", &format!("/compute/chunks/{id}"), headers, content)
            });
            let uploads: Vec<_> = uploads.collect();
            puts.push(megabytes / load::run(server.address, 1, uploads).elapsed.as_secs_f64());
            let accept = "Accept: application/octet-stream\r\n";
            let downloads = ids
                .iter()
                .map(|id| request("GET", &format!("/compute/chunks/{id}"), accept, b""))
                .collect();
            gets.push(megabytes / load::run(server.address, 1, downloads).elapsed.as_secs_f64());
            drop(server);
            let (write, read) = files(&contents);
            writes.push(megabytes / write);
            reads.push(megabytes / read);
        }
        let (put, write, get, read) = (median(puts), median(writes), median(gets), median(reads));
        println!(
            "{name:>9} {put:>7.0} {write:>21.0} {:>6.2} {get:>8.0} {read:>11.0} {:>6.2}",
            put / write,
            get / read
        );
    }
}

/// Bytes that neither compress nor repeat.
pub(crate) fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    reader.fill(&mut content);
    content
}

/// Seconds to hash and write each content to a file of its own, durably; and to read it back and
/// hash it.
fn files(contents: &[Vec<u8>]) -> (f64, f64) {
    let dir = data_dir();
    let began = Instant::now();
    for content in contents {
        let name = blake3::hash(content).to_hex();
        let mut file = File::create(dir.path().join(name.as_str())).unwrap();
        file.write_all(content).unwrap();
        file.sync_data().unwrap();
    }
    let write = began.elapsed().as_secs_f64();
    let began = Instant::now();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let mut hasher = blake3::Hasher::new();
        let mut file = File::open(entry.unwrap().path()).unwrap();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = file.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        std::hint::black_box(hasher.finalize());
    }
    (write, began.elapsed().as_secs_f64())
}
