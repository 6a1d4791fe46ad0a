//! Which of two directories is the log. A rewritten log takes the place of the old one by renames;
//! after a crash at any of them the names, and a marker beside them, say which is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::Lsn;
use crate::durable;
use crate::eventlog::codec::Chain;
use crate::eventlog::head::checksum;

/// A log being written, or written and not yet the log.
const NEXT: &str = "log.next";
/// What was the log before.
const OLD: &str = "log.old";
/// Says that [`NEXT`] is whole and durable.
const MARKER: &str = "log.swap";
const MAGIC: [u8; 8] = *b"LRUNSWP1";

/// The paths in a data directory.
#[derive(Clone, Debug)]
pub(in crate::eventlog) struct Names {
    root: PathBuf,
}

/// The steps by which a rewritten log becomes the log, in order. A crash may come after any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eventlog) enum Step {
    /// The new log is durable, and this says so.
    Mark,
    /// From here on there is no `log`.
    MoveOld,
    /// Durable before the next step, so that the two can't change places.
    SyncOld,
    /// From here on the new log is `log`.
    MoveNext,
    SyncNext,
}

impl Step {
    pub(in crate::eventlog) const ALL: [Self; 5] =
        [Self::Mark, Self::MoveOld, Self::SyncOld, Self::MoveNext, Self::SyncNext];
}

/// What a marker says of the log it is about, to tell a leftover of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eventlog) struct Marker {
    pub(in crate::eventlog) last: Lsn,
    pub(in crate::eventlog) chain: Chain,
}

impl Marker {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = [MAGIC, self.last.to_key(), self.chain.0].concat();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn is_valid(bytes: &[u8]) -> bool {
        let Some((head, sum)) = bytes.split_at_checked(24) else { return false };
        head.starts_with(&MAGIC) && sum == checksum(head)
    }
}

impl Names {
    pub(in crate::eventlog) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(in crate::eventlog) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(in crate::eventlog) fn next(&self) -> PathBuf {
        self.root.join(NEXT)
    }

    pub(in crate::eventlog) fn old(&self) -> PathBuf {
        self.root.join(OLD)
    }

    fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }

    /// Does one step.
    pub(in crate::eventlog) fn perform(&self, step: Step, marker: Marker) -> io::Result<()> {
        match step {
            Step::Mark => durable::write_atomically(&self.marker(), &marker.to_bytes()),
            Step::MoveOld => fs::rename(self.log(), self.old()),
            Step::MoveNext => fs::rename(self.next(), self.log()),
            Step::SyncOld | Step::SyncNext => durable::fsync_dir(&self.root),
        }
    }

    /// Gives up a log that was being written, and a marker that it may have.
    pub(in crate::eventlog) fn abandon(&self) -> io::Result<()> {
        // In this order: a marker must not outlive what it is about.
        remove_file(&self.marker())?;
        durable::fsync_dir(&self.root)?;
        remove_dir(&self.next())
    }

    /// After a start: makes `log` the one that is whole. What was the log before stays beside it until
    /// [`Names::finish`], in case the new one can't be read.
    pub(in crate::eventlog) fn settle(&self) -> io::Result<()> {
        let exists = |path: PathBuf| path.try_exists();
        let (log, next, old) = (exists(self.log())?, exists(self.next())?, exists(self.old())?);
        match (log, next, old) {
            (true, true, _) => {
                tracing::info!("removing a rewritten log that was not finished");
                self.abandon()
            }
            (true, false, _) | (false, false, false) => Ok(()),
            (false, true, old) => {
                let marked = fs::read(self.marker()).is_ok_and(|bytes| Marker::is_valid(&bytes));
                if marked {
                    tracing::info!("taking the rewritten log, as was begun before the last stop");
                    self.rename(&self.next())
                } else if old {
                    self.rename(&self.old())?;
                    self.abandon()
                } else {
                    // It stays to be looked at.
                    Err(io::Error::other(
                        "there is a rewritten log, log.next, and nothing says that it is whole; \
                         restore the data directory from a backup",
                    ))
                }
            }
            (false, false, true) => {
                tracing::warn!("taking back the log from before it was rewritten");
                self.rename(&self.old())
            }
        }
    }

    fn rename(&self, from: &Path) -> io::Result<()> {
        fs::rename(from, self.log())?;
        durable::fsync_dir(&self.root)
    }

    /// The log has been read, so nothing else is needed. Gives the space of the old one back.
    pub(in crate::eventlog) fn finish(&self) -> io::Result<()> {
        remove_file(&self.marker())?;
        remove_dir(&self.old())?;
        durable::fsync_dir(&self.root)
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    absent(fs::remove_file(path))
}

fn remove_dir(path: &Path) -> io::Result<()> {
    absent(fs::remove_dir_all(path))
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Marker = Marker { last: Lsn(9), chain: Chain([1; 8]) };

    /// A data directory whose log says "old", with a finished rewritten one that says "new".
    fn ready() -> (tempfile::TempDir, Names) {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::of(dir.path());
        for (path, text) in [(names.log(), "old"), (names.next(), "new")] {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("db"), text).unwrap();
        }
        (dir, names)
    }

    fn found(names: &Names) -> String {
        names.settle().unwrap();
        let text = fs::read_to_string(names.log().join("db")).unwrap();
        names.finish().unwrap();
        let left: Vec<_> = fs::read_dir(&names.root).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [names.log()], "nothing else is left");
        text
    }

    #[test]
    fn after_every_step_one_of_the_two_is_the_log() {
        for done in 0..=Step::ALL.len() {
            let (_dir, names) = ready();
            for step in &Step::ALL[..done] {
                names.perform(*step, MARK).unwrap();
            }
            let moved = Step::ALL[..done].contains(&Step::MoveOld);
            assert_eq!(found(&names), if moved { "new" } else { "old" }, "{done} steps");
        }
    }

    #[test]
    fn without_a_sound_marker_the_old_log_is_taken_back() {
        for marker in [None, Some(&b"LRUNSWP1"[..]), Some(&[0; 32])] {
            let (_dir, names) = ready();
            names.perform(Step::MoveOld, MARK).unwrap();
            if let Some(marker) = marker {
                fs::write(names.marker(), marker).unwrap();
            }
            assert_eq!(found(&names), "old", "{marker:?}");
        }
    }

    #[test]
    fn settling_may_be_interrupted_too() {
        let (_dir, names) = ready();
        for step in Step::ALL {
            names.perform(step, MARK).unwrap();
        }
        // A half removed old log.
        fs::remove_file(names.old().join("db")).unwrap();
        assert_eq!(found(&names), "new");
    }

    #[test]
    fn what_nobody_vouches_for_is_not_taken() {
        let (_dir, names) = ready();
        fs::remove_dir_all(names.log()).unwrap();
        assert!(names.settle().unwrap_err().to_string().contains("from a backup"));
        assert!(!names.log().exists() && names.next().exists());
    }
}
