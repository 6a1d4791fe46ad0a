//! The pages say what is true: commands are run, outputs compared, routes, codes, options and links
//! looked up.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod commands;
mod compare;
mod faults;
mod links;
mod page;
mod reference;
