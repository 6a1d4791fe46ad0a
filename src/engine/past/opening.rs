//! The present state, made while the log is opened: the newest checkpoint that is of it, or else what
//! the log begins with, and a fold of the records after that.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::PastOptions;
use super::checkpoints::{Name, discard, is_of, names};
use super::file::{self, Head, Unusable};
use crate::domain::{Lsn, Record};
use crate::engine::base::beginning;
use crate::eventlog::{self, Fold, LogReader, Mark};
use crate::views::{ApplyError, Published};

/// A state in the making. It is handed to [`crate::eventlog::SledLog::open_with`] and then holds
/// what everything in the log folds to.
pub struct Opening {
    /// Gives the newest checkpoint that can be read, whichever log it is of. None when there is no
    /// other thread to do it.
    reading: Option<JoinHandle<Reading>>,
    state: Published,
}

/// Checkpoints of a directory, newest first.
#[derive(Default)]
struct Reading {
    /// Those that were not tried yet, the newest last.
    left: Vec<(Lsn, PathBuf)>,
    loaded: Option<Loaded>,
}

struct Loaded {
    /// What its file is called after.
    name: Lsn,
    path: PathBuf,
    head: Head,
    state: Published,
}

impl Opening {
    /// Begins to read the newest checkpoint beside whatever the caller does next. The data
    /// directory has to be locked, and nothing may write checkpoints meanwhile.
    pub fn begin(options: &PastOptions) -> Self {
        let dir = options.dir.clone();
        let reading = thread::Builder::new().name("checkpoint".into()).spawn(move || {
            let mut reading = Reading::of(dir.as_deref());
            reading.next(&|_, _| Ok(()));
            reading
        });
        if let Err(error) = &reading {
            tracing::warn!(%error, "cannot start a thread, so the whole log is read");
        }
        Self { reading: reading.ok(), state: Published::default() }
    }

    /// The state.
    pub fn done(self) -> Published {
        self.state
    }
}

impl Fold for Opening {
    type Error = ApplyError;

    fn begin(&mut self, log: &dyn LogReader) -> Result<Mark, eventlog::Error> {
        let joined = self.reading.take().map(|reading| {
            reading.join().unwrap_or_else(|_| {
                tracing::error!("reading a checkpoint panicked, so the whole log is read");
                Reading::default()
            })
        });
        let mut reading = joined.unwrap_or_default();
        while let Some(found) = reading.loaded.take() {
            match is_of(found.head, found.name, log) {
                Ok(head) => {
                    tracing::debug!(lsn = %head.lsn, "begins with a checkpoint");
                    self.state = found.state;
                    return Ok(Mark { lsn: head.lsn, chain: head.chain });
                }
                Err(unusable) => skip(&found.path, &unusable),
            }
            reading.next(&|head, name| is_of(head, name, log).map(drop));
        }
        let (state, mark) = beginning(log)?;
        self.state = state;
        Ok(mark)
    }

    fn apply(&mut self, record: Record) -> Result<(), ApplyError> {
        self.state.apply(&record)
    }
}

impl Reading {
    fn of(dir: Option<&Path>) -> Self {
        let Some(dir) = dir else { return Self::default() };
        let names = match names(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %dir.display(), %error, "cannot look for checkpoints");
                Vec::new()
            }
        };
        let named = names.into_iter().filter_map(|name| match name {
            Name::Of(lsn, path) => Some((lsn, path)),
            Name::Unfinished(_) => None,
        });
        let mut left: Vec<_> = named.collect();
        left.sort_unstable();
        Self { left, loaded: None }
    }

    /// Loads the newest of those left that can be read and whose head is `fit`.
    fn next(&mut self, fit: &dyn Fn(Head, Lsn) -> Result<(), Unusable>) {
        while self.loaded.is_none()
            && let Some((name, path)) = self.left.pop()
        {
            let loaded =
                file::head(&path).and_then(|head| fit(head, name)).and_then(|()| file::load(&path));
            match loaded {
                Ok((head, state)) => self.loaded = Some(Loaded { name, path, head, state }),
                // It is of no use to anybody.
                Err(unusable) if unusable.is_damage() => discard(&path, &unusable),
                Err(unusable) => skip(&path, &unusable),
            }
        }
    }
}

/// The log may be the one that is wrong, and is about to be refused; so the file stays until the
/// service is open.
fn skip(path: &Path, unusable: &Unusable) {
    let reason = std::error::Error::source(unusable).map(ToString::to_string);
    tracing::warn!(path = %path.display(), %unusable, reason, "skipping a checkpoint that can't be used");
}
