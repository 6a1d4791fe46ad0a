//! A log whose oldest records were folded gives every answer that may still be asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ledgerun::chunks;
use ledgerun::clock::{Clock, System};
use ledgerun::domain::event::Subject;
use ledgerun::domain::{Event, Lsn, Record, Timestamp};
use ledgerun::engine::{
    Boot, CompactOrder, CompactReport, Holder, Opening, Options, Parts, Past, PastError,
    PastOptions, Running, base_state,
};
use ledgerun::eventlog::{DataDir, EventLog as _, LogReader, OpenOptions, SledLog, readable};
use ledgerun::replay::selection::{Hints, NoHints, Range};
use ledgerun::replay::{export, verify};
use ledgerun::views::{Published, RecordingState};
use proptest::sample::Index;

use crate::past::{answers, states};
use crate::{few_histories, run};

/// Nothing falls due by itself.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// An engine on a log that lies in `data`.
fn open(data: &Path, now: Timestamp) -> (Running, chunks::Store) {
    let dir = Arc::new(DataDir::lock(data).unwrap());
    let past = PastOptions { dir: Some(dir.checkpoints()), ..PastOptions::default() };
    let mut opening = Opening::begin(&past);
    let log = SledLog::open_with(&dir, OpenOptions::default(), &mut opening).unwrap();
    let store = chunks::Store::open(&data.join("chunks"), chunks::Options::default()).unwrap();
    let parts = Parts {
        options: Options::default(),
        log: Box::new(log),
        published: opening.done(),
        past,
        chunks: store.clone(),
        runner: None,
        clock: Arc::new(Still(now)),
        entropy: Arc::new(System),
    };
    (Boot::new().open(parts).unwrap(), store)
}

/// Every record that somebody who looks at `state` reads by its LSN.
fn asked_for(state: &Published, all: &[Record]) -> BTreeSet<Lsn> {
    let views = &state.views;
    let mut wanted = BTreeSet::new();
    let mut chains = Vec::new();
    for job in (1..=state.lsn().0).map(Lsn).filter_map(|lsn| views.job(lsn)) {
        chains.extend([job.job, job.tail, job.execution_tail]);
        wanted.extend(job.ended.into_iter().chain(job.output_at));
    }
    for (attempt, _) in views.attempts_under_way() {
        let launch = views.launch_of(attempt).unwrap();
        wanted.extend([launch.action_at, launch.descriptor_at]);
    }
    for worker in views.workers() {
        wanted.insert(views.descriptor_at(worker.worker).unwrap());
    }
    for queue in views.queues(None) {
        wanted.insert(queue.created);
        chains.push(queue.tail);
    }
    wanted.extend(views.recordings().map(|recording| recording.recording));
    for replay in views.replays() {
        wanted.insert(replay.replay);
        chains.push(views.tail(Subject::Replay(replay.replay)));
    }
    while let Some(mut at) = chains.pop() {
        while at != Lsn::ZERO && wanted.insert(at) {
            let record = &all[usize::try_from(at.0).unwrap() - 1];
            if let Event::JobRescheduled { former, .. } = record.event {
                chains.push(former);
            }
            at = record.prev;
        }
    }
    wanted.into_iter().filter(|lsn| *lsn != Lsn::ZERO).collect()
}

/// The archives of all recordings of this instance that are complete.
fn archives(log: &dyn LogReader, store: &chunks::Store, state: &Published) -> Vec<Vec<u8>> {
    let complete =
        |row: &ledgerun::views::RecordingRow| !row.imported && row.state == RecordingState::Settled;
    let mut archives = Vec::new();
    for row in state.views.recordings().filter(complete) {
        let range = Range::of(&row, state.lsn());
        let hints: [&dyn Hints; 2] = [&state.views, &NoHints];
        for hints in hints {
            let mut archive = Vec::new();
            export::live(log, store, range, hints, &mut archive).unwrap();
            archives.push(archive);
        }
    }
    archives
}

/// What was true of a log before it was folded.
struct Before {
    all: Vec<Record>,
    states: Vec<Published>,
    archives: Vec<Vec<u8>>,
}

impl Before {
    fn check(&self, log: &Arc<dyn LogReader>, store: &chunks::Store, first: Lsn) {
        let (newest, index) = (Lsn(self.all.len() as u64), usize::try_from(first.0).unwrap());
        assert_eq!(log.first(), first);
        let left: Vec<Record> = log.scan(Lsn::ZERO, Lsn(u64::MAX)).map(Result::unwrap).collect();
        assert_eq!(left, self.all[index - 1..]);
        log.check_base().unwrap();
        let base = base_state(&**log).unwrap().unwrap_or_default();
        assert_eq!(answers(&base), answers(&self.states[index - 1]));
        crate::check::conservation(&base);
        let past = Past::open(PastOptions::default(), Arc::clone(log));
        let mut read = BTreeSet::new();
        for (at, state) in self.states.iter().enumerate() {
            let lsn = Lsn(at as u64);
            if lsn.next() < first {
                let gone = past.at(lsn, newest);
                assert!(matches!(gone, Err(PastError::Gone { first: told }) if told == first));
                continue;
            }
            if at % 5 == 0 || lsn.next() == first || lsn == newest {
                assert_eq!(answers(&past.at(lsn, newest).unwrap()), answers(state), "at {at}");
            }
            for lsn in asked_for(state, &self.all) {
                if !read.insert(lsn) {
                    continue;
                }
                let expected = &self.all[usize::try_from(lsn.0).unwrap() - 1];
                let found = log.get(lsn).unwrap();
                assert_eq!(found.as_ref(), Some(expected), "record {lsn}, asked for at {at}");
            }
        }
        let now = self.states.last().unwrap();
        assert!(archives(&**log, store, now) == self.archives, "an archive is another");
        let kept: Vec<Record> = readable(&**log, Lsn::FIRST, newest).map(Result::unwrap).collect();
        assert!(kept.windows(2).all(|pair| pair[0].lsn < pair[1].lsn));
        let report = verify::verify(&**log, store, newest, Some(now), &mut |_| true).unwrap();
        let damage = |kind: &str| kind != "missing_chunk";
        assert!(report.problems.iter().all(|problem| !damage(problem.kind)), "{report:?}");
    }
}

fn compact(running: &Running, before: Lsn) -> CompactReport {
    let order = CompactOrder { before: Some(before), keep: None };
    running.handle().compact_blocking(order, &mut |_| {}).unwrap()
}

/// The first record that may be the first.
fn limit(state: &Published) -> Option<(Lsn, Holder)> {
    let own = state.views.recordings().filter(|row| !row.imported);
    let own = own.map(|row| (row.start, Holder::Recording(row.recording)));
    let running = state.views.running_replays();
    let running = running.map(|row| (row.replay, Holder::Replay(row.replay)));
    own.chain(running).min_by_key(|(lsn, _)| *lsn)
}

#[test]
fn a_compacted_log_gives_every_answer_that_may_still_be_asked() {
    few_histories(20, |steps, index: Index| {
        let history = run(steps).log;
        if history.is_empty() {
            return;
        }
        let data = tempfile::tempdir().unwrap();
        {
            let dir = Arc::new(DataDir::lock(data.path()).unwrap());
            let mut log = SledLog::open(&dir, OpenOptions::default(), |_| Ok::<_, String>(()));
            let log = log.as_mut().unwrap();
            for batch in history.chunks(1 + index.index(40)) {
                log.append(batch).unwrap();
            }
        }
        // Before all that the history may have waited for.
        let time = history[0].at;
        let (running, store) = open(data.path(), time);
        let log = Arc::clone(running.handle().log().unwrap());
        // With what the start added.
        let all: Vec<Record> = log.scan(Lsn(1), Lsn(u64::MAX)).map(Result::unwrap).collect();
        let states = states(&all);
        let now = states.last().unwrap();
        let archives = archives(&*log, &store, now);
        let before = Before { archives, states: states.clone(), all };
        let newest = before.all.len();
        let mut first = Lsn(1);
        for stride in [1, 3] {
            let wanted = Lsn(1 + (index.index(stride * newest) % newest) as u64);
            let report = compact(&running, wanted);
            let held = limit(now).filter(|(limit, _)| *limit < wanted.max(first));
            let expected = held.map_or(wanted, |(limit, _)| limit).max(first);
            assert_eq!((report.first_lsn, report.first_lsn_before), (expected, first));
            assert_eq!(report.compacted, expected > first);
            assert_eq!(report.held_by, held.map(|(_, by)| by));
            first = expected;
            before.check(&log, &store, first);
        }
        drop(log);
        running.stop(Duration::ZERO).unwrap();
        drop(store);
        let (running, store) = open(data.path(), time);
        let log = Arc::clone(running.handle().log().unwrap());
        let present = running.handle().read(answers);
        assert_eq!(present, answers(now));
        before.check(&log, &store, first);
        drop(log);
        running.stop(Duration::ZERO).unwrap();
    });
}
