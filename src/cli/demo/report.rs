//! What the demo found out, in words and figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Global, output};
use crate::client::Client;
use crate::domain::Lsn;

/// Figures and verdicts of one demo.
#[derive(Default)]
pub(super) struct Report {
    pub(super) submitting: Duration,
    /// Jobs and time before the crash, and after it.
    pub(super) first_half: (usize, Duration),
    pub(super) second_half: (usize, Duration),
    pub(super) recovery: Duration,
    /// Acknowledged jobs that the restarted service knew.
    pub(super) known_after_restart: usize,
    pub(super) verdict: Verdict,
}

/// Acknowledged against completed.
#[derive(Default)]
pub(super) struct Verdict {
    acknowledged: usize,
    completed: usize,
    failed: usize,
    /// Acknowledged jobs that the feed never listed.
    lost: usize,
    /// Jobs listed more than once.
    repeated: usize,
}

impl Verdict {
    pub(super) fn of(acknowledged: &[Lsn], seen: &BTreeMap<Lsn, String>, repeated: usize) -> Self {
        let states = || acknowledged.iter().map(|lsn| seen.get(lsn).map(String::as_str));
        let completed = states().filter(|state| *state == Some("completed")).count();
        let lost = states().filter(Option::is_none).count();
        let failed = acknowledged.len() - completed - lost;
        Self { acknowledged: acknowledged.len(), completed, failed, lost, repeated }
    }
}

impl Report {
    /// Whether the service kept its promise.
    pub(super) fn is_good(&self) -> bool {
        let Verdict { acknowledged, completed, failed, lost, repeated } = self.verdict;
        completed == acknowledged
            && failed + lost + repeated == 0
            && self.known_after_restart == acknowledged
    }

    pub(super) async fn print(
        &self,
        global: &Global,
        client: &Client,
        kept: Option<&Path>,
    ) -> anyhow::Result<()> {
        let Verdict { acknowledged, completed, failed, lost, repeated } = self.verdict;
        let lines = client.get::<Value>("/compute/sysinfo").await?;
        let last_lsn = lines.pointer("/log/last_lsn").and_then(Value::as_u64).unwrap_or_default();
        if global.json {
            output::json(&json!({
                "good": self.is_good(),
                "acknowledged": acknowledged,
                "known_after_restart": self.known_after_restart,
                "completed": completed,
                "failed": failed,
                "lost": lost,
                "repeated": repeated,
                "submitted_per_s": rate(acknowledged, self.submitting),
                "compiled_per_s_before": rate(self.first_half.0, self.first_half.1),
                "compiled_per_s_after": rate(self.second_half.0, self.second_half.1),
                "recovery_ms": self.recovery.as_secs_f64() * 1e3,
                "last_lsn": last_lsn,
            }))?;
            return Ok(());
        }
        let verdict = if self.is_good() { "nothing was lost" } else { "THE PROMISE WAS BROKEN" };
        output::line(&format!(
            "\n{verdict}\n\
             \x20 acknowledged before the crash   {acknowledged}\n\
             \x20 known to the restarted service  {}\n\
             \x20 completed exactly once          {completed}\n\
             \x20 failed / lost / listed twice    {failed} / {lost} / {repeated}\n\
             \x20 ready again after the crash     {:.2?}\n\
             \x20 submitted durably               {:.0}/s over {} connections\n\
             \x20 compiled before / after         {:.0}/s / {:.0}/s, in a process each\n\
             \x20 records in the log              {last_lsn}",
            self.known_after_restart,
            self.recovery,
            rate(acknowledged, self.submitting),
            super::SUBMITTERS,
            rate(self.first_half.0, self.first_half.1),
            rate(self.second_half.0, self.second_half.1),
        ))?;
        let dir = kept.map_or_else(|| "./data".to_owned(), |dir| dir.display().to_string());
        output::line(&format!(
            "\nWhere to look next:\n\
             \x20 ledgerun serve --data-dir {dir}\n\
             \x20 ledgerun log dump --from 1 --to 20     what happened, record by record\n\
             \x20 ledgerun jobs list                     every job and where it is\n\
             \x20 ledgerun completed --since 0           each end exactly once\n\
             \x20 ledgerun run -- wc -l README.md        any command line as an action\n\
             \x20 docs/http.md                           the same with curl"
        ))?;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a demo are far below 2^52")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}
