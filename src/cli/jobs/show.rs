//! One job for a person.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::log;
use super::super::output::{self, seconds, text};

/// Prints a job's JSON as text: its fields, its attempts, its result, and all that happened to it.
pub(super) fn print(job: &Value) -> anyhow::Result<()> {
    let mut lines = fields(job);
    lines.extend(attempts(job));
    lines.extend(result(job));
    lines.push("history".to_owned());
    lines.extend(list(job, "events").map(log::describe));
    output::line(&lines.join("\n"))
}

fn fields(job: &Value) -> Vec<String> {
    let cached = job.get("cached").and_then(Value::as_bool) == Some(true);
    let state = text(job, "state") + if cached { " (cached)" } else { "" };
    let mut lines = vec![format!("job {}  {state}", text(job, "lsn"))];
    for (label, key) in [
        ("function", "function"),
        ("action", "action"),
        ("worker", "worker"),
        ("queue", "queue"),
        ("priority", "priority"),
        ("retries", "retry_count"),
        ("submitted", "submitted_at"),
        ("ended", "ended_at"),
        ("error", "error"),
    ] {
        if job.get(key).is_some_and(|value| !value.is_null()) {
            lines.push(format!("  {label:<10} {}", seconds(job, key)));
        }
    }
    lines
}

fn attempts(job: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for attempt in list(job, "attempts") {
        let mut line =
            format!("attempt {} on {}: ", text(attempt, "attempt"), text(attempt, "runner"));
        match attempt.get("outcome").and_then(Value::as_str) {
            Some(outcome) => line.push_str(outcome),
            None => line.push_str("under way"),
        }
        for (label, key, unit) in [
            ("exit code", "exit_code", ""),
            ("signal", "signal", ""),
            ("CPU", "cpu_ms", " ms"),
            ("memory", "peak_rss_bytes", " bytes"),
        ] {
            if let Some(value) = attempt.get(key).filter(|value| !value.is_null()) {
                let shown = match value.as_u64() {
                    Some(bytes) if key == "peak_rss_bytes" => bytesize::ByteSize(bytes).to_string(),
                    _ => format!("{value}{unit}"),
                };
                let _ = write!(line, ", {label} {shown}");
            }
        }
        lines.push(line);
        if attempt.get("reason").is_some() {
            lines.push(format!("  {}", text(attempt, "reason")));
        }
        if attempt.get("retry_at").is_some() {
            lines.push(format!("  tried again at {}", seconds(attempt, "retry_at")));
        }
        if let Some(stderr) = attempt.get("stderr").and_then(Value::as_str) {
            lines.extend(stderr.lines().map(|line| format!("  | {line}")));
        }
    }
    lines
}

fn result(job: &Value) -> Vec<String> {
    let Some(result) = job.get("result") else { return Vec::new() };
    let mut lines = vec!["result".to_owned()];
    for message in list(result, "Messages") {
        let level = text(message, "Level").to_lowercase();
        lines.push(format!("  {level}: {}", text(message, "Message")));
    }
    let names = result.pointer("/Meta/Values");
    for value in list(result, "Values") {
        let id = text(value, "Id");
        let name = names.and_then(|names| names.get(&id)).and_then(Value::as_str);
        let name = name.map_or_else(|| id.clone(), str::to_owned);
        let size = text(value, "RawSize");
        lines.push(format!("  {}  {size:>10} bytes  {name}", text(value, "RawHash")));
    }
    for (key, value) in result.get("Meta").and_then(Value::as_object).into_iter().flatten() {
        if key != "Values" {
            lines.push(format!("  {key}: {value}"));
        }
    }
    lines
}

fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_is_known_is_shown() {
        let job = json!({
            "lsn": 7, "state": "completed", "function": "Exec", "queue": null, "retry_count": 1,
            "submitted_at": "2026-11-25T17:26:22.444155Z",
            "attempts": [
                { "attempt": 1, "runner": "local", "outcome": "exited", "exit_code": 1,
                  "reason": "exited with code 1", "stderr": "one\ntwo\n",
                  "retry_at": "2026-11-25T17:26:22.6Z" },
                { "attempt": 2, "runner": "local", "outcome": "completed", "exit_code": 0,
                  "cpu_ms": 5, "peak_rss_bytes": 15_925_248 },
                { "attempt": 3, "runner": "local", "outcome": null },
            ],
            "result": {
                "Values": [{ "Id": "b99f938e6f467fc88c69a866", "RawHash": "af13", "RawSize": 12 },
                           { "Id": "c71233f014720099b0408d92", "RawHash": "bf13", "RawSize": 3 }],
                "Messages": [{ "Level": "Warning", "Message": "careful" }],
                "Meta": { "ExitCode": 0, "Values": { "b99f938e6f467fc88c69a866": "stdout" } },
            },
        });
        let mut lines = fields(&job);
        lines.extend(attempts(&job));
        lines.extend(result(&job));
        insta::assert_snapshot!(lines.join("\n"));
    }
}
