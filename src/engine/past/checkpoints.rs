//! The checkpoints of a data directory: which there are, which are worth their space.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::file::{self, Head, Unusable};
use super::lock;
use crate::domain::Lsn;
use crate::eventlog::LogReader;
use crate::views::Published;

/// How a file begins that is being written.
pub(super) const NEW: &str = ".new-";
pub(super) const SUFFIX: &str = ".state";

/// How many of the newest are kept whatever space they take: a start begins with the newest, and
/// with the one before it when that is damaged.
const NEWEST_KEPT: usize = 2;

/// What is on disk, by LSN.
pub(super) struct Checkpoints {
    dir: Option<PathBuf>,
    space_bytes: u64,
    /// Fewest records between two that stay.
    every: u64,
    log: Arc<dyn LogReader>,
    /// Nothing before somebody looked.
    heads: Mutex<Option<Vec<Head>>>,
}

impl Checkpoints {
    /// Those of `dir`, which is looked through when it is needed.
    pub(super) fn new(
        dir: Option<PathBuf>,
        space_bytes: u64,
        every: u64,
        log: Arc<dyn LogReader>,
    ) -> Self {
        let dir = dir.filter(|dir| match fs::create_dir_all(dir) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(path = %dir.display(), %error, "going on without checkpoints");
                false
            }
        });
        Self { dir, space_bytes, every, log, heads: Mutex::default() }
    }

    /// Looks at the heads of all, once; those that are damaged, unknown or of another log are
    /// deleted, and those that are too many.
    pub(super) fn look(&self) {
        drop(self.heads());
    }

    fn heads(&self) -> Heads<'_> {
        let mut heads = Heads(lock(&self.heads));
        if heads.0.is_none() {
            let found = self.dir.as_deref().map_or(Ok(Vec::new()), |dir| self.found(dir));
            *heads.0 = Some(found.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot look for checkpoints");
                Vec::new()
            }));
            self.thin(heads.list());
        }
        heads
    }

    fn found(&self, dir: &Path) -> io::Result<Vec<Head>> {
        let mut heads = Vec::new();
        for name in names(dir)? {
            match name {
                // Left behind by a kill in the middle of writing.
                Name::Unfinished(path) => drop(fs::remove_file(path)),
                Name::Of(lsn, path) => {
                    match file::head(&path).and_then(|head| is_of(head, lsn, &*self.log)) {
                        Ok(head) => heads.push(head),
                        Err(unusable) => discard(&path, &unusable),
                    }
                }
            }
        }
        heads.sort_unstable_by_key(|head| head.lsn);
        Ok(heads)
    }

    fn path(dir: &Path, lsn: Lsn) -> PathBuf {
        // Filled up, so that names are in the order of LSNs.
        dir.join(format!("{:020}{SUFFIX}", lsn.0))
    }

    /// Whether any are written.
    fn are_kept(&self) -> bool {
        self.dir.is_some() && self.space_bytes > 0
    }

    /// Whether one at `lsn` would be `spacing` away from its neighbours, and there is room for any.
    pub(super) fn is_wanted(&self, lsn: Lsn, spacing: u64) -> bool {
        let near = |head: &Head| head.lsn.0.abs_diff(lsn.0) < spacing;
        self.are_kept() && lsn.0 >= spacing && !self.heads().list().iter().any(near)
    }

    /// Whether one at `lsn` would be newer than all.
    pub(super) fn is_newer(&self, lsn: Lsn) -> bool {
        self.are_kept() && self.heads().list().last().map_or(Lsn::ZERO, |head| head.lsn) < lsn
    }

    /// Writes one, unless `go_on` says no meanwhile. A failure costs nothing but time later, so it
    /// is only told.
    pub(super) fn write(&self, state: &Published, go_on: &dyn Fn() -> bool) {
        let Some(dir) = &self.dir else { return };
        let lsn = state.lsn();
        let chain = match self.log.chain(lsn) {
            Ok(Some(chain)) => chain,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, %lsn, "cannot read the log for a checkpoint");
                return;
            }
        };
        let written = file::write(&Self::path(dir, lsn), state, chain, go_on);
        let mut heads = self.heads();
        let heads = heads.list();
        match written {
            Ok(head) => {
                heads.retain(|known| known.lsn != lsn);
                heads.push(head);
                heads.sort_unstable_by_key(|head| head.lsn);
                tracing::debug!(%lsn, bytes = head.file_bytes(), "wrote a checkpoint");
            }
            Err(_) if !go_on() => {}
            Err(error) => tracing::warn!(%error, %lsn, "cannot write a checkpoint"),
        }
        self.thin(heads);
    }

    /// Deletes those that the log can't lead on from any more.
    pub(super) fn forget_before(&self, first: Lsn) {
        let mut heads = self.heads();
        let heads = heads.list();
        while let Some(at) = heads.iter().position(|head| head.lsn < first) {
            self.delete(heads.remove(at));
        }
    }

    /// Deletes those that are nearer to the one before than any need to be, as stops leave them.
    /// Then others until all fit into their space: each time the one that leaves the smallest gap,
    /// since what it saved is least. The newest stay.
    fn thin(&self, heads: &mut Vec<Head>) {
        let kept = if self.space_bytes == 0 { 0 } else { NEWEST_KEPT };
        let mut at = 0;
        let mut before = Lsn::ZERO;
        while let Some(lsn) = heads.get(at).map(|head| head.lsn)
            && at + kept < heads.len()
        {
            if lsn.0 - before.0 < self.every {
                self.delete(heads.remove(at));
            } else {
                (before, at) = (lsn, at + 1);
            }
        }
        while heads.len() > kept
            && heads.iter().map(Head::file_bytes).sum::<u64>() > self.space_bytes
        {
            let lsns: Vec<Lsn> = heads.iter().map(|head| head.lsn).collect();
            self.delete(heads.remove(least(&lsns, kept)));
        }
    }

    fn delete(&self, gone: Head) {
        let Some(dir) = &self.dir else { return };
        if let Err(error) = fs::remove_file(Self::path(dir, gone.lsn)) {
            tracing::warn!(%error, lsn = %gone.lsn, "cannot delete a checkpoint");
        }
    }

    /// The newest usable one up to `lsn` that is worth it by its LSN and rows. What turns out to be
    /// damaged is deleted.
    pub(super) fn load(&self, lsn: Lsn, worth: impl Fn(Lsn, u64) -> bool) -> Option<Published> {
        let dir = self.dir.as_ref()?;
        loop {
            let newest = self.heads().list().iter().rev().find(|head| head.lsn <= lsn).copied()?;
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
            self.heads().list().retain(|head| head.lsn != newest.lsn);
        }
    }
}

/// The heads, which have been looked at.
struct Heads<'a>(MutexGuard<'a, Option<Vec<Head>>>);

impl Heads<'_> {
    fn list(&mut self) -> &mut Vec<Head> {
        self.0.get_or_insert_default()
    }
}

/// What a file in the directory is by its name.
pub(super) enum Name {
    Unfinished(PathBuf),
    Of(Lsn, PathBuf),
}

/// Everything in a directory of checkpoints that is ours.
pub(super) fn names(dir: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = dir.join(name);
        if name.starts_with(NEW) {
            names.push(Name::Unfinished(path));
        } else if let Some(lsn) = name.strip_suffix(SUFFIX).and_then(|lsn| lsn.parse().ok()) {
            names.push(Name::Of(lsn, path));
        }
    }
    Ok(names)
}

/// Fails unless a file is what its name says, and of this log.
pub(super) fn is_of(head: Head, name: Lsn, log: &dyn LogReader) -> Result<Head, Unusable> {
    let chain = log.chain(head.lsn).map_err(io::Error::other)?;
    if head.lsn == name && chain == Some(head.chain) { Ok(head) } else { Err(Unusable::OtherLog) }
}

pub(super) fn discard(path: &Path, unusable: &Unusable) {
    let reason = std::error::Error::source(unusable).map(ToString::to_string);
    tracing::warn!(path = %path.display(), %unusable, reason, "deleting a checkpoint that can't be used");
    let _ = fs::remove_file(path);
}

/// Which of ascending positions, the newest `kept` and the last excepted, can go with the smallest
/// gap left; the only one when there is one.
fn least(lsns: &[Lsn], kept: usize) -> usize {
    let before = std::iter::once(Lsn::ZERO).chain(lsns.iter().copied());
    let gaps = before.zip(lsns.iter().skip(1)).map(|(before, after)| after.0 - before.0);
    let gaps = gaps.take(lsns.len().saturating_sub(kept));
    gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_goes_that_leaves_the_smallest_gap() {
        let least = |lsns: &[u64]| {
            let lsns: Vec<Lsn> = lsns.iter().copied().map(Lsn).collect();
            super::least(&lsns, 0)
        };
        assert_eq!(least(&[10]), 0);
        assert_eq!(least(&[10, 20]), 0);
        assert_eq!(least(&[10, 20, 25, 40]), 1, "20 leaves 15, 10 and 25 leave 20");
        assert_eq!(least(&[100, 110, 111]), 1, "the newest stays");
        let lsns = [100, 110, 111].map(Lsn);
        assert_eq!(super::least(&lsns, 2), 0, "and the one before it, too");
    }
}
