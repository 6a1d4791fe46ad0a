//! Answers that come in lines: how far it is, and at last a report or why there is none.

use anyhow::Context as _;
use indicatif::ProgressBar;
use reqwest::RequestBuilder;
use serde_json::Value;

use super::super::{Global, progress};
use crate::client::Client;

/// A bar for the step that is under way.
pub(in super::super) struct Bar<'a> {
    global: &'a Global,
    /// What is counted in a phase.
    words: fn(&str) -> &'static str,
    phase: Option<Value>,
    shown: ProgressBar,
}

impl<'a> Bar<'a> {
    pub(in super::super) fn new(global: &'a Global, words: fn(&str) -> &'static str) -> Self {
        Self { global, words, phase: None, shown: ProgressBar::hidden() }
    }

    pub(in super::super) fn show(&mut self, told: &Value) {
        let phase = told.get("phase").cloned();
        let number = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or_default();
        if self.phase != phase {
            self.shown.finish_and_clear();
            self.shown = progress::count(self.global, number("total"));
            let name = phase.as_ref().and_then(Value::as_str).unwrap_or_default();
            self.shown.set_message((self.words)(name));
            self.phase = phase;
        }
        self.shown.set_length(number("total"));
        self.shown.set_position(number("done"));
    }

    pub(in super::super) fn end(&self) {
        self.shown.finish_and_clear();
    }
}

/// What came at last.
pub(super) enum Outcome {
    Report(Value),
    Failed(String),
    /// Neither: the service stopped before.
    Broken,
}

/// Shows the lines of an answer as they come.
pub(super) async fn follow(
    client: &Client,
    request: RequestBuilder,
    mut bar: Bar<'_>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Broken;
    let mut lines = client.pieces(request).await?;
    lines
        .each_line(|line| {
            let told: Value = serde_json::from_slice(line).context("an answer is not JSON")?;
            if let Some(progress) = told.get("progress") {
                bar.show(progress);
            }
            if let Some(error) = told.get("error") {
                outcome = Outcome::Failed(error.as_str().unwrap_or_default().to_owned());
            }
            if let Some(report) = told.get("report") {
                outcome = Outcome::Report(report.clone());
            }
            anyhow::Ok(())
        })
        .await?;
    bar.end();
    Ok(outcome)
}
