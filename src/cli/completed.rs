//! `completed`: the feed of jobs that ended.

use std::time::Duration;

use clap::Args;

use super::queue::InQueue;
use super::{Global, exit::Code, output};
use crate::domain::Lsn;

/// Longest wait the service grants one request.
const WAIT: Duration = Duration::from_mins(1);

const HEAD: [&str; 4] = ["ended at", "job", "state", "action"];

#[derive(Args, Debug)]
#[command(
    after_help = "Store the last completed_lsn and pass it as --since: each end is then seen \
    exactly once, across restarts of either side.\n\nExamples:\n  \
    ledgerun completed --since 1200 --json\n  ledgerun completed --follow"
)]
pub(super) struct CompletedCommand {
    /// List what ended after this LSN
    #[arg(long, default_value = "0", value_name = "LSN")]
    since: Lsn,
    /// Go on with what ends from now on
    #[arg(long, short)]
    follow: bool,
    /// Stop after about this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    within: InQueue,
    /// As it was when this LSN was the newest
    #[arg(long, value_name = "LSN", conflicts_with = "follow")]
    at: Option<Lsn>,
}

pub(super) async fn run(global: &Global, command: CompletedCommand) -> anyhow::Result<Code> {
    let client = global.client()?.at(command.at);
    let queue = command.within.queue;
    let mut since = command.since;
    let mut headed = false;
    let mut left =
        command.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    while left > 0 {
        let wait = if command.follow { WAIT } else { Duration::ZERO };
        let page = client.completed_in(queue, since, left.min(1_000), wait).await?;
        let listed = page.completed.len();
        if global.json {
            for completion in &page.completed {
                output::json(completion)?;
            }
        } else {
            // On a terminal of fixed width, so that later pages fit under the first one's head.
            let wide = if output::is_terminal() { 8 } else { 0 };
            let rows = page.completed.iter().map(|ended| {
                vec![
                    format!("{:>wide$}", ended.completed_lsn.0),
                    format!("{:>wide$}", ended.lsn.0),
                    format!("{:<wide$}", ended.state),
                    ended.action.to_string(),
                ]
            });
            let head: &[&str] = if headed { &[] } else { &HEAD };
            output::table(head, rows.collect())?;
            headed |= listed > 0;
        }
        since = page.next;
        left = left.saturating_sub(listed);
        if listed == 0 && !command.follow {
            break;
        }
        if listed == 0 {
            // The service waits before it says so, except while it stops.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    Ok(Code::Clean)
}
