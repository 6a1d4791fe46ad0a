//! The memory allocator of the service's process.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::config::variable;

/// What jemalloc reads of the environment when a program starts. Two arenas, since each keeps memory
/// of its own. Small memory that was freed is given back within a second, as it is mostly wanted
/// again at once; large memory (bodies, blocks, groups of pieces) right away. Much of it is freed by
/// another thread than asked for it; a thread looks for what it holds too much of at every 2 MiB
/// that it was given, in place of at every 64 KiB, and holds up to 64 pieces of each small size, so that
/// what a herd of requests frees is there for the next.
const SETTINGS: (&str, &str) = (
    "_RJEM_MALLOC_CONF",
    "narenas:2,oversize_threshold:65536,dirty_decay_ms:1000,muzzy_decay_ms:0,\
     tcache_gc_incr_bytes:2097152,tcache_nslots_small_min:64",
);

/// Starts the program again, in its own place and once, with the allocator told to give memory
/// back. Settings of somebody else are left alone.
pub(super) fn settle() {
    let (name, settings) = SETTINGS;
    if variable(name).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    again.arg0(arguments.next().unwrap_or_default()).args(arguments).env(name, settings);
    let error = again.exec();
    tracing::warn!(%error, "cannot start again with less memory; going on with more");
}
