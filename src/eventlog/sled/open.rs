//! Opening the log: what sled needs around it to start after anything, and the checks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::guard::{self, Guarded, Panicked};
use super::resume::resume;
use crate::durable::{self, Barrier};
use crate::eventlog::compact::{Base, Names};
use crate::eventlog::error::Source;
use crate::eventlog::hwm::{HighWater, Mark};
use crate::eventlog::journal::Journal;
use crate::eventlog::migrate;
use crate::eventlog::{Damage, DataDir, Error};

/// What the operator may change about opening a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// Go on with what is left when acknowledged records are gone.
    pub accept_lost_history: bool,
}

/// An open database with the current schema.
pub(super) struct Database {
    pub(super) events: ::sled::Tree,
    /// Pieces of the base state.
    pub(super) base: ::sled::Tree,
    /// Records kept from before it.
    pub(super) kept: ::sled::Tree,
    /// What it says of itself.
    pub(super) head: Option<Base>,
    pub(super) db: ::sled::Db,
}

/// Opens the database of `dir`, creating it when there is none, with all that was appended to it, and the
/// journal.
pub(super) fn database(dir: &DataDir) -> Result<(Guarded<Database>, Journal), Error> {
    let path = dir.log();
    let names = Names::of(dir.root());
    names.settle().map_err(|error| Error::storage("find", &path, error))?;
    if !path.exists() {
        create(dir, &path)?;
    }
    dir.note_format();
    tidy(&path).map_err(|error| Error::storage("tidy up", &path, error))?;
    let (mut ballast_kept, mut snapshots_kept) = (true, true);
    loop {
        let opened = open(&path).and_then(|database| {
            let journal = Journal::open(&dir.journal()).map_err(Failure::of_journal)?;
            resume(&path, &database, &journal)?;
            Ok((database, journal))
        });
        match opened {
            Ok(opened) => return Ok(opened),
            Err(Failure::Full(_)) if ballast_kept && dir.drop_ballast() => {
                tracing::warn!(path = %path.display(), "disk full, opening on the space set aside");
                ballast_kept = false;
            }
            Err(Failure::Unreadable(source)) if snapshots_kept && set_snapshots_aside(&path) => {
                tracing::warn!(
                    path = %path.display(), error = %source,
                    "cannot open the log, trying once more without the engine's own snapshot"
                );
                snapshots_kept = false;
            }
            Err(failure) => return Err(failure.into_error(&path)),
        }
    }
}

/// Makes an empty database under another name first, so that a crash leaves all of it or nothing.
fn create(dir: &DataDir, path: &Path) -> Result<(), Error> {
    let unfinished = dir.root().join("log.new");
    drop(create_at(&unfinished)?);
    fs::rename(&unfinished, path)
        .and_then(|()| durable::fsync_dir(dir.root()))
        .map_err(|error| Error::storage("create", path, error))
}

/// Makes an empty database where there may be the rest of another.
pub(super) fn create_at(path: &Path) -> Result<Guarded<Database>, Error> {
    let failed = |error: io::Error| Error::storage("create", path, error);
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    durable::prepare_database(path).map_err(failed)?;
    let database = open_at(path)?;
    Barrier::of(path).map_err(failed)?;
    Ok(database)
}

/// Opens a database that nothing has happened to.
pub(super) fn open_at(path: &Path) -> Result<Guarded<Database>, Error> {
    open(path).map_err(|failure| failure.into_error(path))
}

/// Removes what a kill in the middle of writing a snapshot leaves: sled refuses to open beside it.
fn tidy(path: &Path) -> io::Result<()> {
    durable::prepare_database(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.extension().is_some_and(|ext| ext == "generating") {
            fs::remove_file(entry)?;
        }
    }
    Ok(())
}

/// Moves sled's snapshots out of its sight; it then reads its whole file. False when there were
/// none. The `db` file is never touched.
fn set_snapshots_aside(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let snapshots: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("snap."))
        .map(|entry| entry.path())
        .collect();
    !snapshots.is_empty()
        && snapshots.iter().all(|snapshot| {
            let name = snapshot.file_name().unwrap_or_default().to_string_lossy();
            fs::rename(snapshot, path.join(format!("unread-{name}"))).is_ok()
        })
}

/// Why one try at opening failed.
pub(super) enum Failure {
    Full(Source),
    Io(Source),
    Journal(Source),
    Unreadable(Source),
    Damaged(Damage),
    TooNew(u32),
}

impl Failure {
    pub(super) fn of_journal(error: io::Error) -> Self {
        if durable::is_full(&error) {
            Self::Full(error.into())
        } else {
            Self::Journal(error.into())
        }
    }

    fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Full(source) | Self::Io(source) => Error::storage("open", path, source),
            Self::Journal(source) => {
                Error::storage("open", &path.with_file_name("journal"), source)
            }
            Self::Unreadable(source) => Error::damaged(path, Damage::Database { source }),
            Self::Damaged(damage) => Error::damaged(path, damage),
            Self::TooNew(found) => {
                Error::TooNew { path: path.to_owned(), found, known: migrate::SCHEMA }
            }
        }
    }
}

impl From<::sled::Error> for Failure {
    fn from(error: ::sled::Error) -> Self {
        match &error {
            ::sled::Error::Io(io) if durable::is_full(io) => Self::Full(error.into()),
            ::sled::Error::Io(_) => Self::Io(error.into()),
            _ => Self::Unreadable(error.into()),
        }
    }
}

impl From<Panicked> for Failure {
    fn from(panic: Panicked) -> Self {
        Self::Unreadable(panic.into())
    }
}

/// Opens what is at `path` and brings it to the current schema.
fn open(path: &Path) -> Result<Guarded<Database>, Failure> {
    guard::catching(|| {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(64 << 20)
            // A record is at most 1/128 of a segment, so sled never puts a page into a file of its
            // own, which it wouldn't sync.
            .segment_size(512 << 10)
            .mode(::sled::Mode::LowSpace)
            .flush_every_ms(Some(500))
            .use_compression(false);
        let db = durable::open_unlocked(|| config.open())?;
        match migrate::stored(&db)? {
            Some(found) if found > migrate::SCHEMA => return Err(Failure::TooNew(found)),
            None if !migrate::is_new(&db)? => return Err(Failure::Damaged(Damage::NoSchema)),
            stored => migrate::run(&db, stored)?,
        }
        let head = db.open_tree(migrate::META)?.get(migrate::BASE_KEY)?;
        let head = head.map(|head| Base::parse(&head)).transpose();
        let head = head.map_err(|source| Failure::Damaged(Damage::Base { source }))?;
        Ok(Guarded::new(Database {
            events: db.open_tree(migrate::EVENTS)?,
            base: db.open_tree(migrate::BASE)?,
            kept: db.open_tree(migrate::KEPT)?,
            head,
            db,
        }))
    })?
}

/// The high-water file and what it says, `None` where there is none or the operator doesn't mind.
pub(super) fn stored_mark(
    dir: &DataDir,
    options: OpenOptions,
) -> Result<Option<(HighWater, Mark)>, Error> {
    match HighWater::open(&dir.hwm()) {
        Err(error @ Error::Damaged { .. }) if options.accept_lost_history => {
            tracing::warn!(error = %error, "going on with what is left of the log");
            Ok(None)
        }
        other => other,
    }
}

/// A failed read of the database's entries.
pub(super) fn read_failed(path: &Path, error: ::sled::Error) -> Error {
    Failure::from(error).into_error(path)
}

/// Gives the space of the log back that this one has taken the place of, if there is one.
pub(super) fn finish(dir: &DataDir) {
    if let Err(error) = Names::of(dir.root()).finish() {
        tracing::warn!(%error, "cannot remove the log from before it was rewritten");
    }
}
