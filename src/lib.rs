//! Ledgerun: an event-sourced compute service.
//!
//! Clients post *actions* (a worker executable and content-addressed inputs); the service runs them
//! as local processes, retries them, keeps their results, and never forgets anything it
//! acknowledged. Everything that happens is one record of a log whose position is the LSN, and every
//! view is a fold of that log. `docs/architecture.md` has the map and the import rules.

pub mod decide;
pub mod domain;
pub mod effects;
pub mod views;
pub mod wire;

pub mod chunks;
pub mod clock;
pub mod durable;
pub mod engine;
pub mod eventlog;
pub mod replay;
pub mod runner;
pub mod upkeep;

pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod telemetry;
pub mod worker;
