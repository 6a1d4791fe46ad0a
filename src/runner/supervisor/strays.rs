//! Processes that outlived the one that started them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use nix::unistd::{Pid, getpgid};

use super::{Shared, Slot, lock};
use crate::runner::process::{self, Inherited};

/// Kills of one process that are waited for. One that hangs in the kernel must not hold up the end
/// of every attempt from then on.
const KILLS_MAX: u32 = 10;

/// What this process inherited, and whose it is.
#[derive(Debug)]
pub(super) struct Strays {
    inherited: Inherited,
    /// The lock is also what makes this the only place that reaps them.
    known: Mutex<BTreeMap<Pid, Stray>>,
}

/// An inherited process.
#[derive(Debug)]
struct Stray {
    /// Marker of the attempt it belongs to, looked up once: a process may overwrite its
    /// environment later, and looking again would cost each time.
    owner: Option<String>,
    kills: u32,
}

impl Strays {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { inherited: Inherited::of_this_process()?, known: Mutex::new(BTreeMap::new()) })
    }

    /// Kills every inherited process that belongs to no attempt in a slot, and reaps the dead.
    ///
    /// Whoever dies hands its children to us, of its own accord too and after the list was read,
    /// so it goes on until a whole look at the list found nobody dead or to be killed.
    ///
    /// True when nobody is left, so not while an attempt that goes on has orphans.
    pub(super) fn sweep(&self, shared: &Shared) -> bool {
        let mut pids = Vec::new();
        if self.inherited.list(&mut pids).is_ok() && pids.is_empty() {
            return true;
        }
        let mut known = lock(&self.known);
        loop {
            pids.clear();
            if self.inherited.list(&mut pids).is_err() {
                return false;
            }
            known.retain(|pid, _| pids.contains(pid));
            let mut changed = false;
            for pid in &pids {
                if process::reap(*pid) {
                    known.remove(pid);
                    changed = true;
                    continue;
                }
                let stray = known
                    .entry(*pid)
                    .or_insert_with(|| Stray { owner: owner(shared, *pid), kills: 0 });
                let wanted = stray.owner.as_ref().is_some_and(|marker| shared.runs(marker));
                if !wanted && stray.kills < KILLS_MAX {
                    stray.kills += 1;
                    changed = true;
                    if process::kill_and_reap(*pid) {
                        known.remove(pid);
                    }
                }
            }
            if !changed {
                return pids.is_empty();
            }
        }
    }

    /// Kills every inherited process; false when there was none.
    pub(super) fn kill_all(&self) -> bool {
        let mut known = lock(&self.known);
        known.clear();
        let mut pids = Vec::new();
        if self.inherited.list(&mut pids).is_err() {
            return false;
        }
        for pid in &pids {
            process::kill_and_reap(*pid);
        }
        !pids.is_empty()
    }
}

impl Shared {
    /// Whether the attempt of this marker is in a slot.
    fn runs(&self, marker: &str) -> bool {
        self.attempt(|slot| slot.attempt.as_ref().is_some_and(|a| a.marker == marker)).is_some()
    }

    /// The marker of the first slot's attempt that fits.
    fn attempt(&self, fits: impl Fn(&Slot) -> bool) -> Option<String> {
        self.slots.iter().find_map(|slot| {
            let slot = lock(slot);
            if fits(&slot) { slot.attempt.as_ref().map(|a| a.marker.clone()) } else { None }
        })
    }
}

/// Whose process this is: by the marker it inherited, else by its process group, else by where it
/// works or what it executes. One that shed all of these belongs to nobody.
fn owner(shared: &Shared, pid: Pid) -> Option<String> {
    if let Some(marker) = process::marker(pid) {
        return Some(marker);
    }
    if let Ok(group) = getpgid(Some(pid)) {
        let by_group =
            shared.attempt(|slot| slot.attempt.as_ref().is_some_and(|a| a.leader == Some(group)));
        if by_group.is_some() {
            return by_group;
        }
    }
    let places = process::places(pid);
    shared
        .attempt(|slot| slot.attempt.as_ref().is_some_and(|a| process::within(&places, &a.folder)))
}
