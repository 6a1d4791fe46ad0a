//! The open connections, and which of them gives way when there is no room for all.
//!
//! A connection for which the service works is never cut. One that waits for its client, or for
//! something to happen, is, when its place or its memory is wanted by somebody else: those who have
//! waited longest go first, so that a client that is at it keeps its connection however many others
//! are opened. Nobody goes who only just began to wait: else ten thousand that come again at once
//! would do nothing but push each other out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::HEAD_BYTES_MAX;
use crate::clock::monotonic;

/// Heads below this are counted only until they are complete, in bytes.
const HEAD_BYTES_SMALL: usize = 2 << 10;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wait {
    /// The first byte of a request.
    Request,
    /// The rest of a head.
    Head,
    /// Something that has not happened yet: a long poll.
    Event,
    /// The same, by a request that is being served meanwhile.
    Served,
    /// The rest of a body that takes from the memory for buffered bodies.
    Body,
    /// The client, within an upload or an answer.
    Transfer,
}

impl Wait {
    /// How long somebody may wait for this before another's need counts more.
    const fn respite(self) -> Duration {
        Duration::from_millis(match self {
            Self::Event | Self::Served | Self::Request | Self::Head => 1_000,
            Self::Body | Self::Transfer => 500,
        })
    }
}

/// In order: what is waited for, and for how long.
type Key = (Wait, u64);

/// All open connections.
pub(super) struct Links {
    max: usize,
    peer_max: usize,
    head_bytes_max: usize,
    head_bytes: AtomicUsize,
    state: Mutex<State>,
    /// Told when a connection has ended.
    freed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Entry>,
    waiting: BTreeMap<Key, u64>,
    /// The same by peer, to make one's own connections give way.
    waiting_of: BTreeMap<(IpAddr, Key), u64>,
    peers: BTreeMap<IpAddr, usize>,
}

struct Entry {
    peer: IpAddr,
    wait: Option<Key>,
    since: Instant,
    told: Arc<Told>,
}

/// What a connection is told.
#[derive(Default)]
struct Told {
    /// To end at once.
    cut: Notify,
    /// To answer its long poll and end.
    dismissed: Notify,
}

/// Why a connection can't be taken now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// The service works for all there are.
    All,
    /// The service works for all of this address.
    Peer,
}

impl Links {
    pub(super) fn new(max: usize, peer_max: usize, head_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            peer_max,
            head_bytes_max,
            head_bytes: AtomicUsize::new(0),
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection; somebody may have to give way for it.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Link, Full> {
        let peer = peer.to_canonical();
        let mut state = self.state();
        let own = state.peers.get(&peer).copied().unwrap_or(0);
        // Whoever is on this machine may be many.
        if own >= self.peer_max && !peer.is_loopback() && !state.give_way_of(peer) {
            return Err(Full::Peer);
        }
        if state.open.len() >= self.max && !state.give_way() {
            return Err(Full::All);
        }
        state.next += 1;
        let id = state.next;
        let told = Arc::new(Told::default());
        let entry = Entry { peer, wait: None, since: monotonic(), told: told.clone() };
        state.open.insert(id, entry);
        *state.peers.entry(peer).or_default() += 1;
        state.wait(id, Some(Wait::Request));
        drop(state);
        let phase = AtomicU8::new(Phase::Request as u8);
        let no = || AtomicBool::new(false);
        let (ends, rests, served, owes_body) = (no(), no(), no(), no());
        let (links, head_bytes) = (self.clone(), AtomicUsize::new(0));
        Ok(Link { links, id, told, phase, ends, rests, served, owes_body, head_bytes })
    }

    /// Cuts the connection that has waited longest for this. False when there is none.
    pub(super) fn give_way(&self, kind: Wait) -> bool {
        let mut state = self.state();
        state.first(kind).is_some_and(|(key, id, _)| state.cut(key, id))
    }

    /// Waits until some connection has ended.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl State {
    fn wait(&mut self, id: u64, wait: Option<Wait>) {
        self.next += 1;
        let key = wait.map(|wait| (wait, self.next));
        let Some(entry) = self.open.get_mut(&id) else { return };
        let was = std::mem::replace(&mut entry.wait, key);
        entry.since = monotonic();
        let peer = entry.peer;
        if let Some(was) = was {
            self.waiting.remove(&was);
            self.waiting_of.remove(&(peer, was));
        }
        if let Some(key) = key {
            self.waiting.insert(key, id);
            self.waiting_of.insert((peer, key), id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.wait(id, None);
        let entry = self.open.remove(&id)?;
        if let Some(count) = self.peers.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&entry.peer);
            }
        }
        Some(entry)
    }

    /// Who has waited longest for one thing.
    fn first(&self, kind: Wait) -> Option<(Key, u64, Instant)> {
        let (key, id) = self.waiting.range((kind, 0)..=(kind, u64::MAX)).next()?;
        Some((*key, *id, self.open.get(id)?.since))
    }

    /// Makes whoever has waited longest give way, those in the middle of something last. True when
    /// there is a place now.
    fn give_way(&mut self) -> bool {
        let between = [Wait::Request, Wait::Head, Wait::Event, Wait::Served];
        let within = [Wait::Body, Wait::Transfer];
        for kinds in [&between[..], &within] {
            let mut firsts: Vec<_> = kinds.iter().filter_map(|kind| self.first(*kind)).collect();
            firsts.sort_by_key(|(_, _, since)| *since);
            for (key, id, _) in firsts {
                if self.may_go(key, id) {
                    return self.cut(key, id);
                }
            }
        }
        false
    }

    /// The same among the connections of one address.
    fn give_way_of(&mut self, peer: IpAddr) -> bool {
        let all = (peer, (Wait::Request, 0))..=(peer, (Wait::Transfer, u64::MAX));
        let first = self.waiting_of.range(all).next();
        first.map(|((_, key), id)| (*key, *id)).is_some_and(|(key, id)| self.cut(key, id))
    }

    fn may_go(&self, key: Key, id: u64) -> bool {
        self.open.get(&id).is_some_and(|entry| entry.since.elapsed() >= key.0.respite())
    }

    /// Tells a connection to go, unless it only just began to wait. True when its place is free
    /// now; a long poll is answered first.
    fn cut(&mut self, key: Key, id: u64) -> bool {
        if !self.may_go(key, id) {
            return false;
        }
        if matches!(key.0, Wait::Event | Wait::Served) {
            self.wait(id, None);
            self.open.get(&id).inspect(|entry| entry.told.dismissed.notify_one());
            return false;
        }
        let Some(entry) = self.remove(id) else { return false };
        entry.told.cut.notify_one();
        true
    }
}

/// Where a connection is between two requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing of a request has come.
    Request,
    /// Some of a head has come.
    Head,
    /// A request is answered.
    Answer,
}

/// One open connection. Its place is free when this is dropped.
pub(super) struct Link {
    links: Arc<Links>,
    id: u64,
    told: Arc<Told>,
    phase: AtomicU8,
    ends: AtomicBool,
    rests: AtomicBool,
    served: AtomicBool,
    owes_body: AtomicBool,
    head_bytes: AtomicUsize,
}

impl Link {
    /// Waits until somebody else takes this place.
    pub(super) async fn cut(&self) {
        self.told.cut.notified().await;
    }

    /// Waits until somebody else needs the place of a long poll.
    pub(super) async fn dismissed(&self) {
        self.told.dismissed.notified().await;
    }

    /// The answer under way is the last.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(super) fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Whether something is being served on it from now on.
    pub(super) fn serves(&self, served: bool) {
        self.served.store(served, Ordering::Relaxed);
    }

    /// Whether something of a request's body has not been read. Then its end is no end of a request.
    pub(super) fn owes_body(&self, owes: bool) {
        self.owes_body.store(owes, Ordering::Relaxed);
    }

    /// Whether the next byte begins a request: the last one was read and answered.
    pub(super) fn is_between(&self) -> bool {
        self.phase() == Phase::Request && !self.owes_body.load(Ordering::Relaxed)
    }

    /// It waits for something that has not happened yet.
    pub(super) fn waits_for_event(&self) {
        let served = self.served.load(Ordering::Relaxed);
        self.waits(Some(if served { Wait::Served } else { Wait::Event }));
    }

    /// After the answer under way the connection is not to be kept ready for another.
    pub(super) fn rests(&self) {
        self.rests.store(true, Ordering::Relaxed);
    }

    /// Whether that was said, once.
    pub(super) fn take_rest(&self) -> bool {
        self.rests.swap(false, Ordering::Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Request,
            1 => Phase::Head,
            _ => Phase::Answer,
        }
    }

    fn enter(&self, phase: Phase, wait: Option<Wait>) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.waits(wait);
    }

    /// Says what is waited for from now on; nothing when the service is at work.
    pub(super) fn waits(&self, wait: Option<Wait>) {
        self.links.state().wait(self.id, wait);
    }

    /// Goes back to what is waited for in this phase, after the client has moved.
    pub(super) fn resumes(&self) {
        self.waits(match self.phase() {
            Phase::Request => Some(Wait::Request),
            Phase::Head => Some(Wait::Head),
            Phase::Answer => None,
        });
    }

    /// Bytes of a head came. Heads of all connections together have little memory: beyond it those
    /// that are longest in coming go.
    pub(super) fn head_came(&self, bytes: usize) {
        if self.phase() == Phase::Request {
            self.enter(Phase::Head, Some(Wait::Head));
        }
        // No more than that is buffered; beyond it this is the rest of a refused body.
        let room = HEAD_BYTES_MAX.saturating_sub(self.head_bytes.load(Ordering::Relaxed));
        let bytes = bytes.min(room);
        self.head_bytes.fetch_add(bytes, Ordering::Relaxed);
        let all = self.links.head_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bytes > 0 && all > self.links.head_bytes_max && !self.links.give_way(Wait::Head) {
            // They all belong to requests under way.
            self.told.cut.notify_one();
        }
    }

    /// A head is complete.
    pub(super) fn answers(&self) {
        // A small one is copied and forgotten.
        if self.head_bytes.load(Ordering::Relaxed) < HEAD_BYTES_SMALL {
            self.forget_head();
        }
        self.enter(Phase::Answer, None);
    }

    /// An answer was handed over; the next request may come.
    pub(super) fn answered(&self) {
        self.forget_head();
        self.enter(Phase::Request, Some(Wait::Request));
    }

    fn forget_head(&self) {
        let bytes = self.head_bytes.swap(0, Ordering::Relaxed);
        self.links.head_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.forget_head();
        self.links.state().remove(self.id);
        self.links.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
