//! Bearing with a service that goes away and comes back: a restarted one still has everything.

use std::time::{Duration, Instant};

use crate::client::Error;
use crate::clock::monotonic;

/// How long it may take to come back.
const AWAY_MAX: Duration = Duration::from_mins(1);
/// Between two looks for it.
pub(super) const STEP: Duration = Duration::from_millis(250);

/// Whether the service is away, and since when.
#[derive(Default)]
pub(super) struct Away {
    since: Option<Instant>,
}

impl Away {
    /// The service has answered.
    pub(super) const fn back(&mut self) {
        self.since = None;
    }

    /// Waits a moment when `wrong` says that the service is away. Any other error, and one that
    /// comes for too long, is given back. The first time `tell` gets a word for the person.
    pub(super) async fn bear(
        &mut self,
        wrong: Error,
        tell: impl FnOnce(&str),
    ) -> Result<(), Error> {
        if !is_away(&wrong) {
            return Err(wrong);
        }
        let since = *self.since.get_or_insert_with(|| {
            tell(&format!("{wrong}; waiting for the service to come back"));
            monotonic()
        });
        if since.elapsed() > AWAY_MAX {
            return Err(wrong);
        }
        tokio::time::sleep(STEP).await;
        Ok(())
    }
}

fn is_away(wrong: &Error) -> bool {
    match wrong {
        Error::Unreachable { .. } | Error::Broken { .. } => true,
        Error::Refused { status, .. } => *status == reqwest::StatusCode::SERVICE_UNAVAILABLE,
        _ => false,
    }
}
