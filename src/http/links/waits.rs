//! What connections wait for, and for how long.

use std::sync::atomic::{AtomicI64, Ordering};

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::http) enum Wait {
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
    pub(super) const ALL: [Self; 6] =
        [Self::Request, Self::Head, Self::Event, Self::Served, Self::Body, Self::Transfer];

    /// How long somebody may wait for this before another's need counts more, in nanoseconds.
    pub(super) const fn respite(self) -> i64 {
        match self {
            Self::Event | Self::Served | Self::Request | Self::Head => 1_000_000_000,
            Self::Body | Self::Transfer => 500_000_000,
        }
    }
}

/// What is waited for, and since when, in nanoseconds since the service began. Connections change
/// it several times a request without asking anybody; whoever wants one to give way looks at all.
#[derive(Default)]
pub(super) struct Waiting(AtomicI64);

impl Waiting {
    /// Bits of the number that say what is waited for; zero: nothing.
    const KIND_BITS: u32 = 3;

    fn pack(wait: Option<Wait>, since: i64) -> i64 {
        wait.map_or(0, |wait| since << Self::KIND_BITS | (wait as i64 + 1))
    }

    pub(super) fn set(&self, wait: Option<Wait>, since: i64) {
        self.0.store(Self::pack(wait, since), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<(Wait, i64)> {
        let packed = self.0.load(Ordering::Relaxed);
        let kind = usize::try_from(packed & ((1 << Self::KIND_BITS) - 1)).ok()?;
        Some((*Wait::ALL.get(kind.checked_sub(1)?)?, packed >> Self::KIND_BITS))
    }

    /// Ends this wait, if it is still the one. False: the connection has gone on.
    pub(super) fn end(&self, (wait, since): (Wait, i64)) -> bool {
        let packed = Self::pack(Some(wait), since);
        self.0.compare_exchange(packed, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
