//! The worker SDK: how to write a program that runs actions.
//!
//! A worker is an executable with one or more named functions. The service starts it in a folder of
//! its own with `-Build=Build.action`; it reads the action and its inputs from there, writes values
//! and `Build.output`, and exits. All of that is done here: a worker says what its functions do.
//!
//! ```no_run
//! use ledgerun::worker::Worker;
//!
//! fn main() -> std::process::ExitCode {
//!     Worker::new("5e6fa5d6-0d3f-4a51-9a1c-9d7c6c1c7a10")
//!         .function("Shout", "0f1c4d28-9a52-4f8e-8a5e-2b6f0d1f7b11", |job| {
//!             let ending: String = job.constant("Ending")?;
//!             let text = job.input_text("Text")?;
//!             if text.is_empty() {
//!                 job.warning("there is nothing to shout");
//!             }
//!             job.output("Shouted", text.to_uppercase() + &ending);
//!             Ok(())
//!         })
//!         .main()
//! }
//! ```
//!
//! Two kinds of failure are told apart. What is wrong with the *action* (a missing constant, a
//! source that doesn't compile) is the same on every run: [`Job::error`] or [`Failure::Action`]
//! write it into the output, which then has no values, and the process exits 0. What is wrong with
//! the *surroundings* (an input that isn't there or isn't what its hash says, a full disk) exits 1,
//! and the service tries again.
//!
//! `my-worker -Describe=worker.json` writes what `ledgerun worker add` wants to know of it.
//!
//! Functions must be pure: the same action gives the same values, byte for byte. One that can't
//! promise that calls [`Job::not_cacheable`].

pub mod builtin;

mod args;
mod job;
mod run;

pub use job::{Failure, Job, Level};
pub use run::{Error, Worker};
