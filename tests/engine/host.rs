//! The service with a data directory of its own.

use std::net::SocketAddr;

use crate::service;

/// A running service. It and its data go away when this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    program: service::Service,
    /// After the program, so that it isn't taken away under it.
    _folder: tempfile::TempDir,
}

impl Service {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = service::Service::start(&folder.path().join("data"), arguments);
        Self { program, _folder: folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.program.url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Its largest resident set so far, in bytes, as the system counts it.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.pid()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }
}
