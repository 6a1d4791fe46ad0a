//! `replay`: running recordings again, and what came of it.

mod plan;
mod report;

use std::time::Duration;

use clap::{Args, Subcommand};

pub(super) use self::plan::{Selection, Tempo};
pub(super) use self::report::differences;
use super::away::Away;
use super::exit::Code;
use super::record::advised;
use super::{Global, output, progress};
use crate::client::{Client, Replay};
use crate::domain::Lsn;

/// Between two looks at a replay that is waited for: soon at first, for short ones.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_millis(500);

#[derive(Subcommand, Debug)]
pub(super) enum ReplayCommand {
    /// Run the jobs of a recording again and compare their results
    Start(StartCommand),
    /// Show what came of a replay so far; exit 1 when something differs
    #[command(after_help = "Examples:\n  ledgerun replay show 40\n  \
        ledgerun replay show 40 --json | jq '.mismatched[].lsn'")]
    Show(Which),
    /// List replays, oldest first
    #[command(after_help = "Examples:\n  ledgerun replay list\n  \
        ledgerun replay list --json | jq 'select(.state == \"running\") | .replay'")]
    List,
    /// Wait until a replay is done; exit 1 when something differs
    #[command(after_help = "A service that restarts meanwhile is waited for.\n\n\
        Examples:\n  ledgerun replay wait 40\n  ledgerun replay wait 40 --json | jq .matched")]
    Wait(Which),
    /// End a replay; its jobs that have not ended are cancelled
    #[command(after_help = "Examples:\n  ledgerun replay cancel 40\n  \
        ledgerun replay cancel 40 --json | jq .matched")]
    Cancel(Which),
}

#[derive(Args, Debug)]
#[command(after_help = "With --wait it ends as `replay wait` does.\n\nExamples:\n  \
    ledgerun replay start 12 --wait\n  ledgerun replay start 12 --only Exec --worker OLD=NEW --speed 2")]
pub(super) struct StartCommand {
    /// The recording, as `record list` prints it
    #[arg(value_name = "ID")]
    recording: Lsn,
    #[command(flatten)]
    tempo: Tempo,
    #[command(flatten)]
    selection: Selection,
    /// Wait until it is done, and report
    #[arg(long)]
    wait: bool,
}

#[derive(Args, Debug)]
pub(super) struct Which {
    /// The replay, as `replay list` prints it
    #[arg(value_name = "ID")]
    replay: Lsn,
}

pub(super) async fn run(global: &Global, command: ReplayCommand) -> anyhow::Result<Code> {
    let client = global.client()?;
    match command {
        ReplayCommand::Start(start) => {
            let plan = start.selection.plan(start.tempo);
            let started = client.start_replay(start.recording, &plan).await.map_err(advised)?;
            if start.wait {
                let replay = wait(global, &client, started.replay).await?;
                return report::print(global, &replay);
            }
            if global.json {
                output::json(&started)?;
            } else {
                output::line(&started.replay.to_string())?;
            }
            Ok(Code::Clean)
        }
        ReplayCommand::Show(which) => {
            let replay = client.replay(which.replay).await.map_err(advised)?;
            report::print(global, &replay)
        }
        ReplayCommand::List => {
            report::print_list(global, &client.replays().await?.replays)?;
            Ok(Code::Clean)
        }
        ReplayCommand::Wait(which) => {
            let replay = wait(global, &client, which.replay).await?;
            report::print(global, &replay)
        }
        ReplayCommand::Cancel(which) => {
            let replay = client.cancel_replay(which.replay).await.map_err(advised)?;
            if global.json {
                output::json(&replay)?;
            }
            Ok(Code::Clean)
        }
    }
}

/// Looks at a replay until it is done, with a bar for whoever watches.
pub(super) async fn wait(global: &Global, client: &Client, replay: Lsn) -> anyhow::Result<Replay> {
    let bar = progress::count(global, 0);
    let mut away = Away::default();
    let mut step = LOOK_FIRST;
    let mut compared = None;
    loop {
        match client.replay(replay).await {
            Ok(found) => {
                away.back();
                bar.set_length(found.total);
                bar.set_position(found.compared());
                if compared.is_none() {
                    // The rate is that of what happens from here on.
                    bar.reset_eta();
                }
                bar.set_message(report::counts(&found));
                if found.is_over() {
                    bar.finish_and_clear();
                    return Ok(found);
                }
                let moved = compared.replace(found.compared()) != Some(found.compared());
                step = if moved { LOOK_FIRST } else { (step * 2).min(LOOK_LAST) };
                tokio::time::sleep(step).await;
            }
            Err(wrong) => {
                let born = away.bear(wrong, |text| bar.suspend(|| output::complain(text)));
                born.await.map_err(advised)?;
            }
        }
    }
}
