//! Durable submits: one action a request, and batches.

use std::path::Path;
use std::time::{Duration, Instant};

use ledgerun::wire::cb::Object;

use crate::limits;
use crate::load::{self, request};
use crate::server::Server;
use crate::{actions, median};

const ROUNDS: usize = 3;
const HEADERS: &str = "Content-Type: application/x-ue-cb\r\nAccept: application/x-ue-cb\r\n";

/// A service without slots that knows a worker, and the path to submit for it.
fn accepting() -> (Server, String) {
    let server = Server::start(0);
    let worker = actions::register(&format!("http://{}", server.address), Path::new("/bin/true"));
    (server, format!("/compute/jobs/{worker}"))
}

/// Durable submits a second, at 1, 16 and 64 connections.
pub(crate) fn singles() {
    let sample = actions::action(0).len();
    println!("\n# Durable single submits ({sample} B of action), requests/s; medians of {ROUNDS}");
    println!(
        "connections   submits   p50 ms   p99 ms   empty route  ratio   file+fdatasync  ratio"
    );
    for connections in [1, 16, 64] {
        let count =
            [4_000, 24_000, 48_000][[1, 16, 64].iter().position(|c| *c == connections).unwrap()];
        let (mut submits, mut empties, mut files) = (vec![], vec![], vec![]);
        let (mut p50, mut p99) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            let (server, path) = accepting();
            let requests = |path: &str| -> Vec<Vec<u8>> {
                (0..count).map(|n| request("POST", path, HEADERS, &actions::action(n))).collect()
            };
            let run = load::run(server.address, connections, requests(&path));
            drop(server);
            submits.push(run.rate());
            p50.push(run.quantile(0.5).as_secs_f64() * 1e3);
            p99.push(run.quantile(0.99).as_secs_f64() * 1e3);
            let empty = limits::start_empty_route();
            empties.push(load::run(empty.address, connections, requests(&path)).rate());
            drop(empty);
            files.push(limits::append_and_sync(connections, sample + 150, Duration::from_secs(1)));
        }
        let (submits, empties, files) = (median(submits), median(empties), median(files));
        println!(
            "{connections:>11} {submits:>9.0} {:>8.2} {:>8.2} {empties:>13.0} {:>6.2} {files:>16.0} {:>6.2}",
            median(p50),
            median(p99),
            submits / empties,
            submits / files,
        );
    }
}

/// A batch of actions as one compact binary object.
pub(crate) fn batch(numbers: std::ops::Range<usize>) -> Vec<u8> {
    let objects: Vec<Object> =
        numbers.map(|n| Object::parse(actions::action(n)).unwrap()).collect();
    let root = Object::build(|root| {
        root.field("actions").array(|actions| {
            for object in &objects {
                actions.item().embed(object);
            }
        });
    });
    root.bytes().to_vec()
}

/// Actions a second in batches of 64, and one batch of 100,000.
pub(crate) fn batches() {
    println!("\n# Durable batch submits, actions/s; medians of {ROUNDS}");
    let mut rates = vec![];
    let mut large = vec![];
    let mut files = vec![];
    for _ in 0..ROUNDS {
        let (server, path) = accepting();
        let bodies = (0..1_000).map(|n| batch(n * 64..(n + 1) * 64));
        let requests = bodies.map(|body| request("POST", &path, HEADERS, &body)).collect();
        let run = load::run(server.address, 4, requests);
        rates.push(run.rate() * 64.0);
        drop(server);
        files.push(limits::append_and_sync(
            256,
            actions::action(0).len() + 150,
            Duration::from_secs(1),
        ));
        let (server, path) = accepting();
        let body = request("POST", &path, HEADERS, &batch(0..100_000));
        let began = Instant::now();
        load::run(server.address, 1, vec![body]);
        large.push(began.elapsed().as_secs_f64());
    }
    let (rate, file) = (median(rates), median(files));
    println!(
        "batches of 64, 4 connections: {rate:.0} actions/s, {:.2} of file+fdatasync in groups of 256",
        rate / file
    );
    println!("one batch of 100,000: {:.2} s", median(large));
}
