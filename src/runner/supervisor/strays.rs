//! Processes that outlived the one that started them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use nix::unistd::{Pid, getpgid};

use super::{Shared, Slot, lock};
use crate::runner::process::{self, Inherited};

/// What this process inherited, and whose it is.
#[derive(Debug)]
pub(super) struct Strays {
    inherited: Inherited,
    /// Marker of the attempt that each inherited process belongs to, once known: a process may
    /// overwrite its environment later, and looking again would cost each time. The lock is also
    /// what makes this the only place that reaps them.
    owners: Mutex<BTreeMap<Pid, Option<String>>>,
}

impl Strays {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { inherited: Inherited::of_this_process()?, owners: Mutex::new(BTreeMap::new()) })
    }

    /// Kills every inherited process that belongs to no attempt in a slot, and reaps the dead.
    ///
    /// Killing one hands its children to us, so it goes on until nothing is left to kill.
    pub(super) fn sweep(&self, shared: &Shared) {
        let mut pids = Vec::new();
        if self.inherited.list(&mut pids).is_ok() && pids.is_empty() {
            return;
        }
        let mut owners = lock(&self.owners);
        loop {
            pids.clear();
            if self.inherited.list(&mut pids).is_err() {
                return;
            }
            owners.retain(|pid, _| pids.contains(pid));
            let mut killed = false;
            for pid in &pids {
                if process::reap(*pid) {
                    owners.remove(pid);
                    continue;
                }
                let owner = owners.entry(*pid).or_insert_with(|| owner(shared, *pid));
                let wanted = owner.as_ref().is_some_and(|marker| shared.runs(marker));
                if !wanted && process::kill_and_reap(*pid) {
                    owners.remove(pid);
                    killed = true;
                }
            }
            if !killed {
                return;
            }
        }
    }

    /// Kills every inherited process; false when there was none.
    pub(super) fn kill_all(&self) -> bool {
        let mut owners = lock(&self.owners);
        owners.clear();
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
