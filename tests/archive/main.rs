//! The archive of a recording: what is exported is read, verified and exported again, and whatever
//! was changed on the way is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod example;
mod forge;
mod hostile;
mod laws;
mod world;
