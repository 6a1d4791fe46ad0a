//! Waking who waits in sled for a write that has failed already.
//!
//! sled 0.34 writes a buffer as soon as the last user has left it. When that write fails, the failure is
//! noted, but who waits for it sleeps on until something else is written, and after a failure nothing is.
//! The next write that is asked for meets the note, fails and wakes everybody. So what waits for long is
//! given one: on a disk that is merely slow that is a small entry, taken away again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// How much time is between two looks at who waits. Who did at the one before is nudged.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a nudge writes, into the default tree. Only a killed process leaves it there.
const NUDGE: &str = "nudge";

/// Those who use a database just now, all over the process.
static WAITING: Mutex<Uses> = Mutex::new(Uses { next: 0, running: BTreeMap::new() });

/// A nudge ended.
static NUDGED: Condvar = Condvar::new();

struct Uses {
    next: u64,
    running: BTreeMap<u64, Use>,
}

struct Use {
    db: sled::Db,
    /// It ran at the last look.
    late: bool,
    /// Its database is written to by the thread that nudges.
    nudged: bool,
}

/// Runs `wait`, which may wait for writes of `db`. If one fails, it returns, too.
pub fn waiting<T>(db: &sled::Db, wait: impl FnOnce() -> T) -> T {
    static THREAD: Once = Once::new();
    THREAD.call_once(|| {
        if let Err(error) = thread::Builder::new().name("db-nudge".to_owned()).spawn(nudge_stalled)
        {
            tracing::warn!(%error, "nobody will look after writes that hang");
        }
    });
    let _registered = Registered::new(db);
    wait()
}

/// Flushes a database; see [`waiting`].
pub fn flush(db: &sled::Db) -> sled::Result<usize> {
    waiting(db, || db.flush())
}

/// Of one call of [`waiting`]; takes it out of the list again.
struct Registered(u64);

impl Registered {
    fn new(db: &sled::Db) -> Self {
        let new = Use { db: db.clone(), late: false, nudged: false };
        let mut uses = uses();
        let id = uses.next;
        uses.next += 1;
        uses.running.insert(id, new);
        Self(id)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let nudged = |uses: &mut Uses| uses.running.get(&self.0).is_some_and(|it| it.nudged);
        // Whoever closes the database next must be the last to hold it.
        let mut uses = NUDGED.wait_while(uses(), nudged).unwrap_or_else(PoisonError::into_inner);
        let gone = uses.running.remove(&self.0);
        drop(uses);
        drop(gone);
    }
}

fn uses() -> MutexGuard<'static, Uses> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread does, for as long as the process lives.
fn nudge_stalled() {
    loop {
        thread::sleep(PATIENCE);
        let stalled: Vec<_> = uses().running.values_mut().filter_map(Use::look).collect();
        for db in stalled {
            // sled panics on some kinds of damage. The failure is told by whoever waits.
            let _ = catch_unwind(AssertUnwindSafe(move || {
                db.insert(NUDGE, &[]).and_then(|_| db.remove(NUDGE)).map(drop)
            }));
        }
        uses().running.values_mut().for_each(|it| it.nudged = false);
        NUDGED.notify_all();
    }
}

impl Use {
    /// Gives the database when this use of it began before the last look.
    fn look(&mut self) -> Option<sled::Db> {
        self.nudged = self.late;
        self.late = true;
        self.nudged.then(|| self.db.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_long_gets_a_write() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let mut writes = db.watch_prefix(NUDGE);
        let limit = Duration::from_mins(1);
        let seen = waiting(&db, || [(); 2].map(|()| writes.next_timeout(limit).unwrap()));
        let key = || sled::IVec::from(NUDGE);
        let written = sled::Event::Insert { key: key(), value: sled::IVec::default() };
        assert_eq!(seen, [written, sled::Event::Remove { key: key() }]);
        assert!(db.is_empty());
        assert!(uses().running.values().all(|it| !it.nudged));
    }
}
