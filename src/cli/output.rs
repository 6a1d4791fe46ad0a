//! What the program prints. The only code that writes to stdout and stderr by itself.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::client::Pieces;

/// Whoever read stdout has gone away and seen enough: the program ends, and not as a failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads stdout any more")]
pub(super) struct ReaderGone;

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    told(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Writes an answer to stdout as it comes.
pub(super) async fn stdout(pieces: &mut Pieces) -> anyhow::Result<()> {
    while let Some(piece) = pieces.next().await? {
        let mut out = io::stdout().lock();
        told(out.write_all(&piece).and_then(|()| out.flush()))?;
    }
    Ok(())
}

/// Writes an answer to stderr as it comes.
pub(super) async fn stderr(pieces: &mut Pieces) -> anyhow::Result<()> {
    while let Some(piece) = pieces.next().await? {
        // Nothing to do about it, and nobody to tell.
        let _ = io::stderr().write_all(&piece);
    }
    Ok(())
}

/// Writes one line of JSON to stdout.
pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Tells the person something, on stderr.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Tells the person what went wrong, on stderr.
pub(super) fn complain(text: &str) {
    say(&format!("ledgerun: {text}"));
}

/// A field of an answer for a person.
pub(super) fn text(object: &Value, key: &str) -> String {
    match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// A field that holds a time, to the second; scripts get it whole.
pub(super) fn seconds(object: &Value, key: &str) -> String {
    let text = text(object, key);
    match text.split_once('.') {
        Some((whole, _)) if text.ends_with('Z') => format!("{whole}Z"),
        _ => text,
    }
}

/// Whether a person sees stdout.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints rows: a table on a terminal, tab-separated columns for a pipe. No rows, no table.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    if !is_terminal() {
        let text: Vec<String> = rows.into_iter().map(|row| row.join("\t")).collect();
        return line(&text.join("\n"));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !head.is_empty() {
        table.set_header(head.iter().map(|word| word.to_uppercase()));
    }
    table.add_rows(rows);
    // The first column starts where the line does.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(&table.trim_fmt())
}

fn told(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(wrong) if wrong.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => Ok(other?),
    }
}
