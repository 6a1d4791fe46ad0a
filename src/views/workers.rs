//! Registered workers, and who offers which function.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::{NameIx, Names};
use crate::domain::{Function, FunctionKey, Guid, Host, Lsn, Timestamp, WorkerId};

/// Index of a worker, in the order of first registration.
pub(super) type WorkerIx = u32;

/// A platform's number, in the order of first use.
pub(super) type HostTag = u32;

/// A worker that was registered at least once.
#[derive(Clone, Hash, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) name: String,
    pub(super) host: HostTag,
    pub(super) build_system: Guid,
    pub(super) functions: Vec<(NameIx, Guid)>,
    /// Its newest registration; that record has the descriptor.
    pub(super) registered: Lsn,
    pub(super) registered_at: Timestamp,
    pub(super) retired: bool,
    /// Jobs not ended.
    pub(super) open: u64,
    /// The newest record about it.
    pub(super) tail: Lsn,
}

/// A function as the table is keyed: name, its version, the build system's version.
type Offer = (NameIx, Guid, Guid);

/// All workers, and the function table. A worker never leaves it, since jobs refer to it.
#[derive(Clone, Default, Hash, Serialize, Deserialize)]
pub(super) struct Workers {
    list: Vec<Worker>,
    index: BTreeMap<WorkerId, WorkerIx>,
    hosts: Vec<Host>,
    /// Newest registration first, then the lowest id.
    offers: BTreeMap<Offer, BTreeSet<(Reverse<Lsn>, WorkerId)>>,
}

/// What a registration says of a worker.
pub(super) struct Registration<'a> {
    pub(super) id: WorkerId,
    pub(super) name: &'a str,
    pub(super) host: &'a Host,
    pub(super) build_system: Guid,
    pub(super) functions: Vec<(NameIx, Guid)>,
    pub(super) lsn: Lsn,
    pub(super) at: Timestamp,
}

impl Workers {
    /// The index of a worker that was ever registered.
    pub(super) fn find(&self, id: WorkerId) -> Option<WorkerIx> {
        self.index.get(&id).copied()
    }

    pub(super) fn get(&self, ix: WorkerIx) -> Option<&Worker> {
        self.list.get(usize::try_from(ix).unwrap_or(usize::MAX))
    }

    pub(super) fn get_mut(&mut self, ix: WorkerIx) -> Option<&mut Worker> {
        self.list.get_mut(usize::try_from(ix).unwrap_or(usize::MAX))
    }

    /// A worker that takes jobs.
    pub(super) fn active(&self, id: WorkerId) -> Option<(WorkerIx, &Worker)> {
        let ix = self.find(id)?;
        self.get(ix).filter(|worker| !worker.retired).map(|worker| (ix, worker))
    }

    pub(super) fn all(&self) -> &[Worker] {
        &self.list
    }

    pub(super) fn host_tag(&self, host: &Host) -> Option<HostTag> {
        let at = self.hosts.iter().position(|known| known == host)?;
        HostTag::try_from(at).ok()
    }

    pub(super) fn host(&self, tag: HostTag) -> Option<&Host> {
        self.hosts.get(usize::try_from(tag).unwrap_or(usize::MAX))
    }

    /// Takes a worker in, or back.
    pub(super) fn register(&mut self, new: Registration<'_>) {
        let host = self.host_tag(new.host).unwrap_or_else(|| {
            self.hosts.push(new.host.clone());
            HostTag::try_from(self.hosts.len() - 1).unwrap_or(HostTag::MAX)
        });
        let worker = Worker {
            id: new.id,
            name: new.name.to_owned(),
            host,
            build_system: new.build_system,
            functions: Vec::new(),
            registered: new.lsn,
            registered_at: new.at,
            retired: false,
            open: 0,
            tail: new.lsn,
        };
        if let Some(ix) = self.find(new.id) {
            if let Some(known) = self.get_mut(ix) {
                *known = worker;
            }
            self.offer(ix, new.functions);
        } else {
            let ix = WorkerIx::try_from(self.list.len()).unwrap_or(WorkerIx::MAX);
            self.list.push(worker);
            self.index.insert(new.id, ix);
            self.offer(ix, new.functions);
        }
    }

    /// Adds functions to an active worker.
    pub(super) fn offer(&mut self, ix: WorkerIx, functions: Vec<(NameIx, Guid)>) {
        let Some(worker) = self.list.get_mut(usize::try_from(ix).unwrap_or(usize::MAX)) else {
            return;
        };
        let (build_system, rank) = (worker.build_system, (Reverse(worker.registered), worker.id));
        for (name, version) in &functions {
            self.offers.entry((*name, *version, build_system)).or_default().insert(rank);
        }
        worker.functions.extend(functions);
    }

    /// Takes a worker out of the function table.
    pub(super) fn retire(&mut self, ix: WorkerIx) {
        let Some(worker) = self.list.get_mut(usize::try_from(ix).unwrap_or(usize::MAX)) else {
            return;
        };
        worker.retired = true;
        let rank = (Reverse(worker.registered), worker.id);
        for (name, version) in &worker.functions {
            let offer = (*name, *version, worker.build_system);
            if let Some(who) = self.offers.get_mut(&offer) {
                who.remove(&rank);
                if who.is_empty() {
                    self.offers.remove(&offer);
                }
            }
        }
    }

    /// Who runs a function: the newest registered, then the lowest id.
    pub(super) fn resolve(&self, names: &Names, key: &FunctionKey) -> Option<WorkerId> {
        let name = names.find(&key.function.name)?;
        let who = self.offers.get(&(name, key.function.version, key.build_system))?;
        who.first().map(|(_, worker)| *worker)
    }
}

/// A worker as queries show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerRow {
    pub worker: WorkerId,
    pub name: String,
    pub host: Host,
    pub build_system: Guid,
    pub functions: Vec<Function>,
    /// The record that has the descriptor; also when it was registered last.
    pub registered: Lsn,
    pub registered_at: Timestamp,
    /// Takes no new job.
    pub retired: bool,
    /// Jobs not ended.
    pub open: u64,
    /// The newest record about it.
    pub tail: Lsn,
}

impl Worker {
    pub(super) fn row(&self, names: &Names, hosts: &Workers) -> WorkerRow {
        let function = |(name, version): &(NameIx, Guid)| Function {
            name: names.text(*name).to_string(),
            version: *version,
        };
        let host = hosts.host(self.host).cloned();
        WorkerRow {
            worker: self.id,
            name: self.name.clone(),
            host: host.unwrap_or_else(|| Host::Other(String::new())),
            build_system: self.build_system,
            functions: self.functions.iter().map(function).collect(),
            registered: self.registered,
            registered_at: self.registered_at,
            retired: self.retired,
            open: self.open,
            tail: self.tail,
        }
    }
}
