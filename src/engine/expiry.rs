//! When to look for queues that have been idle for too long.

use super::attendance::Register;
use crate::clock::{Ages, Clock};
use crate::domain::{Command, Millis, QueueId, QueueState, Timestamp};
use crate::views::Views;

/// Queues that may expire in one round.
const EXPIRED_LEN_MAX: usize = 256;

/// How soon a queue is looked at again that somebody asks for just now.
const ATTENDED_AGAIN: Millis = Millis(1_000);

/// What the writer remembers between two looks.
pub(super) struct Expiry {
    /// Nobody's absence counts from earlier: before it, requests were not noticed.
    since: Timestamp,
    /// The last look.
    looked_at: Timestamp,
    /// The first of the queues that were due then but had been asked for lately.
    again_at: Option<Timestamp>,
    ages: Ages,
}

impl Expiry {
    pub(super) fn since(opened: Timestamp, clock: &dyn Clock) -> Self {
        Self { since: opened, looked_at: opened, again_at: Some(opened), ages: Ages::new(clock) }
    }

    /// Looks at the clocks. A clock that is set forward says nothing about absence: as after a start,
    /// every queue gets its whole idle time again.
    pub(super) fn notice(&mut self, clock: &dyn Clock, now: Timestamp) {
        if self.ages.look(clock) {
            tracing::warn!(%now, "the clock was set forward, or the machine slept");
            self.since = now;
            self.again_at = Some(now);
        } else if now < self.looked_at {
            // Set back: what is due is looked for from there.
            self.looked_at = now;
        }
    }

    /// When to look again.
    pub(super) fn due(&self, views: &Views) -> Option<Timestamp> {
        let next = views.next_expiry_after(self.looked_at);
        next.into_iter().chain(self.again_at).min()
    }

    pub(super) fn is_due(&self, views: &Views, now: Timestamp) -> bool {
        self.due(views).is_some_and(|due| due <= now)
    }

    /// The commands that end what has been idle for its time.
    pub(super) fn look(
        &mut self,
        views: &Views,
        register: &Register,
        now: Timestamp,
    ) -> Vec<Command> {
        register.tidy(|queue| views.queue_state(queue) == Some(QueueState::Active));
        self.looked_at = now;
        self.again_at = None;
        let mut commands = Vec::new();
        for (due, queue) in views.idle_queues().take_while(|(due, _)| *due <= now) {
            let quiet_since = register.quiet_since(queue).map(|quiet| quiet.max(self.since));
            let later = quiet_since.map_or(now.after(ATTENDED_AGAIN), |quiet| {
                due.max(quiet.after(idle_time(views, queue)))
            });
            match quiet_since {
                Some(quiet_since) if later <= now && commands.len() < EXPIRED_LEN_MAX => {
                    commands.push(Command::ExpireQueue { queue, quiet_since });
                }
                _ => self.again_at = Some(self.again_at.map_or(later, |at| at.min(later))),
            }
        }
        commands
    }
}

fn idle_time(views: &Views, queue: QueueId) -> Millis {
    views.queue(queue).and_then(|queue| queue.expire_after).unwrap_or(Millis(u64::MAX))
}
