//! `completed`: the feed of jobs that ended.

use std::time::Duration;

use clap::Args;

use super::{Global, exit::Code, output};
use crate::domain::Lsn;

/// Longest wait the service grants one request.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ledgerun completed --since 1200 --json\n  \
    ledgerun completed --follow\n\nStore the last completed_lsn and pass it as --since: each end is \
    then seen exactly once, across restarts of either side.")]
pub(super) struct CompletedCommand {
    /// List what ended after this LSN
    #[arg(long, default_value = "0", value_name = "LSN")]
    since: Lsn,
    /// Go on with what ends from now on
    #[arg(long, short)]
    follow: bool,
    /// Stop after about this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(super) async fn run(global: &Global, command: CompletedCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    let mut since = command.since;
    let mut left = command.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let wait = if command.follow { WAIT } else { Duration::ZERO };
        let page = client.completed(since, left.min(1_000), wait).await?;
        let listed = page.completed.len();
        if global.json {
            for completion in &page.completed {
                output::json(completion)?;
            }
        } else {
            let rows = page.completed.iter().map(|ended| {
                vec![
                    ended.completed_lsn.to_string(),
                    ended.lsn.to_string(),
                    ended.state.clone(),
                    ended.action.to_string(),
                ]
            });
            output::table(&["ended at", "job", "state", "action"], rows.collect())?;
        }
        since = page.next;
        left = left.saturating_sub(listed);
        if listed == 0 && !command.follow {
            break;
        }
    }
    Ok(Code::Clean)
}
