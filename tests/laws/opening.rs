//! A start from a checkpoint ends where a start from the first record does.

use std::path::Path;
use std::sync::Arc;

use ledgerun::domain::Record;
use ledgerun::engine::{Opening, Past, PastOptions};
use ledgerun::eventlog::{DataDir, EventLog, OpenOptions, SledLog};
use ledgerun::views::{ApplyError, Published};
use proptest::sample::Index;

use crate::past::{answers, states};
use crate::{histories, run};

fn past(dir: &DataDir) -> PastOptions {
    // All of them stay, wherever they are.
    PastOptions { dir: Some(dir.checkpoints()), checkpoint_every: 1, ..PastOptions::default() }
}

fn open(path: &Path) -> (SledLog, Published, Arc<DataDir>) {
    let dir = Arc::new(DataDir::lock(path).unwrap());
    let mut opening = Opening::begin(&past(&dir));
    let log = SledLog::open_with(&dir, OpenOptions::default(), &mut opening).unwrap();
    (log, opening.done(), dir)
}

fn append(log: &mut dyn EventLog, records: &[Record], len: usize) {
    for batch in records.chunks(len) {
        log.append(batch).unwrap();
    }
}

#[test]
fn opening_from_a_checkpoint_equals_folding_the_whole_log() {
    histories(24, |steps, index: Index| {
        let history = run(steps).log;
        let states = states(&history);
        let data = tempfile::tempdir().unwrap();
        // The log ends here for now; checkpoints are at three places before it.
        let end = index.index(states.len());
        let places = [3, 5, 11].map(|stride| index.index(stride * states.len()) % (end + 1));
        let (mut log, nothing, dir) = open(data.path());
        assert_eq!(answers(&nothing), answers(&states[0]));
        append(&mut log, &history[..end], 1 + index.index(40));
        let kept = Past::open(past(&dir), log.reader());
        for at in places {
            kept.write_checkpoint(&states[at]);
        }
        let begun = kept.checkpoint(states[end].lsn()).map_or(0, |state| state.lsn().0);
        assert_eq!(begun > 0, places.iter().any(|at| *at > 0));
        drop((log, kept, dir));

        let (mut log, mut state, dir) = open(data.path());
        assert_eq!(answers(&state), answers(&states[end]), "begun after {begun}");
        crate::check::conservation(&state);
        // It goes on as if it had never stopped.
        for (record, expected) in history[end..].iter().zip(&states[end + 1..]) {
            state.apply(record).unwrap();
            assert_eq!(state.digest(), expected.digest(), "after {}", record.lsn);
        }
        append(&mut log, &history[end..], 7);
        drop((log, dir));
        let (_, state, dir) = open(data.path());
        assert_eq!(answers(&state), answers(&states[history.len()]));
        drop(dir);
        // And it is what the records say, read one by one.
        let dir = Arc::new(DataDir::lock(data.path()).unwrap());
        let mut whole = Published::default();
        let each = |record: Record| -> Result<(), ApplyError> { whole.apply(&record) };
        SledLog::open(&dir, OpenOptions::default(), each).unwrap();
        assert_eq!(answers(&whole), answers(&state));
    });
}
