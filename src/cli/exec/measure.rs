//! How long jobs took, by the times in the log.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::{Client, Error, QueueRef};
use crate::domain::{Lsn, Timestamp};

/// Milliseconds from submission to end: so many of a hundred took no longer.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latency {
    /// Of times in microseconds, in any order.
    fn of(mut micros: Vec<i64>) -> Option<Self> {
        micros.sort_unstable();
        let at = |percent: usize| {
            // The smallest that is not below so many of a hundred.
            let rank = (micros.len() * percent).div_ceil(100).max(1);
            micros.get(rank - 1).copied().map(millis)
        };
        Some(Self { p50: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)? })
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^52 microseconds are 142 years")]
fn millis(micros: i64) -> f64 {
    micros as f64 / 1e3
}

/// How long the jobs of a queue took that have ended. None: nothing has.
pub(super) async fn latency(client: &Client, queue: QueueRef) -> Result<Option<Latency>, Error> {
    let jobs = client.job_times(queue).await?;
    // Those that ended with their submission were never run.
    let ended = |lsn: Lsn, end: Option<Lsn>| end.filter(|end| *end > lsn.next());
    let mut ends: BTreeMap<Lsn, Timestamp> = BTreeMap::new();
    for end in jobs.iter().filter_map(|job| ended(job.lsn, job.completed_lsn)) {
        ends.insert(end, Timestamp::default());
    }
    let (Some(first), Some(last)) = (ends.keys().next().copied(), ends.keys().next_back().copied())
    else {
        return Ok(None);
    };
    let note = |time: crate::client::RecordTime| {
        if let Some(at) = ends.get_mut(&time.lsn) {
            *at = time.at;
        }
    };
    client.record_times(first, last, note).await?;
    let times = jobs.iter().filter_map(|job| {
        let end = ends.get(&ended(job.lsn, job.completed_lsn)?)?;
        Some(end.0.saturating_sub(job.submitted_at.0).max(0))
    });
    Ok(Latency::of(times.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        assert_eq!(Latency::of(vec![]), None);
        let one = Latency::of(vec![7_000]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        let many = Latency::of((1..=200).rev().map(|n| n * 1_000).collect()).unwrap();
        assert_eq!((many.p50, many.p95, many.p99, many.max), (100.0, 190.0, 198.0, 200.0));
    }
}
