//! What came of it.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::super::exit::Code;
use super::super::replay::differences;
use super::super::{Global, output};
use super::measure::Latency;
use crate::client::{Mismatch, NewFailure, Replay, count_jobs};
use crate::domain::Lsn;

/// Everything that is told at the end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Nothing differs, nothing failed that had not.
    pub(super) good: bool,
    /// The replay, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recording: Option<Lsn>,
    pub(super) total: u64,
    pub(super) matched: u64,
    pub(super) mismatched: Vec<Mismatch>,
    pub(super) failed: Vec<NewFailure>,
    pub(super) newly_passing: Vec<Lsn>,
    /// Completed jobs that came without a result to compare with.
    pub(super) uncompared: u64,
    /// Why it ended before all had run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) elapsed_ms: f64,
    pub(super) jobs_per_s: f64,
    /// From submission to end; none when nothing ran.
    pub(super) latency_ms: Option<Latency>,
}

impl Summary {
    pub(super) fn of_replay(replay: Replay, elapsed: Duration, latency: Option<Latency>) -> Self {
        let good = replay.is_good();
        let jobs = replay.compared();
        Self {
            good,
            replay: Some(replay.replay),
            recording: Some(replay.recording),
            total: replay.total,
            matched: replay.matched,
            mismatched: replay.mismatched,
            failed: replay.failed,
            newly_passing: replay.newly_passing,
            uncompared: 0,
            reason: replay.reason,
            elapsed_ms: elapsed.as_secs_f64() * 1e3,
            jobs_per_s: rate(jobs, elapsed),
            latency_ms: latency,
        }
    }

    /// Prints it and says how the program ends.
    pub(super) fn print(&self, global: &Global) -> anyhow::Result<Code> {
        if global.json {
            output::json(self)?;
        } else {
            self.table()?;
            if let Some(reason) = &self.reason {
                output::line(&format!("it ended early: {reason}"))?;
            }
            differences(&self.mismatched, &self.failed, &self.newly_passing)?;
        }
        Ok(if self.good { Code::Clean } else { Code::Failed })
    }

    fn table(&self) -> anyhow::Result<()> {
        let mut rows = vec![
            ("jobs", self.total.to_string()),
            ("matched", self.matched.to_string()),
            ("mismatched", count_jobs(&self.mismatched).to_string()),
            ("failed", self.failed.len().to_string()),
            ("newly passing", self.newly_passing.len().to_string()),
        ];
        if self.uncompared > 0 {
            rows.push(("without a result to compare", self.uncompared.to_string()));
        }
        rows.push(("elapsed", format!("{:.3} s", self.elapsed_ms / 1e3)));
        rows.push(("rate", format!("{:.1} jobs/s", self.jobs_per_s)));
        if let Some(Latency { p50, p95, p99, max }) = self.latency_ms {
            for (label, value) in
                [("latency p50", p50), ("latency p95", p95), ("latency p99", p99), ("longest", max)]
            {
                rows.push((label, format!("{value:.1} ms")));
            }
        }
        let rows = rows.into_iter().map(|(label, value)| vec![label.to_owned(), value]).collect();
        output::table(&[], rows)
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody runs 2^52 jobs")]
pub(super) fn rate(jobs: u64, elapsed: Duration) -> f64 {
    jobs as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// The archive that a recording was imported from, by what its record says.
pub(super) fn skeleton_of(record: &Value) -> Option<&str> {
    record.pointer("/event/recording_imported/archive/skeleton").and_then(Value::as_str)
}
