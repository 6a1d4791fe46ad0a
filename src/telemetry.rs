//! What the program tells about itself while it runs: `tracing` to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LOG_DEFAULT, LogArgs, LogFormat};

/// Starts logging to stderr. The filter is a `tracing` directive such as `info` or
/// `ledgerun::engine=debug`; sled's own chatter is kept down unless named.
///
/// A second call changes nothing.
pub fn start(args: &LogArgs) -> Result<(), String> {
    let filter = args.log.as_deref().unwrap_or(LOG_DEFAULT);
    let filter = EnvFilter::try_new(format!("sled=error,{filter}"))
        .map_err(|wrong| format!("cannot read log filter {filter:?}: {wrong}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A subscriber set by an earlier call stays; tests start several services in one process.
    let _ = match args.log_format.unwrap_or_default() {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}
