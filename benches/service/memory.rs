//! Memory of the service: idle, and with jobs waiting.

use std::path::Path;

use crate::actions;
use crate::load::{self, request};
use crate::server::Server;

const WAITING: usize = 100_000;

/// Resident memory before and after [`WAITING`] jobs were accepted.
pub(crate) fn run() {
    println!("\n# Resident memory");
    let server = Server::start(2);
    println!("idle: {:.1} MB", server.resident() as f64 / 1e6);
    drop(server);
    let server = Server::start(0);
    let worker = actions::register(&format!("http://{}", server.address), Path::new("/bin/true"));
    let before = server.resident();
    let path = format!("/compute/jobs/{worker}");
    let headers = "Content-Type: application/x-ue-cb\r\n";
    let requests =
        (0..WAITING).map(|n| request("POST", &path, headers, &actions::action(n))).collect();
    load::run(server.address, 64, requests);
    let after = server.resident();
    println!(
        "{WAITING} jobs waiting: {:.1} MB, {:.0} bytes a job",
        after as f64 / 1e6,
        after.saturating_sub(before) as f64 / WAITING as f64
    );
}
