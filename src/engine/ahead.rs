//! How many attempts the runner is given beyond its slots.
//!
//! A slot that becomes free waits until the next attempt is decided, durable and prepared. Where
//! processes run for a few milliseconds that wait is most of the time, so then some attempts are
//! ready behind those that run. It costs the freedom to choose: what was handed out runs before
//! anything more urgent that comes later. Hence only as many as are expected to have run soon.

use std::time::Duration;

/// What was handed out last is expected to start within this time.
const DELAY_MAX: Duration = Duration::from_millis(50);
/// Most attempts that wait for one slot.
const PER_SLOT_MAX: u32 = 8;
/// The longest of so many processes is what the next are expected to take.
const LATEST: usize = 8;

/// What the latest processes tell about the next.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// How long they had their slots, in a ring.
    latest: [Option<Duration>; LATEST],
    next: usize,
}

impl Ahead {
    /// A process had its slot for this long.
    pub(super) fn ran(&mut self, ran: Duration) {
        if let Some(oldest) = self.latest.get_mut(self.next) {
            *oldest = Some(ran);
        }
        self.next = (self.next + 1) % LATEST;
    }

    /// Attempts that may wait for a slot.
    pub(super) fn of(&self, slots: usize) -> usize {
        let mut longest = Duration::from_millis(1);
        for ran in self.latest {
            let Some(ran) = ran else { return 0 };
            longest = longest.max(ran);
        }
        let per_slot = DELAY_MAX.as_nanos() / longest.as_nanos();
        let per_slot = u32::try_from(per_slot).unwrap_or(u32::MAX).min(PER_SLOT_MAX);
        slots.saturating_mul(per_slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_wait_as_will_have_run_soon() {
        let mut ahead = Ahead::default();
        for _ in 0..LATEST {
            assert_eq!(ahead.of(4), 0);
            ahead.ran(Duration::from_micros(300));
        }
        assert_eq!((ahead.of(4), ahead.of(0)), (32, 0));
        for (ran, waiting) in [(20, 8), (50, 4), (51, 0), (1, 0)] {
            ahead.ran(Duration::from_millis(ran));
            assert_eq!(ahead.of(4), waiting, "{ran}");
        }
        (0..LATEST).for_each(|_| ahead.ran(Duration::from_millis(10)));
        assert_eq!(ahead.of(4), 20, "a long one is forgotten after some short ones");
    }
}
