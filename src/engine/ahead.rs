//! How many attempts the runner is given beyond its slots.
//!
//! A slot that becomes free waits until the next attempt is decided, durable and prepared. Where
//! processes run for a few milliseconds that wait is most of the time, so then each slot has one
//! attempt ready behind the one that runs. It costs the freedom to choose: what was handed out runs
//! before anything more urgent that comes later. Hence never behind processes that run long.

use std::time::Duration;

/// Processes that run no longer than this are short.
const SHORT: Duration = Duration::from_millis(50);
/// So many short ones in a row are expected to go on.
const SHORT_IN_A_ROW: u32 = 8;

/// What the latest processes tell about the next.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    short_in_a_row: u32,
}

impl Ahead {
    /// A process had its slot for this long.
    pub(super) fn ran(&mut self, ran: Duration) {
        self.short_in_a_row = if ran <= SHORT { self.short_in_a_row.saturating_add(1) } else { 0 };
    }

    /// Attempts that may wait for a slot.
    pub(super) fn of(&self, slots: usize) -> usize {
        if self.short_in_a_row >= SHORT_IN_A_ROW { slots } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_for_each_slot_while_processes_are_short() {
        let mut ahead = Ahead::default();
        for _ in 0..SHORT_IN_A_ROW {
            assert_eq!(ahead.of(4), 0);
            ahead.ran(SHORT);
        }
        assert_eq!((ahead.of(4), ahead.of(0)), (4, 0));
        ahead.ran(SHORT + Duration::from_millis(1));
        assert_eq!(ahead.of(4), 0);
    }
}
