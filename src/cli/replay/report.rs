//! What came of a replay, for a person.

use super::super::exit::Code;
use super::super::{Global, output};
use crate::client::{Mismatch, NewFailure, Replay, ReplaySummary};
use crate::domain::{ContentHash, Lsn};

/// Digits of a hash that are enough to tell two apart by eye.
const HASH_CHARS: usize = 12;

/// Prints it and says how the program ends: 1 when something differs.
pub(super) fn print(global: &Global, replay: &Replay) -> anyhow::Result<Code> {
    if global.json {
        output::json(replay)?;
    } else {
        let Replay { replay: id, recording, state, queue, .. } = replay;
        let counts = counts(replay);
        output::line(&format!(
            "replay {id} of recording {recording} in queue {queue} is {state}: {}/{} jobs, {counts}",
            replay.compared(),
            replay.total,
        ))?;
        if let Some(reason) = &replay.reason {
            output::line(&format!("it ended early: {reason}"))?;
        }
        differences(&replay.mismatched, &replay.failed, &replay.newly_passing)?;
    }
    // One that runs has not failed as long as nothing differs.
    let good = if replay.is_over() {
        replay.is_good()
    } else {
        replay.mismatched.is_empty() && replay.failed.is_empty()
    };
    Ok(if good { Code::Clean } else { Code::Failed })
}

/// How many jobs came out how; those that there are none of are left out, but for the good ones.
pub(super) fn counts(replay: &Replay) -> String {
    let lists = [
        (replay.mismatched_jobs(), "mismatched"),
        (replay.failed.len() as u64, "failed"),
        (replay.newly_passing.len() as u64, "newly passing"),
    ];
    let lists = lists.into_iter().filter(|(count, _)| *count > 0);
    let lists = lists.map(|(count, word)| format!(", {count} {word}"));
    format!("{} matched", replay.matched) + &lists.collect::<String>()
}

/// Tables of what differs; nothing where nothing does.
pub(in super::super) fn differences(
    mismatched: &[Mismatch],
    failed: &[NewFailure],
    newly_passing: &[Lsn],
) -> anyhow::Result<()> {
    let rows = mismatched.iter().map(|found| {
        let value = found.value.as_deref().filter(|value| !value.is_empty());
        vec![
            found.lsn.to_string(),
            value.unwrap_or("(the output object)").to_owned(),
            hash(found.recorded),
            hash(found.replayed),
        ]
    });
    output::table(&["mismatched job", "value", "recorded", "replayed"], rows.collect())?;
    let rows = failed.iter().map(|found| vec![found.lsn.to_string(), one_line(&found.error)]);
    output::table(&["newly failed job", "error"], rows.collect())?;
    let rows = newly_passing.iter().map(|job| vec![job.to_string(), "newly passing".to_owned()]);
    output::table(&["newly passing job", ""], rows.collect())
}

/// Short on a terminal, whole for a program.
fn hash(hash: Option<ContentHash>) -> String {
    match hash.map(|hash| hash.to_string()) {
        None => "(absent)".to_owned(),
        Some(hash) if output::is_terminal() => hash.chars().take(HASH_CHARS).collect(),
        Some(hash) => hash,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn print_list(global: &Global, replays: &[ReplaySummary]) -> anyhow::Result<()> {
    if global.json {
        return replays.iter().try_for_each(output::json);
    }
    if replays.is_empty() {
        output::say("no replays yet; `ledgerun replay start` begins one");
    }
    let rows = replays.iter().map(|replay| {
        vec![
            replay.replay.to_string(),
            replay.recording.to_string(),
            replay.queue.to_string(),
            replay.state.clone(),
            replay.total.to_string(),
            replay.matched.to_string(),
            replay.mismatched_count.to_string(),
            replay.failed_count.to_string(),
            replay.newly_passing_count.to_string(),
        ]
    });
    let head = [
        "replay",
        "recording",
        "queue",
        "state",
        "jobs",
        "matched",
        "mismatched",
        "failed",
        "newly passing",
    ];
    output::table(&head, rows.collect())
}
