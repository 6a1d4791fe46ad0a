//! The open connections, and which of them gives way when there is no room for all.
//!
//! A connection for which the service works is never cut. One that waits for its client, or for
//! something to happen, is, when its place or its memory is wanted by somebody else: those who have
//! waited longest go first, so that a client that is at it keeps its connection however many others
//! are opened. Nobody goes who only just began to wait: else ten thousand that come again at once
//! would do nothing but push each other out.

mod waits;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::waits::Waiting;
use super::error::HEAD_BYTES_MAX;
use crate::clock::monotonic;

pub(super) use self::waits::Wait;

/// Heads below this are counted only until they are complete, in bytes.
const HEAD_BYTES_SMALL: usize = 2 << 10;

/// All open connections.
pub(super) struct Links {
    max: usize,
    peer_max: usize,
    head_bytes_max: usize,
    head_bytes: AtomicUsize,
    begun: Instant,
    state: Mutex<State>,
    /// Told when a connection has ended.
    freed: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Entry>,
    peers: BTreeMap<IpAddr, usize>,
    /// Until when nobody will have waited long enough for each kind: known from the last look at
    /// all, so that many who need something don't look again and again.
    quiet: [i64; Wait::ALL.len()],
}

struct Entry {
    peer: IpAddr,
    told: Arc<Told>,
}

/// What a connection is told, and tells.
#[derive(Default)]
struct Told {
    waiting: Waiting,
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
            begun: monotonic(),
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the service began.
    fn now(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// Takes a place for a connection; somebody may have to give way for it.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Link, Full> {
        let peer = peer.to_canonical();
        let now = self.now();
        let mut state = self.state();
        let own = state.peers.get(&peer).copied().unwrap_or(0);
        // Whoever is on this machine may be many.
        if own >= self.peer_max && !peer.is_loopback() && !state.give_way_of(peer, now) {
            return Err(Full::Peer);
        }
        if state.open.len() >= self.max && !state.give_way(now) {
            return Err(Full::All);
        }
        state.next += 1;
        let id = state.next;
        let told = Arc::new(Told::default());
        told.waiting.set(Some(Wait::Request), now);
        state.open.insert(id, Entry { peer, told: told.clone() });
        *state.peers.entry(peer).or_default() += 1;
        drop(state);
        let phase = AtomicU8::new(Phase::Request as u8);
        let no = || AtomicBool::new(false);
        let (ends, rests, served, owes_body, flushed) = (no(), no(), no(), no(), no());
        let (links, head_bytes) = (self.clone(), AtomicUsize::new(0));
        Ok(Link { links, id, told, phase, ends, rests, served, owes_body, flushed, head_bytes })
    }

    /// Cuts the connection that has waited longest for this. False when there is none.
    pub(super) fn give_way(&self, kind: Wait) -> bool {
        let now = self.now();
        let mut state = self.state();
        state.longest(&[kind], now).is_some_and(|(since, id, wait)| state.cut(id, (wait, since)))
    }

    /// Waits until some connection has ended.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.open.remove(&id)?;
        if let Some(count) = self.peers.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&entry.peer);
            }
        }
        Some(entry)
    }

    /// Who has waited longest, and long enough, for one of these: since when, who, for what.
    fn longest(&mut self, kinds: &[Wait], now: i64) -> Option<(i64, u64, Wait)> {
        if kinds.iter().all(|kind| self.quiet.get(*kind as usize).is_some_and(|end| now < *end)) {
            return None;
        }
        let waiting = self.open.iter().filter_map(|(id, entry)| {
            let (wait, since) = entry.told.waiting.get()?;
            kinds.contains(&wait).then_some((since, *id, wait))
        });
        let mut found: Option<(i64, u64, Wait)> = None;
        // Who begins to wait from now on will not have waited long enough before that.
        let mut quiet = Wait::ALL.map(|kind| now + kind.respite());
        for (since, id, wait) in waiting {
            let enough = since + wait.respite();
            let one = (since, id, wait);
            if enough <= now && found.is_none_or(|best| one < best) {
                found = Some(one);
            }
            if let Some(end) = quiet.get_mut(wait as usize) {
                *end = enough.min(*end);
            }
        }
        for kind in kinds {
            let place = self.quiet.get_mut(*kind as usize).zip(quiet.get(*kind as usize));
            if let Some((kept, end)) = place {
                *kept = *end;
            }
        }
        found
    }

    /// Makes whoever has waited longest give way, those in the middle of something last. True when
    /// there is a place now.
    fn give_way(&mut self, now: i64) -> bool {
        let between = [Wait::Request, Wait::Head, Wait::Event, Wait::Served];
        let within = [Wait::Body, Wait::Transfer];
        for kinds in [&between[..], &within] {
            if let Some((since, id, wait)) = self.longest(kinds, now) {
                return self.cut(id, (wait, since));
            }
        }
        false
    }

    /// The same among the connections of one address, in the order of what they wait for.
    fn give_way_of(&mut self, peer: IpAddr, now: i64) -> bool {
        let own = self.open.iter().filter(|(_, entry)| entry.peer == peer);
        let waiting = own.filter_map(|(id, entry)| {
            let (wait, since) = entry.told.waiting.get()?;
            Some((wait, since, *id))
        });
        let first = waiting.min().filter(|(wait, since, _)| since + wait.respite() <= now);
        first.is_some_and(|(wait, since, id)| self.cut(id, (wait, since)))
    }

    /// Tells a connection to go that was seen to wait. True when its place is free now; a long poll is
    /// answered first.
    fn cut(&mut self, id: u64, seen: (Wait, i64)) -> bool {
        let Some(entry) = self.open.get(&id) else { return false };
        let told = entry.told.clone();
        // Nobody is cut whom the service works for since.
        if !told.waiting.end(seen) {
            return false;
        }
        if matches!(seen.0, Wait::Event | Wait::Served) {
            told.dismissed.notify_one();
            return false;
        }
        self.remove(id);
        told.cut.notify_one();
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
    flushed: AtomicBool,
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
    fn is_between(&self) -> bool {
        self.phase() == Phase::Request && !self.owes_body.load(Ordering::Relaxed)
    }

    /// Says whether all that was answered is out.
    pub(super) fn flushed(&self, flushed: bool) {
        self.flushed.store(flushed, Ordering::Relaxed);
    }

    /// Whether the last request was answered, and all of that is out.
    pub(super) fn is_done(&self) -> bool {
        self.is_between() && self.flushed.load(Ordering::Relaxed)
    }

    /// For how long that has been so.
    pub(super) fn paused(&self) -> Option<Duration> {
        let (_, since) = self.told.waiting.get().filter(|_| self.is_done())?;
        let nanos = u64::try_from(self.links.now() - since).unwrap_or(0);
        Some(Duration::from_nanos(nanos))
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
        self.told.waiting.set(wait, self.links.now());
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
        self.flushed(false);
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
