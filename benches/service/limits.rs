//! What the machine can do: the other side of the ratios.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use warp::Filter as _;

use crate::server::{Server, data_dir};

/// Argument that makes this bench a server of a route that does nothing.
pub(crate) const EMPTY_ROUTE: &str = "empty-route";

/// Appends records of `record_bytes` to a growing file, `group` at a time with one fdatasync each,
/// for `time`. Records per second.
pub(crate) fn append_and_sync(group: usize, record_bytes: usize, time: Duration) -> f64 {
    let dir = data_dir();
    let mut file = File::create(dir.path().join("log")).unwrap();
    let block = vec![0x5a; group * record_bytes];
    let began = Instant::now();
    let mut records = 0;
    while began.elapsed() < time {
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
        records += group;
    }
    records as f64 / began.elapsed().as_secs_f64()
}

/// The same HTTP server, as a process of its own, that takes the body and answers a few bytes.
pub(crate) fn start_empty_route() -> Server {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(EMPTY_ROUTE);
    Server::ready(command)
}

/// The child's side of [`start_empty_route`].
pub(crate) fn serve_empty_route() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!(r#"{{"url":"http://{}"}}"#, listener.local_addr().unwrap());
        let route = warp::any().and(warp::body::bytes()).map(|_body| "{}");
        warp::serve(route).incoming(listener).run().await;
    });
}
