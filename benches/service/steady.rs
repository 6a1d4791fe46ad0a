//! Weeks of work in minutes: whether memory and disk stay as they are while the log goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::actions;
use crate::load::{self, request};
use crate::server::{Server, data_dir};

/// Records, where `LEDGERUN_STEADY_RECORDS` doesn't say.
const RECORDS: u64 = 2_000_000;
/// Lines of the table.
const STEPS: u64 = 20;
/// Jobs of a request; of each so many one is new and runs, the others have its like's result.
const BATCH: usize = 1_000;
const NEW_EVERY: usize = 250;
/// What the service is told to keep.
const KEEP: [&str; 6] =
    ["--log-keep-records", "200000", "--result-retention", "count=10000", "--min-free-space", "0"];

pub(crate) fn run() {
    let records = std::env::var("LEDGERUN_STEADY_RECORDS").ok();
    let records = records.and_then(|records| records.parse().ok()).unwrap_or(RECORDS);
    println!("\n# {records} records, of which the newest 200,000 and 10,000 results are kept");
    let folder = data_dir();
    let program = actions::compile_noop(folder.path());
    let data = folder.path().join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerun"));
    command.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--slots", "2"]);
    command.args(KEEP).arg("--data-dir").arg(&data);
    let server = Server::ready(command);
    let worker = actions::register(&format!("http://{}", server.address), &program);
    let path = format!("/compute/jobs/{worker}");
    println!("{:>11} {:>11} {:>10} {:>10}", "last LSN", "first LSN", "memory MB", "disk MB");
    let (mut memory, mut disk, mut number) = (Vec::new(), Vec::new(), 1);
    for step in 1..=STEPS {
        let (mut first, mut last) = positions(&server);
        let mut peak = server.resident();
        while last < records * step / STEPS {
            let requests = (0..8).map(|_| batch(&path, &mut number)).collect();
            load::run(server.address, 2, requests);
            (first, last) = positions(&server);
            peak = peak.max(server.resident());
        }
        let used = used_bytes(&data);
        println!("{last:>11} {first:>11} {:>10.1} {:>10.1}", peak as f64 / 1e6, used as f64 / 1e6);
        memory.push(peak);
        disk.push(used);
    }
    for (name, figures) in [("memory", memory), ("disk", disk)] {
        // The first quarter is until it keeps as much as it may.
        let (early, late) = figures[figures.len() / 4..].split_at(figures.len() * 3 / 8);
        let largest = |figures: &[u64]| figures.iter().max().copied().unwrap_or(0) as f64;
        println!(
            "{name}: the later part's largest is {:.2} of the earlier's",
            largest(late) / largest(early)
        );
    }
}

/// The first and the last LSN.
fn positions(server: &Server) -> (u64, u64) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let headers = "Accept: application/json\r\nConnection: close\r\n";
    stream.write_all(&request("GET", "/compute/sysinfo", headers, b"")).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    let lsn = |name: &str| answer["log"][name].as_u64().unwrap();
    (lsn("first_lsn"), lsn("last_lsn"))
}

fn batch(path: &str, number: &mut usize) -> Vec<u8> {
    let action = |number: usize| {
        json!({
            "Function": "BenchNoop",
            "FunctionVersion": actions::FUNCTION_VERSION,
            "BuildSystemVersion": actions::BUILD_SYSTEM,
            "Constants": { "Bench": { "Number": number } },
        })
    };
    let jobs: Vec<Value> = (0..BATCH)
        .map(|place| {
            *number += usize::from(place % NEW_EVERY == 0);
            action(if place % NEW_EVERY == 0 { *number } else { 0 })
        })
        .collect();
    let body = json!({ "actions": jobs }).to_string();
    request("POST", path, "Content-Type: application/json\r\n", body.as_bytes())
}

/// What the file system says a directory takes, in bytes.
fn used_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        // Things come and go meanwhile.
        if let Ok(meta) = entry.metadata() {
            sum += if meta.is_dir() { used_bytes(&entry.path()) } else { meta.blocks() * 512 };
        }
    }
    sum
}
