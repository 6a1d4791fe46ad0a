//! The routes of queues.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Client, Completed, Error};
use crate::domain::{Lsn, QueueId, QueueToken};

/// How a client names a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueRef {
    /// By its number, on the service's own machine.
    Number(QueueId),
    /// By its token, from anywhere.
    Token(QueueToken),
}

/// A text names no queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a queue is named by its number, or by a token of 24 hex digits")]
pub struct NoQueueRef;

impl FromStr for QueueRef {
    type Err = NoQueueRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map(Self::Number).ok();
        number.or_else(|| text.parse().map(Self::Token).ok()).ok_or(NoQueueRef)
    }
}

/// What a person may read: the number, never the token.
impl fmt::Display for QueueRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "queue {number}"),
            Self::Token(_) => f.write_str("the token's queue"),
        }
    }
}

impl QueueRef {
    /// The path of the queue itself.
    pub(super) fn path(self) -> String {
        match self {
            Self::Number(number) => format!("/compute/queues/{number}"),
            Self::Token(token) => format!("/compute/queues/{}", token.reveal()),
        }
    }
}

/// The path of the jobs of a queue, or of all jobs.
pub fn jobs_path(queue: Option<QueueRef>) -> String {
    queue.map_or_else(|| "/compute/jobs".to_owned(), |queue| format!("{}/jobs", queue.path()))
}

/// What a new queue is to be like. What is absent has the service's default.
#[derive(Clone, Debug, Default, Serialize)]
pub struct QueueSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Below zero: the service's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i64>,
    /// An object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Zero: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_after_idle_s: Option<u64>,
    /// Zero: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
}

/// A queue that was just made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CreatedQueue {
    pub queue_id: QueueId,
    /// Only of a queue made for the network. Nobody can ask for it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_token: Option<String>,
}

/// A queue, its counters and its settings.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Queue {
    pub queue_id: QueueId,
    pub state: String,
    pub active_count: u64,
    pub completed_count: u64,
    pub failed_count: u64,
    pub abandoned_count: u64,
    pub cancelled_count: u64,
    pub queued_count: u64,
    pub running_count: u64,
    pub is_complete: bool,
    pub name: Option<String>,
    pub metadata: Option<Value>,
    pub max_retries: u32,
    pub expire_after_idle_s: serde_json::Number,
    pub max_running: Option<u32>,
    pub remote: bool,
    pub created_at: String,
}

impl Queue {
    /// Jobs that have ended, in whichever way.
    pub const fn ended(&self) -> u64 {
        self.completed_count + self.failed_count + self.abandoned_count + self.cancelled_count
    }
}

/// A page of the list of queues.
#[derive(Clone, Debug, Deserialize)]
pub struct Queues {
    pub queues: Vec<Queue>,
    /// What comes before the next page; none at the end.
    pub next: Option<QueueId>,
}

impl Client {
    /// Makes a queue; `remote`: one with a token.
    pub async fn create_queue(
        &self,
        remote: bool,
        settings: &QueueSettings,
    ) -> Result<CreatedQueue, Error> {
        let path = if remote { "/compute/queues/remote" } else { "/compute/queues" };
        self.json(self.request(Method::POST, path).json(settings)).await
    }

    /// A queue as it is now.
    pub async fn queue(&self, queue: QueueRef) -> Result<Queue, Error> {
        self.get(&queue.path()).await
    }

    /// Queues in the order they were made.
    pub async fn queues(&self, after: Option<QueueId>, limit: usize) -> Result<Queues, Error> {
        let after = after.map_or(0, QueueId::get);
        self.get(&format!("/compute/queues?after={after}&limit={limit}")).await
    }

    /// Lets a queue take no new job.
    pub async fn drain_queue(&self, queue: QueueRef) -> Result<Queue, Error> {
        self.json(self.request(Method::POST, &format!("{}/drain", queue.path()))).await
    }

    /// Cancels a queue with every job in it that has not ended.
    pub async fn cancel_queue(&self, queue: QueueRef) -> Result<Queue, Error> {
        self.json(self.request(Method::DELETE, &queue.path())).await
    }

    /// The completed feed of a queue, or of all jobs, after `since`; waits up to `wait` for
    /// something to list.
    pub async fn completed_in(
        &self,
        queue: Option<QueueRef>,
        since: Lsn,
        limit: usize,
        wait: Duration,
    ) -> Result<Completed, Error> {
        let above = queue.map_or_else(|| "/compute/jobs".to_owned(), QueueRef::path);
        let wait = wait.as_secs();
        self.get(&format!("{above}/completed?since={since}&limit={limit}&wait={wait}")).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_named_by_number_or_token() {
        let path = |text: &str| text.parse().map(QueueRef::path);
        assert_eq!(path("7"), Ok("/compute/queues/7".into()));
        // Also a token of digits alone.
        for token in ["0123456789abcdef01234567", "012345678901234567890123"] {
            assert_eq!(path(token), Ok(format!("/compute/queues/{token}")));
            let queue: QueueRef = token.parse().unwrap();
            assert!(!format!("{queue} {queue:?}").contains(token));
            assert_eq!(jobs_path(Some(queue)), format!("/compute/queues/{token}/jobs"));
        }
        for wrong in ["", "0", "-1", "4294967296", "0123456789abcdef0123456", "x/../jobs"] {
            assert_eq!(path(wrong), Err(NoQueueRef), "{wrong}");
        }
    }
}
