//! Looking back gives what was there.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ledgerun::domain::{ContentHash, JobState, Lsn, Record};
use ledgerun::engine::{Past, PastError, PastOptions};
use ledgerun::eventlog::{EventLog as _, MemoryLog};
use ledgerun::views::{Filter, LAYOUT, Published};
use proptest::sample::Index;

use crate::history::{ACTIONS, COMPLETED, FAILED, Settings, Step, WORKERS, action_id, worker_id};
use crate::{histories, run};

/// What somebody who asked everything was told.
pub(crate) fn answers(state: &Published) -> (ContentHash, String) {
    let mut text = format!("{}\n", state.views);
    let mut add = |answer: &dyn std::fmt::Debug| writeln!(text, "{answer:?}").unwrap();
    let states = [None].into_iter().chain(JobState::ALL.map(Some));
    for state_wanted in states {
        add(&state.jobs(&Filter { state: state_wanted, ..Filter::default() }, 1_000));
    }
    for row in state.views.queues(None) {
        add(&state.queue_counts(row.queue));
        add(&state.ended(Some(row.queue), Lsn::ZERO, 1_000));
        let filter = Filter { queue: Some(row.queue), ..Filter::default() };
        add(&state.jobs(&filter, 1_000));
        add(&row);
    }
    add(&state.ended(None, Lsn::ZERO, 1_000));
    add(&state.workers().collect::<Vec<_>>());
    for worker in (0..WORKERS).map(worker_id) {
        add(&state.open_jobs(worker, Lsn::ZERO).collect::<Vec<_>>());
        let newest = (0..ACTIONS).map(|action| state.newest(worker, action_id(action)));
        add(&newest.collect::<Vec<_>>());
    }
    (state.digest(), text)
}

/// All states of a history, from the empty one on.
pub(crate) fn states(log: &[Record]) -> Vec<Published> {
    let mut state = Published::default();
    let mut states = vec![state.clone()];
    for record in log {
        state.apply(record).unwrap();
        states.push(state.clone());
    }
    states
}

/// A state that was written down and read back is the same, and goes on as the same.
#[test]
fn a_state_survives_being_written_down() {
    histories(600, |steps, index| {
        let log = run(steps).log;
        let states = states(&log);
        let at = index.index(states.len());
        let bytes = rmp_serde::to_vec(&states[at]).unwrap();
        let mut read: Published = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(answers(&read), answers(&states[at]));
        for record in &log[at..] {
            read.apply(record).unwrap();
        }
        assert_eq!(answers(&read), answers(states.last().unwrap()));
        crate::check::conservation(&read);
    });
}

/// Which of what can be kept is kept.
#[derive(Clone, Copy)]
struct Kept {
    trail: bool,
    disk: bool,
    recent: bool,
}

fn open(log: &[Record], dir: &Path, kept: Kept, every: u64) -> Past {
    let options = PastOptions {
        dir: kept.disk.then(|| dir.to_owned()),
        checkpoint_every: 4 * every,
        trail_every: every,
        recent_max: if kept.recent { 4 } else { 1 },
        recent_rows_max: if kept.recent { 200 } else { 0 },
        ..PastOptions::default()
    };
    Past::open(options, MemoryLog::holding(log.to_vec()).reader())
}

/// Whatever is kept, in whatever order it is asked, while the log grows and after a restart.
fn looking_back_equals_live(kept: Kept, steps: &[Step], index: Index) {
    let log = run(steps).log;
    let states = states(&log);
    let told: Vec<_> = states.iter().map(answers).collect();
    let (every, stride) = (1 + index.index(7) as u64, 1 + index.index(11));
    let newest = Lsn(log.len() as u64);
    let dir = tempfile::tempdir().unwrap();
    let past = open(&log, dir.path(), kept, every);
    let ask = |past: &Past, at: usize, newest: Lsn| {
        let state = past.at(Lsn(at as u64), newest).unwrap();
        assert_eq!(answers(&state), told[at], "at {at} of {newest}");
    };
    for (at, state) in states.iter().enumerate() {
        let lsn = state.lsn();
        if kept.trail && past.is_due(lsn) {
            past.follow(&Arc::new(state.clone()));
        }
        past.write_checkpoint(state);
        ask(&past, at, lsn);
        ask(&past, at * stride % (at + 1), lsn);
        assert!(matches!(past.at(lsn.next(), lsn), Err(PastError::Ahead { .. })));
    }
    for round in 0..states.len() {
        ask(&past, round * stride % states.len(), newest);
    }
    drop(past);
    let past = open(&log, dir.path(), kept, every);
    if kept.trail {
        past.follow(&Arc::new(states[states.len() - 1].clone()));
    }
    for at in (0..states.len()).rev() {
        ask(&past, at, newest);
    }
    // A checkpoint is what it says, by itself.
    for at in 0..states.len() {
        if let Some(found) = past.checkpoint(Lsn(at as u64)) {
            assert_eq!(answers(&found), told[found.lsn().0 as usize]);
        }
    }
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files > 0, kept.disk && log.len() as u64 >= 4 * every);
}

#[test]
fn looking_back_equals_live_by_the_log_alone() {
    let kept = Kept { trail: false, disk: false, recent: false };
    histories(100, |steps, index| looking_back_equals_live(kept, steps, index));
}

#[test]
fn looking_back_equals_live_in_memory() {
    let kept = Kept { trail: true, disk: false, recent: true };
    histories(200, |steps, index| looking_back_equals_live(kept, steps, index));
}

#[test]
fn looking_back_equals_live_from_disk() {
    let kept = Kept { trail: false, disk: true, recent: false };
    histories(60, |steps, index| looking_back_equals_live(kept, steps, index));
}

#[test]
fn looking_back_equals_live_with_everything() {
    let kept = Kept { trail: true, disk: true, recent: true };
    histories(60, |steps, index| looking_back_equals_live(kept, steps, index));
}

/// A history that never changes, with a bit of everything.
fn fixed() -> Vec<Step> {
    let limited = Settings { max_running: Some(1), retries_max: Some(1), ..Settings::default() };
    let mut steps = vec![
        Step::Register(0),
        Step::Register(2),
        Step::CreateQueue(limited),
        Step::CreateQueue(Settings::default()),
    ];
    for action in 0..6 {
        steps.push(Step::submit_to(usize::from(action) % 2, action, i32::from(action) - 2));
    }
    steps.extend([Step::submit(0, 1, 2), Step::submit(2, 9, 0)]);
    for ending in [COMPLETED, FAILED, COMPLETED] {
        steps.extend([Step::Assign(0, 0), Step::Start(0), Step::Finish(0, ending)]);
        steps.push(Step::Advance(700));
    }
    steps.extend([Step::Assign(0, 0), Step::Cancel(3), Step::DrainQueue(1), Step::Retire(0)]);
    steps
}

/// Checkpoints of another layout are not read. When this fails, states are written down or folded
/// in another way than before: raise `LAYOUT`, and put here what the test says.
#[test]
fn a_new_layout_has_a_new_number() {
    let log = run(&fixed()).log;
    let state = states(&log).pop().unwrap();
    let bytes = rmp_serde::to_vec(&state).unwrap();
    let found = (LAYOUT, ContentHash::of(&bytes).to_string(), state.digest().to_string());
    let known =
        (2, "93a5ac1ee8fcf65ff2adda99d4ec882fc4ca68d1", "a2b3d74a7217a204fdd61f02c85a3a09bfd3cbc5");
    assert_eq!((found.0, found.1.as_str(), found.2.as_str()), known);
}
