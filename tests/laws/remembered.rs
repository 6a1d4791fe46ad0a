//! Whatever recordings and replays come to, every record of it fits, and nothing gets lost where it
//! takes several.

use ledgerun::decide::decide;
use ledgerun::domain::object::INLINE_BYTES_MAX;
use ledgerun::domain::recording::{
    RECORDING_NAME_BYTES_MAX, REPLAY_ERROR_BYTES_MAX, VALUE_NAME_BYTES_MAX,
};
use ledgerun::domain::worker::FUNCTIONS_MAX;
use ledgerun::domain::{
    Answer, ChunkId, Command, ContentHash, Event, Imported, Lsn, Mismatch, NewImport, NewReplay,
    NewWorker, QueueId, Record, Recorded, Rejection, ReplayFailure, Verdicts, WorkerId,
};
use ledgerun::eventlog::codec::{Chain, Encoder};
use ledgerun::views::Views;
use proptest::prelude::*;

use crate::recordings::archive;
use crate::replays::together;
use crate::sizes::{LAST, VALUE_BYTES_MAX, accept, cause, facts, name, new_worker, object};

/// A running replay of an imported recording.
fn replaying() -> (Views, Lsn) {
    let mut views = Views::default();
    let import = NewImport { name: None, archive: archive(1), workers: Vec::new() };
    accept(&mut views, &Command::ImportRecording(import));
    let recording = views.lsn();
    let plan = object(INLINE_BYTES_MAX);
    accept(&mut views, &Command::StartReplay(NewReplay { recording, plan, total: u64::MAX }));
    let replay = views.lsn();
    (views, replay)
}

fn judge(replay: Lsn, verdicts: Verdicts) -> Command {
    Command::JudgeReplay { replay, judged_to: replay, next: u64::MAX, verdicts }
}

const HASH: ContentHash = ContentHash([255; 20]);

/// The largest there is, but for its value's name.
fn mismatch(value: String) -> Mismatch {
    Mismatch { job: LAST, value: Some(value), recorded: Some(HASH), replayed: Some(HASH) }
}

fn failure(error: String) -> ReplayFailure {
    ReplayFailure { job: LAST, error }
}

/// The same record with the longest numbers.
fn stretch(event: Event) -> Event {
    let queue = QueueId::new(u32::MAX).unwrap();
    match event {
        Event::ReplayStarted { plan, .. } => {
            Event::ReplayStarted { recording: LAST, queue, plan, total: u64::MAX }
        }
        Event::ReplayJudged { verdicts, .. } => Event::ReplayJudged {
            replay: LAST,
            judged_to: LAST,
            next: u64::MAX,
            verdicts: Verdicts { matched: u32::MAX, ..verdicts },
        },
        Event::ReplayEnded { reason, .. } => Event::ReplayEnded { replay: LAST, reason },
        Event::JobSubmitted {
            worker,
            action,
            function,
            object,
            priority,
            retries_max,
            run,
            ..
        } => Event::JobSubmitted {
            worker,
            action,
            function,
            object,
            priority,
            queue: Some(queue),
            retries_max,
            run,
            recorded: Some(Recorded { job: LAST, position: u64::MAX }),
        },
        other => other,
    }
}

/// The largest records about recordings and replays.
pub(crate) fn largest() -> Vec<Event> {
    let (mut views, replay) = replaying();
    let name_max = Some(name(RECORDING_NAME_BYTES_MAX));
    let mut events = accept(&mut views, &Command::StartRecording { name: name_max.clone() });
    let archive = Imported {
        skeleton: ChunkId(HASH),
        start: LAST,
        stop: LAST,
        jobs: u64::MAX,
        chunks: u64::MAX,
        bytes: u64::MAX,
    };
    let import = NewImport { name: name_max, archive, workers: vec![new_worker(FUNCTIONS_MAX)] };
    events.extend(accept(&mut views.clone(), &Command::ImportRecording(import)));
    let plan = object(INLINE_BYTES_MAX);
    let recording = views.recordings().next().unwrap().recording;
    let start = Command::StartReplay(NewReplay { recording, plan, total: u64::MAX });
    events.extend(accept(&mut views.clone(), &start));
    let long = || name(10 * REPLAY_ERROR_BYTES_MAX);
    let verdicts = Verdicts {
        matched: u32::MAX,
        mismatched: vec![mismatch(long()); 100],
        failed: vec![failure(long()); 100],
        newly_passing: vec![LAST; 1_000],
    };
    events.extend(accept(&mut views.clone(), &judge(replay, verdicts)));
    let end = Command::EndReplay { replay, reason: Some(long()) };
    events.extend(accept(&mut views, &end));
    events.extend([
        Event::RecordingStopped { recording: LAST },
        Event::RecordingDeleted { recording: LAST },
    ]);
    events.into_iter().map(stretch).collect()
}

/// How long a record's value is at most.
fn length(event: Event) -> usize {
    let record = Record { lsn: LAST, at: facts().now, prev: LAST, cause: cause(), event };
    Encoder::default().encode(&record, Chain([255; 8])).unwrap().0.len()
}

fn text() -> impl Strategy<Value = String> {
    // Of one, two and four bytes, so that a cut can fall inside of a character.
    let character = prop_oneof![Just('v'), Just('\u{e9}'), Just('\u{1f600}')];
    let length = prop_oneof![4 => 0..20_usize, 1 => 0..700_usize];
    (character, length, "[a-z]{0,3}").prop_map(|(c, length, before)| {
        before.chars().chain(std::iter::repeat_n(c, length)).collect()
    })
}

fn verdicts() -> impl Strategy<Value = Verdicts> {
    let hash = || prop::option::weighted(0.8, any::<[u8; 20]>().prop_map(ContentHash));
    let job = || any::<u64>().prop_map(Lsn);
    let mismatch = (job(), prop::option::weighted(0.9, text()), hash(), hash());
    let mismatch = mismatch.prop_map(|(job, value, recorded, replayed)| Mismatch {
        job,
        value,
        recorded,
        replayed,
    });
    let failure = (job(), text()).prop_map(|(job, error)| ReplayFailure { job, error });
    let lists = (
        prop::collection::vec(mismatch, 0..120),
        prop::collection::vec(failure, 0..120),
        prop::collection::vec(job(), 0..1_000),
    );
    (any::<u32>(), lists).prop_map(|(matched, (mismatched, failed, newly_passing))| Verdicts {
        matched,
        mismatched,
        failed,
        newly_passing,
    })
}

/// The longest start of whole characters.
fn cut(text: &str, bytes: usize) -> String {
    let mut cut = String::new();
    for character in text.chars() {
        if cut.len() + character.len_utf8() > bytes {
            break;
        }
        cut.push(character);
    }
    cut
}

proptest! {
    /// However many verdicts come at once: each is in one record and in its place, and the records
    /// fit and fold to their sums.
    #[test]
    fn verdicts_are_split_over_records_and_all_arrive(given in verdicts()) {
        let (mut views, replay) = replaying();
        let events = accept(&mut views, &judge(replay, given.clone()));
        let mut expected = given;
        for found in &mut expected.mismatched {
            found.value = found.value.as_deref().map(|name| cut(name, VALUE_NAME_BYTES_MAX));
        }
        for found in &mut expected.failed {
            found.error = cut(&found.error, REPLAY_ERROR_BYTES_MAX);
        }
        prop_assert_eq!(together(&events), expected.clone());
        let row = views.replay(replay).unwrap();
        prop_assert_eq!(row.matched, u64::from(expected.matched));
        prop_assert_eq!(row.mismatched, expected.mismatched.len() as u64);
        prop_assert_eq!(row.failed, expected.failed.len() as u64);
        prop_assert_eq!(row.newly_passing, expected.newly_passing.len() as u64);
        prop_assert_eq!(row.next, u64::MAX);
        for event in events {
            let bytes = length(stretch(event));
            prop_assert!(bytes <= VALUE_BYTES_MAX, "{} bytes", bytes);
        }
    }
}

/// A replay that is said to be judged up to what has not happened is not poisoned by it.
#[test]
fn nothing_is_judged_before_it_happens() {
    let (mut views, replay) = replaying();
    let newest = views.lsn();
    let verdicts = Verdicts { matched: 1, ..Verdicts::default() };
    accept(&mut views, &Command::JudgeReplay { replay, judged_to: LAST, next: 1, verdicts });
    let row = views.replay(replay).unwrap();
    assert_eq!((row.judged_to, row.matched), (newest, 1));
}

/// Several large workers, one of them twice, in one append that folds.
#[test]
fn an_import_brings_each_worker_once() {
    let mut views = Views::default();
    let worker =
        |number: u8| NewWorker { worker: WorkerId::of(&[number]), ..new_worker(FUNCTIONS_MAX) };
    accept(&mut views, &Command::RegisterWorker(worker(0)));
    let workers = [1, 0, 2, 1].map(worker).to_vec();
    let import = NewImport { name: None, archive: archive(1), workers };
    let command = Command::ImportRecording(import);
    let answer = decide(&views, &command, &facts()).unwrap().answer;
    let events = accept(&mut views, &command);
    assert_eq!(answer, Answer::RecordingImported { recording: views.lsn() });
    let registered: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::WorkerRegistered { worker, .. } => Some(*worker),
            _ => None,
        })
        .collect();
    assert_eq!(registered, [WorkerId::of(&[1]), WorkerId::of(&[2])]);
    for id in registered {
        let functions = views.worker(id).unwrap().functions;
        assert_eq!(functions.len(), FUNCTIONS_MAX);
    }
    for event in events {
        assert!(length(event) <= VALUE_BYTES_MAX);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (views, _) = replaying();
    let recording = views.recordings().next().unwrap().recording;
    let long = Some(name(RECORDING_NAME_BYTES_MAX + 2));
    let import =
        |name, workers| Command::ImportRecording(NewImport { name, archive: archive(1), workers });
    let mut worker = new_worker(1);
    worker.name.push('x');
    let plan = object(INLINE_BYTES_MAX + 1);
    let commands = [
        Command::StartRecording { name: long.clone() },
        import(long, Vec::new()),
        import(None, vec![new_worker(1), worker]),
        Command::StartReplay(NewReplay { recording, plan, total: 1 }),
    ];
    for command in commands {
        let refused = decide(&views, &command, &facts()).unwrap_err();
        assert!(matches!(refused, Rejection::TooLong { .. }), "{refused}");
    }
}
