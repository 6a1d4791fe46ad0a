//! The edge's numbers.

use std::path::PathBuf;
use std::time::Duration;

use super::guard::AccessToken;
use crate::domain::{Host, RunnerName};

/// How the HTTP edge behaves.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub limits: Limits,
    /// Memory for buffered bodies over all requests, in bytes. Beyond it: 503.
    pub buffered_bytes_max: usize,
    /// Memory for packages and chunks on their way to the store, in bytes. Those that don't fit
    /// wait up to [`HttpConfig::upload_wait`].
    pub upload_bytes_max: usize,
    /// How long an upload waits for its turn before 503.
    pub upload_wait: Duration,
    /// Memory for answers that clients have not taken yet, in bytes. Those that don't fit wait a
    /// moment, then 503.
    pub answer_bytes_max: usize,
    /// Memory for heads of requests, in bytes. Beyond it connections give way.
    pub head_bytes_max: usize,
    /// Connections at once. A further one makes the one give way that has waited longest for its
    /// client; when there is none it waits in the listener's backlog.
    pub connections_max: usize,
    /// The same for one address that is not loopback; a further one that finds nobody to give way
    /// is refused. `None`: half of all.
    pub peer_connections_max: Option<usize>,
    /// Connections with a request under way, or just answered. Further requests wait, and those
    /// give way whose clients are slow.
    pub requests_max: usize,
    /// Long polls at once. One more, and the oldest is answered early. `None`: as many as there are
    /// connections.
    pub polls_max: Option<usize>,
    /// A client that idles longer between requests is disconnected.
    pub idle_timeout: Duration,
    /// So is one whose request's head takes longer, from its first byte.
    pub head_timeout: Duration,
    /// A client that sends nothing of a body for so long gets 408; so does one that is slower than
    /// [`HttpConfig::min_rate`] by more than that.
    pub body_timeout: Duration,
    /// A client that takes nothing of its answer for so long is disconnected; so is one that is
    /// slower than [`HttpConfig::min_rate`] by more than that.
    pub answer_timeout: Duration,
    /// Bytes a second by which time lost is won back.
    pub min_rate: u64,
    /// How long a poll for an unfinished job is held before 202.
    pub poll_hold: Duration,
    /// Polls held at once. Held polls occupy the engine's few connections.
    pub polls_held_max: usize,
    /// Host names, beside loopback and the address a client came to, that requests may be for.
    pub hosts: Vec<String>,
    /// What requests must show. Without one, `Host` and `Origin` are checked.
    pub access_token: Option<AccessToken>,
    /// Where the data is, to tell how much room there is.
    pub data_dir: Option<PathBuf>,
    /// Shown in `/compute/sysinfo`.
    pub runners: Vec<RunnerSummary>,
    /// How many retries a job has unless its queue says otherwise. Shown with queues.
    pub retries_max: u32,
    /// How long open requests may take to finish when the service stops.
    pub shutdown_grace: Duration,
}

/// What is known of a runner from the start.
#[derive(Clone, Debug)]
pub struct RunnerSummary {
    pub name: RunnerName,
    pub host: Host,
    pub slots: usize,
    /// Layers of isolation that are enforced.
    pub sandbox: Vec<String>,
}

/// Largest bodies.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A compact binary object or a JSON body, in bytes.
    pub object_bytes: u64,
    /// A package, in bytes.
    pub package_bytes: u64,
    /// A chunk's raw content, in bytes.
    pub chunk_bytes: u64,
    /// An archive of a recording, in bytes.
    pub archive_bytes: u64,
    /// Actions in one batch.
    pub batch_actions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            object_bytes: 16 << 20,
            package_bytes: 8 << 30,
            chunk_bytes: 8 << 30,
            archive_bytes: 64 << 30,
            batch_actions: 100_000,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            buffered_bytes_max: 48 << 20,
            upload_bytes_max: 48 << 20,
            upload_wait: Duration::from_secs(30),
            answer_bytes_max: 16 << 20,
            head_bytes_max: 8 << 20,
            connections_max: 2_048,
            peer_connections_max: None,
            requests_max: 1_024,
            polls_max: None,
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(30),
            min_rate: 4 << 10,
            poll_hold: Duration::from_millis(100),
            polls_held_max: 16,
            hosts: Vec::new(),
            access_token: None,
            data_dir: None,
            runners: Vec::new(),
            retries_max: 3,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
