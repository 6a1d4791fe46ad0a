//! What the machine is like.

use std::path::Path;

use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};

/// ext2, ext3 and ext4 say the same.
const EXT4: FsType = nix::sys::statfs::EXT4_SUPER_MAGIC;

/// Refuses memory: there a sync costs nothing.
pub(crate) fn check(dir: &Path) {
    let kind = statfs(dir).unwrap().filesystem_type();
    assert!(kind != TMPFS_MAGIC, "{} is memory; name a directory with --dir", dir.display());
}

/// One line: processor, cores, memory, kernel, file system.
pub(crate) fn describe(dir: &Path) -> String {
    let first = |file: &str, name: &str| -> String {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = first("/proc/meminfo", "MemTotal");
    let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kind = match statfs(dir).map(|stat| stat.filesystem_type()) {
        Ok(EXT4) => "ext4".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    };
    format!(
        "{}, {cores} cores, {} GiB, Linux {}, {kind}",
        first("/proc/cpuinfo", "model name"),
        kilobytes >> 20,
        kernel.trim(),
    )
}

/// How busy the machine was over the last minute, before and beside the bench.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
