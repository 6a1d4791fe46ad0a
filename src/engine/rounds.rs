//! The way of rounds from the writer to the committer.
//!
//! There is place for one. While the committer writes the round before, what is decided joins the one
//! that waits, so that as much as possible is written at once: each write waits for the disk, however
//! much it writes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::committer::Round;
use crate::clock::monotonic;

/// How long the writer lets commands gather at once while a round waits. Short beside a write to the
/// disk, long beside the change from one thread to another.
const GATHER: Duration = Duration::from_micros(200);
/// The same while a round is written: until that is done, nothing can be written that is decided.
const GATHER_BUSY: Duration = Duration::from_millis(1);

/// Longest time that a round for few waits for those who were answered last.
const LINGER: Duration = Duration::from_millis(1);
/// How long it waits for the next of them. Longer than the writer lets commands gather.
const PAUSE: Duration = Duration::from_micros(400);

/// A way with both of its ends.
pub(super) fn rounds() -> (Decided, Undurable) {
    let way = Arc::new(Way::default());
    let undurable = Undurable { way: Arc::clone(&way), linger: LINGER, pause: PAUSE };
    (Decided { way, gather_busy: GATHER_BUSY }, undurable)
}

/// The writer's end. The committer ends when this is dropped, after the last round.
pub(super) struct Decided {
    way: Arc<Way>,
    gather_busy: Duration,
}

/// The committer's end.
pub(super) struct Undurable {
    way: Arc<Way>,
    linger: Duration,
    pause: Duration,
}

/// The other end is gone.
#[derive(Debug)]
pub(super) struct Closed;

/// What the committer finds.
pub(super) enum Next {
    Round(Round),
    /// Nothing came in time.
    Nothing,
    Closed,
}

#[derive(Default)]
struct Way {
    place: Mutex<Place>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct Place {
    round: Option<Round>,
    committer: Committer,
    /// For so many it waits for no more: half as many as waited for the round that was taken last.
    enough: usize,
    closed: bool,
}

/// What the committer does.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Committer {
    /// It publishes and answers.
    #[default]
    Answers,
    /// It waits for a round.
    Idle,
    /// It waits until enough wait for the round.
    Lingers,
    /// It writes to the disk.
    Writes,
}

impl Way {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.place().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

impl Decided {
    /// Whether the committer has nothing to do, and would write at once if so many more waited for the
    /// round.
    pub(super) fn is_wanted(&self, asked: usize) -> bool {
        let place = self.way.place();
        let asked = place.asked().unwrap_or(0) + asked;
        matches!(place.committer, Committer::Idle | Committer::Lingers)
            && asked > 0
            && asked >= place.enough
    }

    /// Passes a round on, alone or as part of the one that waits. Returns when the committer has taken
    /// it or has written the one before, or a moment is over in which more could have come for it.
    pub(super) fn send(&self, round: Round) -> Result<(), Closed> {
        let way = &*self.way;
        let mut place = way.place();
        loop {
            if place.closed {
                return Err(Closed);
            }
            match &mut place.round {
                Some(waiting) if !waiting.takes(&round) => {
                    place = way.emptied.wait(place).unwrap_or_else(PoisonError::into_inner);
                }
                Some(waiting) => {
                    waiting.absorb(round);
                    if place.committer == Committer::Lingers && place.asked() >= Some(place.enough)
                    {
                        way.filled.notify_one();
                    }
                    break;
                }
                None => {
                    place.round = Some(round);
                    if place.committer == Committer::Idle {
                        place.committer = Committer::Answers;
                        drop(place);
                        way.filled.notify_one();
                        return Ok(());
                    }
                    break;
                }
            }
        }
        let busy = place.is_busy();
        let patience = if busy { self.gather_busy } else { GATHER };
        // The mutex is what a panic of the committer would poison, and `closed` tells that as well.
        drop(way.emptied.wait_timeout_while(place, patience, |place| {
            place.is_waiting() && place.is_busy() == busy
        }));
        Ok(())
    }
}

impl Place {
    fn is_waiting(&self) -> bool {
        self.round.is_some() && !self.closed
    }

    /// What is decided now can't be written yet.
    fn is_busy(&self) -> bool {
        self.committer == Committer::Writes
    }

    /// How many wait for the round that waits; none when there is no round.
    fn asked(&self) -> Option<usize> {
        self.round.as_ref().filter(|_| !self.closed).map(|round| round.replies.len())
    }
}

impl Undurable {
    /// The next round, if one comes within `patience`.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let way = &*self.way;
        let waited = way.filled.wait_timeout_while(way.place(), patience, |place| {
            let idle = place.round.is_none() && !place.closed;
            place.committer = if idle { Committer::Idle } else { Committer::Answers };
            idle
        });
        let (mut place, _) = waited.unwrap_or_else(PoisonError::into_inner);
        place.committer = Committer::Answers;
        place = self.gather(place);
        match place.round.take() {
            Some(round) => {
                place.enough = round.replies.len() / 2;
                place.committer = Committer::Writes;
                drop(place);
                way.emptied.notify_one();
                Next::Round(round)
            }
            None if place.closed => Next::Closed,
            None => Next::Nothing,
        }
    }

    /// The round that was taken is written: what is decided from now on is written next, so the writer
    /// may begin while this one is published and answered.
    pub(super) fn written(&self) {
        let mut place = self.way.place();
        place.committer = Committer::Answers;
        let waits = place.is_waiting();
        drop(place);
        if waits {
            self.way.emptied.notify_one();
        }
    }

    /// Waits a moment while the round that waits is for less than half as many as were answered
    /// last. Most of these ask again at once, and if the first of them had a write to itself, all
    /// others would wait for it.
    fn gather<'a>(&self, mut place: MutexGuard<'a, Place>) -> MutexGuard<'a, Place> {
        let enough = place.enough;
        let begun = monotonic();
        place.committer = Committer::Lingers;
        while let Some(asked) = place.asked().filter(|asked| *asked < enough) {
            let left = self.linger.saturating_sub(begun.elapsed()).min(self.pause);
            let grown = self.way.filled.wait_timeout_while(place, left, |place| {
                place.asked().is_some_and(|asked| asked < enough)
            });
            (place, _) = grown.unwrap_or_else(PoisonError::into_inner);
            if place.asked() == Some(asked) || begun.elapsed() >= self.linger {
                break;
            }
        }
        place.committer = Committer::Answers;
        place
    }
}

impl Drop for Decided {
    fn drop(&mut self) {
        self.way.close();
    }
}

impl Drop for Undurable {
    fn drop(&mut self) {
        self.way.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;
    use crate::engine::COMMIT_BYTES_MAX;
    use crate::engine::committer::Reply;

    /// A round that can be told from others by its size.
    fn round(bytes: usize) -> Round {
        Round { bytes, ..Round::default() }
    }

    fn taken(end: &Undurable) -> usize {
        match end.next(Duration::from_mins(1)) {
            Next::Round(round) => round.bytes,
            Next::Nothing => panic!("nothing came"),
            Next::Closed => panic!("closed"),
        }
    }

    #[test]
    fn what_is_decided_while_a_round_waits_joins_it() {
        let (decided, end) = rounds();
        decided.send(round(1)).unwrap();
        decided.send(round(20)).unwrap();
        decided.send(round(300)).unwrap();
        assert_eq!(taken(&end), 321);
        assert!(matches!(end.next(Duration::ZERO), Next::Nothing));
        decided.send(round(4)).unwrap();
        assert_eq!(taken(&end), 4);
    }

    #[test]
    fn a_round_that_is_full_is_waited_for_and_order_is_kept() {
        let (decided, end) = rounds();
        decided.send(round(COMMIT_BYTES_MAX)).unwrap();
        let sender = thread::spawn(move || {
            decided.send(round(1)).unwrap();
            decided.send(round(COMMIT_BYTES_MAX - 1)).unwrap();
            decided.send(round(2)).unwrap();
        });
        let mut came = vec![taken(&end)];
        while came.iter().sum::<usize>() < 2 * COMMIT_BYTES_MAX + 2 {
            came.push(taken(&end));
        }
        sender.join().unwrap();
        assert_eq!(came[0], COMMIT_BYTES_MAX);
        assert!(came.iter().all(|bytes| *bytes <= COMMIT_BYTES_MAX), "{came:?}");
        assert!(matches!(end.next(Duration::from_mins(1)), Next::Closed));
    }

    #[test]
    fn the_last_round_comes_before_the_end() {
        let (decided, end) = rounds();
        decided.send(round(1)).unwrap();
        drop(decided);
        assert_eq!(taken(&end), 1);
        assert!(matches!(end.next(Duration::from_mins(1)), Next::Closed));
    }

    /// A round that so many wait for.
    fn asked(count: usize) -> Round {
        let replies = (0..count).map(|_| Reply::Boot(channel().0)).collect();
        Round { bytes: count, replies, ..Round::default() }
    }

    /// A way on which 40 were just answered, whose committer waits for as long as it takes.
    fn patient() -> (Decided, Undurable) {
        let (decided, mut end) = rounds();
        (end.linger, end.pause) = (Duration::from_mins(1), Duration::from_mins(1));
        decided.send(asked(40)).unwrap();
        assert_eq!(taken(&end), 40);
        (decided, end)
    }

    #[test]
    fn a_round_for_few_waits_for_those_who_were_just_answered() {
        let (decided, mut end) = patient();
        let sender = thread::spawn(move || {
            for _ in 0..20 {
                decided.send(asked(1)).unwrap();
            }
            decided
        });
        assert_eq!(taken(&end), 20);
        // Half as many again is enough, and so is nothing more for a moment.
        let decided = sender.join().unwrap();
        end.pause = Duration::from_millis(1);
        decided.send(asked(3)).unwrap();
        assert_eq!(taken(&end), 3);
        decided.send(asked(1)).unwrap();
        assert_eq!(taken(&end), 1);
    }

    #[test]
    fn while_a_round_is_written_commands_gather() {
        let (mut decided, end) = rounds();
        decided.gather_busy = Duration::from_hours(1);
        decided.send(round(1)).unwrap();
        assert_eq!(taken(&end), 1);
        let sender = thread::spawn(move || {
            decided.send(round(2)).unwrap();
            let busy = decided.way.place().is_busy();
            (decided, busy)
        });
        // It has passed it on, and waits.
        while end.way.place().round.is_none() {
            thread::yield_now();
        }
        end.written();
        let (decided, busy) = sender.join().unwrap();
        assert!(!busy, "it came back before there was anything to do");
        decided.send(round(30)).unwrap();
        assert_eq!(taken(&end), 32);
    }

    #[test]
    fn an_idle_committer_says_when_enough_wait() {
        let (decided, end) = rounds();
        decided.send(asked(40)).unwrap();
        assert_eq!(taken(&end), 40);
        assert!(!decided.is_wanted(40), "it writes");
        let committer = thread::spawn(move || taken(&end));
        while decided.way.place().committer != Committer::Idle {
            thread::yield_now();
        }
        assert!(decided.is_wanted(20) && !decided.is_wanted(19));
        decided.send(asked(20)).unwrap();
        assert_eq!(committer.join().unwrap(), 20);
    }

    #[test]
    fn a_round_that_lingers_is_not_lost_when_the_writer_ends() {
        let (decided, end) = patient();
        decided.send(asked(1)).unwrap();
        drop(decided);
        assert_eq!(taken(&end), 1);
        assert!(matches!(end.next(Duration::from_mins(1)), Next::Closed));
    }

    #[test]
    fn a_writer_that_waits_learns_that_the_committer_is_gone() {
        let (decided, end) = rounds();
        decided.send(round(COMMIT_BYTES_MAX)).unwrap();
        let sender = thread::spawn(move || decided.send(round(1)).is_err());
        drop(end);
        assert!(sender.join().unwrap());
    }
}
