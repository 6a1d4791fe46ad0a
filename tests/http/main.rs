//! The HTTP API, black-box: a real server on a free port, a raw client, no runner. Jobs are ended
//! by the commands a runner would cause.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    unreachable_pub,
    reason = "tests"
)]

mod archives;
mod chunks;
mod client;
mod edge;
mod feed;
mod fixture;
mod jobs;
mod limits;
mod past;
mod pauses;
mod queue_jobs;
mod queues;
mod races;
mod recordings;
mod server;
mod submit;
mod workers;
