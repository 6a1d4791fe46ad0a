//! What the program prints. The only code that writes to stdout and stderr by itself.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Writes a line to stdout. A reader that has gone away is not an error: it has seen enough.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    forgive(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Writes raw bytes to stdout.
pub(super) fn bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    forgive(out.write_all(data).and_then(|()| out.flush()))
}

/// Writes raw bytes to stderr.
pub(super) fn error_bytes(data: &[u8]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    err.write_all(data).and_then(|()| err.flush())
}

/// Writes one line of JSON to stdout.
pub(super) fn json<T: Serialize>(value: &T) -> io::Result<()> {
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

/// Prints rows: a table on a terminal, tab-separated columns for a pipe.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        let text: Vec<String> = rows.into_iter().map(|row| row.join("\t")).collect();
        return if text.is_empty() { Ok(()) } else { line(&text.join("\n")) };
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.iter().map(|word| word.to_uppercase()));
    table.add_rows(rows);
    line(&table.trim_fmt())
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(wrong) if wrong.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
