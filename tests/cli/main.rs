//! The command line as its users have it: the real program, in pipes and on a terminal, against a
//! real service.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod backup;
mod bench;
mod check;
mod compact;
mod demo;
mod exec;
mod feeds;
mod jobs;
mod queue;
mod record;
mod run;
mod serve;
mod speaker;
mod submit;
mod upgrade;
mod verify;
mod workers;

#[path = "../support/service.rs"]
mod service;
