//! The only code that reads the clock or draws random numbers.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::{Millis, Timestamp};

/// Where the shell gets time from; tests bring their own.
pub trait Clock: Send + Sync {
    /// The wall clock, which may be set forward and back.
    fn now(&self) -> Timestamp;

    /// Time since some moment in the past, by a clock that nobody sets.
    fn steady(&self) -> Duration {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        BEGUN.get_or_init(monotonic).elapsed()
    }
}

/// Where the shell gets randomness from; tests bring their own.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` from a generator fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number, for jitter.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoEntropy(#[source] rand::rngs::SysError);

/// A secret that nobody can guess, straight from the operating system.
pub fn secret<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes).map_err(NoEntropy)?;
    Ok(bytes)
}

/// The operating system's clock and generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is where time enters")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Entropy for System {
    #[expect(clippy::disallowed_methods, reason = "this is where randomness enters")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), bytes);
    }
}

/// A point on the monotonic clock, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// How far both clocks may drift apart between two looks without one being set: what synchronising
/// does in small steps is less.
const LEAP: Millis = Millis(5_000);

/// Leaps remembered one by one.
const LEAPS_LEN_MAX: usize = 64;

/// How long ago things were, also when the wall clock is set forward meanwhile: what is let go by
/// its age must not go because somebody set a clock. A machine that slept counts as one whose
/// clock was set.
#[derive(Debug)]
pub struct Ages {
    wall: Timestamp,
    steady: Duration,
    /// The last times before the wall clock was set forward, and by how much.
    leaps: Vec<(Timestamp, Millis)>,
}

impl Ages {
    /// From now on.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.steady(), leaps: Vec::new() }
    }

    /// Looks at both clocks. True when the wall clock was set forward since the last look.
    pub fn look(&mut self, clock: &dyn Clock) -> bool {
        let (wall, steady) = (clock.now(), clock.steady());
        let expected = self.wall.after(steady.saturating_sub(self.steady).into());
        (self.wall, self.steady) = (wall, steady);
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        if behind > LEAP {
            self.take_back(behind);
        }
        if ahead <= LEAP {
            return false;
        }
        self.leaps.push((expected, ahead));
        if self.leaps.len() > LEAPS_LEN_MAX {
            // As if the first had been when the second was: what lies between them stays longer.
            let (_, by) = self.leaps.remove(0);
            if let Some(next) = self.leaps.first_mut() {
                next.1 = Millis(next.1.0.saturating_add(by.0));
            }
        }
        true
    }

    /// A clock that is set back takes back that it was set forward before.
    fn take_back(&mut self, by: Millis) {
        let mut left = by.0;
        while let Some((_, last)) = self.leaps.last_mut() {
            let taken = left.min(last.0);
            left -= taken;
            last.0 -= taken;
            if last.0 > 0 {
                return;
            }
            self.leaps.pop();
        }
    }

    /// How long ago `at` was at the last look; less rather than more where that isn't known.
    pub fn age(&self, at: Timestamp) -> Millis {
        let since = self.leaps.iter().filter(|(before, _)| at <= *before);
        let leapt = since.map(|(_, by)| by.0).fold(0, u64::saturating_add);
        Millis(self.wall.since(at).0.saturating_sub(leapt))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * 3_600_000;

    /// Both clocks, in milliseconds.
    struct Hands(Mutex<(i64, u64)>);

    impl Hands {
        fn pass(&self, millis: u64) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += i64::try_from(millis).unwrap();
            hands.1 += millis;
        }

        fn set(&self, by: i64) {
            self.0.lock().unwrap().0 += by;
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.lock().unwrap().0 * 1_000)
        }

        fn steady(&self) -> Duration {
            Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    fn begin() -> (Hands, Ages) {
        let clock = Hands(Mutex::new((60 * YEAR, 7)));
        let ages = Ages::new(&clock);
        (clock, ages)
    }

    #[test]
    fn a_clock_set_forward_makes_nothing_older() {
        let (clock, mut ages) = begin();
        let before = clock.now();
        clock.pass(2 * HOUR);
        assert!(!ages.look(&clock));
        assert_eq!(ages.age(before), Millis(2 * HOUR));
        clock.set(YEAR);
        let after = clock.now();
        clock.pass(HOUR);
        assert!(ages.look(&clock) && !ages.look(&clock));
        assert_eq!(ages.age(before), Millis(3 * HOUR));
        assert_eq!(ages.age(after), Millis(HOUR));
        clock.set(-YEAR);
        clock.pass(HOUR);
        assert!(!ages.look(&clock));
        assert_eq!(ages.age(before), Millis(4 * HOUR));
        assert_eq!(ages.age(after), Millis(0), "of a time that is still to come");
    }

    #[test]
    fn a_clock_set_back_makes_nothing_older_either() {
        let (clock, mut ages) = begin();
        let before = clock.now();
        clock.set(-YEAR);
        clock.pass(HOUR);
        assert!(!ages.look(&clock));
        assert_eq!(ages.age(before), Millis(0));
        clock.set(YEAR);
        assert!(ages.look(&clock), "back to what it was, and nobody knows");
        clock.pass(HOUR);
        ages.look(&clock);
        assert!(ages.age(before) <= Millis(2 * HOUR));
    }

    #[test]
    fn more_leaps_than_are_remembered_make_nothing_older() {
        let (clock, mut ages) = begin();
        let mut seen = vec![(clock.now(), 0)];
        for round in 1..=200 {
            clock.pass(HOUR);
            ages.look(&clock);
            clock.set(YEAR / 7);
            assert!(ages.look(&clock));
            seen.push((clock.now(), round));
        }
        for (at, round) in seen {
            assert!(ages.age(at) <= Millis((200 - round) * HOUR), "{round}");
        }
        assert!(ages.leaps.len() <= LEAPS_LEN_MAX);
    }
}
