//! How long a slow client is waited for.

use std::time::Duration;

/// Time that may still be spent waiting for a client. Waiting uses it up, bytes win it back: a
/// client that never stops and one that dribbles are told apart by their average alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    whole: Duration,
    left: Duration,
    bytes_per_second: u64,
}

impl Patience {
    /// Patience for `whole` of silence; each second of it is won back by so many bytes.
    pub(super) const fn new(whole: Duration, bytes_per_second: u64) -> Self {
        Self { whole, left: whole, bytes_per_second }
    }

    /// How much longer to wait.
    pub(super) const fn left(&self) -> Duration {
        self.left
    }

    /// All of it.
    pub(super) const fn whole(&self) -> Duration {
        self.whole
    }

    /// The client let us wait for so long and then moved so many bytes.
    pub(super) fn moved(&mut self, waited: Duration, bytes: usize) {
        let won = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000);
        let won = won.checked_div(self.bytes_per_second).map_or(self.whole, Duration::from_micros);
        self.left = self.left.saturating_sub(waited).saturating_add(won).min(self.whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn bytes_win_back_what_waiting_used_up() {
        let mut patience = Patience::new(30 * SECOND, 1_000);
        patience.moved(29 * SECOND, 1);
        assert_eq!(patience.left(), SECOND + Duration::from_millis(1));
        patience.moved(SECOND, 4_000);
        assert_eq!(patience.left(), 4 * SECOND + Duration::from_millis(1));
        patience.moved(SECOND, 1 << 30);
        assert_eq!(patience.left(), 30 * SECOND, "not more than at first");
        patience.moved(31 * SECOND, 0);
        assert_eq!(patience.left(), Duration::ZERO);
    }

    #[test]
    fn a_byte_now_and_then_is_not_enough_for_ever() {
        let mut patience = Patience::new(30 * SECOND, 4_096);
        let mut time = Duration::ZERO;
        while patience.left() > Duration::ZERO && time < 3_600 * SECOND {
            let step = patience.left().min(29 * SECOND);
            patience.moved(step, 1);
            time += step;
            if step < 29 * SECOND {
                break;
            }
        }
        assert!(time < 31 * SECOND, "{time:?}");
        let mut steady = Patience::new(30 * SECOND, 4_096);
        for _ in 0..10_000 {
            steady.moved(SECOND, 4_096);
        }
        assert_eq!(steady.left(), 30 * SECOND, "the wanted rate is enough");
    }
}
