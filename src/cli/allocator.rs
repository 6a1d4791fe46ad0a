//! The memory allocator of the service's process.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::config::variable;

/// What glibc reads of the environment when a program starts. Left to itself it keeps freed memory
/// for each of many threads, and more the larger what was freed: after some large bodies that is
/// twice of what was ever in use.
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "262144"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// Starts the program again, in its own place and once, with the allocator told to give memory
/// back. Settings of somebody else are left alone.
pub(super) fn settle() {
    if !cfg!(target_env = "gnu") || SETTINGS.iter().any(|(name, _)| variable(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    again.arg0(arguments.next().unwrap_or_default()).args(arguments).envs(SETTINGS);
    let error = again.exec();
    tracing::warn!(%error, "cannot start again with less memory; going on with more");
}
