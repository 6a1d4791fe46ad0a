//! Answers that come in lines: how far it is, and at last a report or why there is none.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

/// Between two lines about how far it is.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(200);

/// Lines that wait for the client.
pub(super) const LINES_WAITING: usize = 4;

/// One line of the answer.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a, P, R> {
    Progress(P),
    Report(&'a R),
    /// It was not done.
    Error(String),
}

impl<P: Serialize, R: Serialize> Line<'_, P, R> {
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        text.into()
    }
}
