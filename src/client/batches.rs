//! Many jobs at once: submitting actions as objects, reading outputs, times from the log.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;

use super::{Client, Error, QueueRef, QueueSettings, jobs_path};
use crate::domain::{ChunkId, Lsn, Timestamp, WorkerId};
use crate::wire::cb::Object;

/// How one action of a batch was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum BatchItem {
    Accepted {
        lsn: Lsn,
    },
    Refused {
        error: String,
        /// Chunks to upload first.
        #[serde(default)]
        need: Vec<ChunkId>,
    },
}

/// Where a batch goes to.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub queue: QueueRef,
    /// None: whichever worker has the function.
    pub worker: Option<WorkerId>,
    pub priority: i32,
}

/// A job in a list, with the times that can be told of it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct JobTimes {
    pub lsn: Lsn,
    pub submitted_at: Timestamp,
    /// The record that ended it.
    #[serde(default)]
    pub completed_lsn: Option<Lsn>,
}

/// A page of the list of jobs.
#[derive(Debug, Deserialize)]
struct JobPage {
    jobs: Vec<JobTimes>,
    next: Option<Lsn>,
}

/// When a record was written.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RecordTime {
    pub lsn: Lsn,
    pub at: Timestamp,
}

/// Jobs and records of one request.
const PAGE: usize = 10_000;

impl Client {
    /// A queue for whoever asks: by number on the service's own machine, by token from elsewhere.
    pub async fn own_queue(&self, settings: &QueueSettings) -> Result<QueueRef, Error> {
        let (remote, created) = match self.create_queue(false, settings).await {
            Err(refused) if refused.code() == Some("not_loopback") => {
                (true, self.create_queue(true, settings).await?)
            }
            created => (false, created?),
        };
        let token = created.queue_token.filter(|_| remote).and_then(|token| token.parse().ok());
        Ok(token.map_or(QueueRef::Number(created.queue_id), QueueRef::Token))
    }

    /// Submits actions, byte for byte as they are, each to be run even when its result is held.
    /// One answer for each, in order.
    pub async fn submit_batch(
        &self,
        actions: &[Object],
        options: BatchOptions,
    ) -> Result<Vec<BatchItem>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            results: Vec<BatchItem>,
        }
        let batch = Object::build(|batch| {
            batch.field("actions").array(|items| {
                for action in actions {
                    items.item().embed(action);
                }
            });
        });
        let worker = options.worker.map(|worker| format!("/{worker}")).unwrap_or_default();
        let request = self
            .request(Method::POST, &format!("{}{worker}", jobs_path(Some(options.queue))))
            .query(&[("cache", "skip")])
            .query(&[("priority", options.priority)])
            .header(CONTENT_TYPE, "application/x-ue-cb")
            .body(batch.into_bytes());
        let answer: Answer = self.json(request).await?;
        if answer.results.len() != actions.len() {
            let why = format!("{} results for {} actions", answer.results.len(), actions.len());
            return Err(Error::Unreadable { host: self.base.clone(), why });
        }
        Ok(answer.results)
    }

    /// A job as an object, byte for byte as the service has its parts.
    pub async fn job_object(&self, queue: QueueRef, job: Lsn) -> Result<Object, Error> {
        let request = self
            .request(Method::GET, &format!("{}/{job}", jobs_path(Some(queue))))
            .header(ACCEPT, "application/x-ue-cb");
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|source| self.broken(source))?;
        Object::parse(bytes)
            .map_err(|wrong| Error::Unreadable { host: self.base.clone(), why: wrong.to_string() })
    }

    /// The times of all jobs of a queue.
    pub async fn job_times(&self, queue: QueueRef) -> Result<Vec<JobTimes>, Error> {
        let mut times = Vec::new();
        let mut after = Lsn::ZERO;
        loop {
            let path = format!("{}?after={after}&limit={PAGE}", jobs_path(Some(queue)));
            let page: JobPage = self.get(&path).await?;
            times.extend(page.jobs);
            match page.next {
                Some(next) => after = next,
                None => return Ok(times),
            }
        }
    }

    /// The records `from..=to`, line by line as the log route writes them. Gives the LSN to go on
    /// with; waits up to `wait` seconds for records that are not there yet.
    pub async fn log_lines<E: From<Error>>(
        &self,
        from: Lsn,
        limit: u64,
        wait: u64,
        mut each: impl FnMut(&[u8]) -> Result<Lsn, E>,
    ) -> Result<Lsn, E> {
        let path = format!("/compute/log?from={from}&limit={limit}&wait={wait}");
        let mut pieces = self.pieces(self.request(Method::GET, &path)).await?;
        let mut next = from;
        pieces
            .each_line(|line| {
                next = each(line)?.next();
                Ok::<_, E>(())
            })
            .await?;
        Ok(next)
    }

    /// When the records `from..=to` were written.
    pub async fn record_times(
        &self,
        from: Lsn,
        to: Lsn,
        mut each: impl FnMut(RecordTime),
    ) -> Result<(), Error> {
        let mut next = from;
        while next <= to {
            let limit = (to.0 - next.0 + 1).min(PAGE as u64);
            let begun = next;
            next = self
                .log_lines(begun, limit, 0, |line| {
                    let time: RecordTime = serde_json::from_slice(line).map_err(|wrong| {
                        Error::Unreadable { host: self.base.clone(), why: wrong.to_string() }
                    })?;
                    each(time);
                    Ok::<_, Error>(time.lsn)
                })
                .await?;
            if next == begun {
                break;
            }
        }
        Ok(())
    }
}
