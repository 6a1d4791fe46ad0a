//! What the program tells about itself while it runs: `tracing` to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// A line for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. `filter` is a `tracing` directive such as `info` or
/// `ledgerun::engine=debug`; sled's own chatter is kept down unless named.
///
/// A second call changes nothing.
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("sled=error,{filter}"))
        .map_err(|wrong| format!("cannot read log filter {filter:?}: {wrong}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A subscriber set by an earlier call stays; tests start several services in one process.
    let _ = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().try_init(),
    };
    Ok(())
}
