//! The checkpoints of a data directory: which there are, which are worth their space.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::file::{self, Head, Unusable};
use super::lock;
use crate::domain::Lsn;
use crate::eventlog::codec::Chain;
use crate::eventlog::{self, LogReader};
use crate::views::Published;

/// How a file begins that is being written.
pub(super) const NEW: &str = ".new-";
const SUFFIX: &str = ".state";

/// What is on disk, by LSN.
pub(super) struct Checkpoints {
    dir: Option<PathBuf>,
    space_bytes: u64,
    heads: Mutex<Vec<Head>>,
}

impl Checkpoints {
    /// Looks at the heads of all; those that are damaged, unknown or of another log are deleted.
    pub(super) fn open(dir: Option<PathBuf>, space_bytes: u64, log: &dyn LogReader) -> Self {
        let mut found = Self { dir: None, space_bytes, heads: Mutex::default() };
        let Some(dir) = dir else { return found };
        match fs::create_dir_all(&dir).and_then(|()| found.look(&dir, log)) {
            Ok(()) => found.dir = Some(dir),
            Err(error) => {
                tracing::warn!(path = %dir.display(), %error, "going on without checkpoints");
            }
        }
        found.thin();
        found
    }

    fn look(&self, dir: &Path, log: &dyn LogReader) -> io::Result<()> {
        let mut heads = lock(&self.heads);
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = dir.join(name);
            if name.starts_with(NEW) {
                // Left behind by a kill in the middle of writing.
                let _ = fs::remove_file(&path);
            }
            let Some(lsn) = name.strip_suffix(SUFFIX).and_then(|lsn| lsn.parse().ok()) else {
                continue;
            };
            match file::head(&path).and_then(|head| is_of(head, lsn, log)) {
                Ok(head) => heads.push(head),
                Err(unusable) => discard(&path, &unusable),
            }
        }
        heads.sort_unstable_by_key(|head| head.lsn);
        Ok(())
    }

    fn path(dir: &Path, lsn: Lsn) -> PathBuf {
        // Filled up, so that names are in the order of LSNs.
        dir.join(format!("{:020}{SUFFIX}", lsn.0))
    }

    /// Whether one at `lsn` would be `spacing` away from its neighbours, and there is room for any.
    pub(super) fn is_wanted(&self, lsn: Lsn, spacing: u64) -> bool {
        let near = |head: &Head| head.lsn.0.abs_diff(lsn.0) < spacing;
        self.dir.is_some()
            && self.space_bytes > 0
            && lsn.0 >= spacing
            && !lock(&self.heads).iter().any(near)
    }

    /// Writes one. A failure costs nothing but time later, so it is only told.
    pub(super) fn write(&self, state: &Published, log: &dyn LogReader, stopping: &AtomicBool) {
        let Some(dir) = &self.dir else { return };
        let lsn = state.lsn();
        let chain = match chain(log, lsn) {
            Ok(Some(chain)) => chain,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, %lsn, "cannot read the log for a checkpoint");
                return;
            }
        };
        match file::write(&Self::path(dir, lsn), state, chain, stopping) {
            Ok(head) => {
                let mut heads = lock(&self.heads);
                heads.retain(|known| known.lsn != lsn);
                heads.push(head);
                heads.sort_unstable_by_key(|head| head.lsn);
                tracing::debug!(%lsn, bytes = head.file_bytes(), "wrote a checkpoint");
            }
            Err(_) if stopping.load(Ordering::Relaxed) => {}
            Err(error) => tracing::warn!(%error, %lsn, "cannot write a checkpoint"),
        }
        self.thin();
    }

    /// Deletes checkpoints until all fit into their space: each time the one that leaves the
    /// smallest gap, since what it saved is least. The newest goes last.
    fn thin(&self) {
        let Some(dir) = &self.dir else { return };
        let mut heads = lock(&self.heads);
        while heads.iter().map(Head::file_bytes).sum::<u64>() > self.space_bytes {
            let lsns: Vec<Lsn> = heads.iter().map(|head| head.lsn).collect();
            let gone = heads.remove(least(&lsns));
            if let Err(error) = fs::remove_file(Self::path(dir, gone.lsn)) {
                tracing::warn!(%error, lsn = %gone.lsn, "cannot delete a checkpoint");
            }
        }
    }

    /// The newest usable one up to `lsn` that is worth it by its LSN and rows. What turns out to be
    /// damaged is deleted.
    pub(super) fn load(&self, lsn: Lsn, worth: impl Fn(Lsn, u64) -> bool) -> Option<Published> {
        let dir = self.dir.as_ref()?;
        loop {
            let newest = lock(&self.heads).iter().rev().find(|head| head.lsn <= lsn).copied()?;
            if !worth(newest.lsn, newest.rows) {
                return None;
            }
            let path = Self::path(dir, newest.lsn);
            match file::load(&path) {
                Ok((head, state)) if head == newest => return Some(state),
                Ok(_) => discard(&path, &Unusable::OtherState),
                // Another may have been taken for its space meanwhile.
                Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(unusable) => discard(&path, &unusable),
            }
            lock(&self.heads).retain(|head| head.lsn != newest.lsn);
        }
    }
}

/// The chain hash of a record, if there is one.
fn chain(log: &dyn LogReader, lsn: Lsn) -> Result<Option<Chain>, eventlog::Error> {
    let value = log.scan_values(lsn, lsn).next().transpose()?;
    Ok(value.filter(|(found, _)| *found == lsn).map(|(_, value)| Chain::of(lsn, &value)))
}

/// Fails unless a file is what its name says, and of this log.
fn is_of(head: Head, name: Lsn, log: &dyn LogReader) -> Result<Head, Unusable> {
    let chain = chain(log, head.lsn).map_err(io::Error::other)?;
    if head.lsn == name && chain == Some(head.chain) { Ok(head) } else { Err(Unusable::OtherLog) }
}

fn discard(path: &Path, unusable: &Unusable) {
    let reason = std::error::Error::source(unusable).map(ToString::to_string);
    tracing::warn!(path = %path.display(), %unusable, reason, "deleting a checkpoint that can't be used");
    let _ = fs::remove_file(path);
}

/// Which of ascending positions, the newest excepted, can go with the smallest gap left; the
/// only one when there is one.
fn least(lsns: &[Lsn]) -> usize {
    let before = std::iter::once(Lsn::ZERO).chain(lsns.iter().copied());
    let gaps = before.zip(lsns.iter().skip(1)).map(|(before, after)| after.0 - before.0);
    gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_goes_that_leaves_the_smallest_gap() {
        let least = |lsns: &[u64]| {
            let lsns: Vec<Lsn> = lsns.iter().copied().map(Lsn).collect();
            super::least(&lsns)
        };
        assert_eq!(least(&[10]), 0);
        assert_eq!(least(&[10, 20]), 0);
        assert_eq!(least(&[10, 20, 25, 40]), 1, "20 leaves 15, 10 and 25 leave 20");
        assert_eq!(least(&[100, 110, 111]), 1, "the newest stays");
    }
}
