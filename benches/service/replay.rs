//! Running a recording again against submitting its jobs plainly, and exporting against writing a
//! file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use ledgerun::client::Client;
use ledgerun::domain::{ChunkId, Lsn};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::load::{self, request};
use crate::server::{Server, data_dir};
use crate::{actions, chunks, finished, median, submit};

const ROUNDS: usize = 3;
const JOBS: usize = 4_000;
/// Four records each.
const EXPORTED_JOBS: usize = 250_000;
/// Inputs of recorded jobs, and the size of each.
const INPUTS: usize = 128;
const INPUT_BYTES: usize = 4 << 20;

pub(crate) fn run() {
    overhead();
    println!("\n# Export over HTTP, MB/s of payload; medians of {ROUNDS}");
    println!("             range      MB   export   file+fdatasync  ratio");
    let data = data_dir();
    finished::record(data.path(), EXPORTED_JOBS);
    let records = format!("{} records", 4 * EXPORTED_JOBS);
    export(&records, &Server::start_on(data, 0), 1);
    let (server, recording) = with_inputs();
    export(&format!("{INPUTS} chunks"), &server, recording);
}

/// A blocking client.
struct Service {
    runtime: Runtime,
    client: Client,
}

impl Service {
    fn new(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(&format!("http://{}", server.address)).unwrap();
        Self { runtime, client }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(self.client.post(path, body)).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.client.get(path)).unwrap()
    }
}

/// The same jobs plainly, in one batch, and as a replay of that; each from the request to the last
/// end.
fn overhead() {
    let dir = data_dir();
    let program = actions::compile_noop(dir.path());
    let slots = std::thread::available_parallelism().map_or(1, usize::from);
    println!("\n# Replay of {JOBS} no-op jobs, {slots} slots; medians of {ROUNDS}");
    let (mut plain, mut again) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (once, twice) = both(&program, slots);
        plain.push(once.as_secs_f64());
        again.push(twice.as_secs_f64());
    }
    let ratios = again.iter().zip(&plain).map(|(again, plain)| again / plain).collect();
    println!(
        "plainly {:.2} s, as a replay {:.2} s, ratio {:.3}",
        median(plain),
        median(again),
        median(ratios)
    );
}

fn both(program: &Path, slots: usize) -> (Duration, Duration) {
    let server = Server::start(slots);
    let worker = actions::register(&format!("http://{}", server.address), program);
    let service = Service::new(&server);
    let recording = service.post("/compute/record/start", &json!({}))["recording"].clone();
    let headers = "Content-Type: application/x-ue-cb\r\n";
    let path = format!("/compute/jobs/{worker}");
    let batch = request("POST", &path, headers, &submit::batch(0..JOBS));
    let began = Instant::now();
    load::run(server.address, 1, vec![batch]);
    ended(&service);
    let plain = began.elapsed();
    service.post("/compute/record/stop", &json!({}));
    let began = Instant::now();
    let replay = service.post(&format!("/compute/record/{recording}/replay"), &json!({}));
    let replay = format!("/compute/replays/{}", replay["replay"]);
    let report = loop {
        let report = service.get(&replay);
        if report["state"] == "done" {
            break report;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let again = began.elapsed();
    assert_eq!(report["matched"], JOBS, "{report}");
    (plain, again)
}

/// Waits until all jobs have completed.
fn ended(service: &Service) {
    let (mut since, mut ended) = (Lsn::ZERO, 0);
    while ended < JOBS {
        let page = service.client.completed(since, 10_000, Duration::from_secs(30));
        let page = service.runtime.block_on(page).unwrap();
        assert!(page.completed.iter().all(|job| job.state == "completed"));
        ended += page.completed.len();
        since = page.next;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A complete recording of jobs that each have a large input.
fn with_inputs() -> (Server, u64) {
    let server = Server::start(0);
    let worker = actions::register(&format!("http://{}", server.address), Path::new("/bin/true"));
    let service = Service::new(&server);
    let recording = service.post("/compute/record/start", &json!({}))["recording"].as_u64();
    let mut jobs = Vec::new();
    for number in 0..INPUTS {
        let input = chunks::content(INPUT_BYTES, number as u64);
        let id = ChunkId::of(&input);
        let upload = service.client.put_chunk(id, input.into());
        service.runtime.block_on(upload).unwrap();
        let action = actions::with_input(number, id, INPUT_BYTES);
        let answer = service.post(&format!("/compute/jobs/{worker}"), &action);
        jobs.push(answer["lsn"].clone());
    }
    service.post("/compute/record/stop", &json!({}));
    for job in jobs {
        service.post(&format!("/compute/jobs/{job}/cancel"), &json!({}));
    }
    (server, recording.unwrap())
}

/// Exports a recording, in turn with a plain file of the same size.
fn export(name: &str, server: &Server, recording: u64) {
    let (mut exports, mut files, mut megabytes) = (vec![], vec![], 0.0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let bytes = download(server.address, &format!("/compute/record/{recording}/archive"));
        megabytes = bytes as f64 / 1e6;
        exports.push(megabytes / began.elapsed().as_secs_f64());
        files.push(megabytes / write(bytes).as_secs_f64());
    }
    let (export, file) = (median(exports), median(files));
    println!("{name:>18} {megabytes:>7.0} {export:>8.0} {file:>16.0} {:>6.2}", export / file);
}

/// Bytes of an answer.
fn download(address: SocketAddr, path: &str) -> usize {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut total = stream.read(&mut buffer).unwrap();
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "no archive");
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            return total;
        }
        total += read;
    }
}

/// Time to write a file of so many bytes, durably.
fn write(bytes: usize) -> Duration {
    let dir = data_dir();
    let block = chunks::content(1 << 20, 1);
    let began = Instant::now();
    let mut file = File::create(dir.path().join("file")).unwrap();
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len());
        file.write_all(&block[..part]).unwrap();
        left -= part;
    }
    file.sync_data().unwrap();
    began.elapsed()
}
