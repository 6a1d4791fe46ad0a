use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::chunks::{Options, Store};
use crate::domain::{Cause, ChunkId, ContentHash, Event, Lsn, Millis, QueueId, Timestamp};
use crate::engine::{Opening, PastOptions};
use crate::eventlog::{Adopted, DataDir, EventLog as _, OpenOptions, Rewrite, SledLog};
use crate::views::{LAYOUT, Published};

/// What happens to an instance.
#[derive(Clone, Debug)]
enum Step {
    Records(u8),
    /// A chunk of so many bytes.
    Chunk(usize),
    /// All chunks but every so manieth are collected.
    Collect(usize),
    /// Folds the records before one of them.
    Compact(prop::sample::Index),
    Backup,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..60_u8).prop_map(Step::Records),
        4 => prop_oneof![0..2_000_usize, 200_000..600_000_usize].prop_map(Step::Chunk),
        1 => (1..4_usize).prop_map(Step::Collect),
        1 => any::<prop::sample::Index>().prop_map(Step::Compact),
        2 => Just(Step::Backup),
    ];
    prop::collection::vec(step, 1..25)
}

/// The newest record, the state's digest, all chunks.
type Content = (Lsn, ContentHash, BTreeMap<ChunkId, Vec<u8>>);

/// An instance without a service.
struct World {
    log: SledLog,
    store: Store,
    state: Published,
    queues: u32,
    /// After each record, when it was seen.
    states: Vec<Published>,
}

fn nothing_kept() -> Options {
    Options { grace: Millis(0), ..Options::default() }
}

impl World {
    fn open(root: &Path) -> Self {
        let dir = Arc::new(DataDir::lock(root).unwrap());
        let mut opening = Opening::begin(&PastOptions::default());
        let log = SledLog::open_with(&dir, OpenOptions::default(), &mut opening).unwrap();
        let store = Store::open(&dir.chunks(), nothing_kept()).unwrap();
        let state = opening.done();
        Self { log, store, states: vec![state.clone()], state, queues: 0 }
    }

    fn tell(&mut self) {
        self.queues += 1;
        let event = Event::QueueCreated {
            queue: QueueId::new(self.queues).unwrap(),
            token: None,
            name: None,
            metadata: None,
            retries_max: None,
            expire_after: None,
            max_running: None,
        };
        let record = self.state.views.stamp(Timestamp(5), Cause::UNKNOWN, event);
        self.log.append(std::slice::from_ref(&record)).unwrap();
        self.state.apply(&record).unwrap();
        self.states.push(self.state.clone());
    }

    fn act(&mut self, step: &Step, number: usize, folder: &Path) {
        match step {
            Step::Records(count) => (0..*count).for_each(|_| self.tell()),
            Step::Chunk(bytes) => {
                let content: Vec<u8> = (0..*bytes)
                    .map(|at| {
                        at.wrapping_mul(number + 7).to_le_bytes()[0] ^ (at / 256).to_le_bytes()[0]
                    })
                    .collect();
                self.store.put_unnamed(&content).unwrap();
            }
            Step::Collect(nth) => {
                let kept: Vec<ChunkId> = self.store.ids().into_iter().step_by(*nth + 1).collect();
                let mark = self.store.begin_collection();
                self.store.collect(mark, &|id| kept.contains(id), &|| false).unwrap();
            }
            Step::Compact(index) => self.compact(*index),
            Step::Backup => drop(self.backup(folder)),
        }
    }

    /// Every third record that is folded stays readable.
    fn compact(&mut self, index: prop::sample::Index) {
        let (old, last) = (self.log.reader().pinned(), self.log.last());
        let first = old.first().0 + index.index(100) as u64;
        if first > last.0 || first == old.first().0 {
            return;
        }
        let end = Lsn(first - 1);
        let chain = old.chain(end).unwrap().unwrap();
        let state = &self.states[usize::try_from(end.0).unwrap()];
        let mut next = Rewrite::begin(&self.log.dir().unwrap(), end, chain).unwrap();
        rmp_serde::encode::write(&mut next.body(), state).unwrap();
        for value in old.kept().chain(old.scan_values(old.first(), end)) {
            let (lsn, value) = value.unwrap();
            if lsn.0.is_multiple_of(3) {
                next.keep(lsn, &value).unwrap();
            }
        }
        next.seal(LAYOUT, state.digest()).unwrap();
        next.copy(&*old, last).unwrap();
        let Adopted::Done(replaced) = self.log.adopt(next).unwrap() else { panic!("refused") };
        drop(old);
        assert!(replaced.remove().is_none());
    }

    /// Into another folder, when the log has left the one behind.
    fn backup(&self, folder: &Path) -> Taken {
        let behind = Manifest::load(folder).ok().flatten().is_some_and(|manifest| {
            manifest.lsn > Lsn::ZERO && manifest.lsn.next() < self.log.reader().first()
        });
        if behind {
            let told = self.add_to(folder).unwrap_err().to_string();
            assert!(told.contains("begins with") && told.contains("another folder"), "{told}");
            std::fs::remove_dir_all(folder).unwrap();
        }
        self.add_to(folder).unwrap()
    }

    fn add_to(&self, folder: &Path) -> Result<Taken, Error> {
        let mut folder = Folder::open(folder).unwrap();
        let (after, known) = folder.request();
        let request = Request::new(after, &known).unwrap();
        let mut stream = Vec::new();
        let now = || self.state.clone();
        send(&*self.log.reader(), &self.store, &request, now, &mut stream).unwrap();
        folder.take(&stream[..], "now".to_owned(), &mut |_| true)
    }

    /// Everything that can be told apart.
    fn content(&self) -> Content {
        let chunks = self.store.ids().into_iter();
        let chunks = chunks.map(|id| (id, self.store.load(&id).unwrap().unwrap())).collect();
        (self.log.last(), self.state.digest(), chunks)
    }

    /// All records that can be read.
    fn values(&self) -> BTreeMap<Lsn, Vec<u8>> {
        let log = self.log.reader();
        let values = (1..=self.log.last().0).map(Lsn);
        let values = values.map(|lsn| (lsn, log.value(lsn).unwrap()));
        values.filter_map(|(lsn, value)| Some((lsn, value?.to_vec()))).collect()
    }
}

fn restored(folder: &Path, at: Option<Lsn>) -> (Restored, World, tempfile::TempDir) {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("restored");
    let told = restore(folder, &target, at, &mut |_| true).unwrap();
    (told, World::open(&target), parent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn many_small_backups_restore_what_one_does(steps in steps(), at: prop::sample::Index) {
        let dir = tempfile::tempdir().unwrap();
        let (stepwise, whole) = (dir.path().join("stepwise"), dir.path().join("whole"));
        let mut world = World::open(&dir.path().join("data"));
        for (number, step) in steps.iter().enumerate() {
            world.act(step, number, &stepwise);
        }
        let taken = world.backup(&stepwise);
        prop_assert_eq!(taken.lsn, world.log.last());
        let again = world.backup(&stepwise);
        prop_assert_eq!((again.records, again.chunks, again.lost), (0, 0, 0));
        world.backup(&whole);
        let wanted = world.content();
        for folder in [&stepwise, &whole] {
            prop_assert!(verify(folder, &mut |_| true).unwrap().faults.is_empty());
            let (told, found, _parent) = restored(folder, None);
            prop_assert_eq!(told.digest, world.state.digest());
            prop_assert_eq!(&found.content(), &wanted);
            // What was folded between two backups is still in the first.
            let (values, found) = (world.values(), found.values());
            let lost = values.iter().find(|(lsn, value)| found.get(lsn) != Some(value));
            prop_assert_eq!(lost, None);
            let sound = Manifest::load(folder).unwrap().unwrap();
            prop_assert_eq!(sound.format, if sound.base() > Lsn::ZERO { 2 } else { 1 });
        }
        // As of any LSN, and with every chunk that is held.
        let at = Lsn(at.index(world.states.len()) as u64);
        let base = Manifest::load(&stepwise).unwrap().unwrap().base();
        if at < base {
            let target = dir.path().join("too early");
            let refused = restore(&stepwise, &target, Some(at), &mut |_| true).unwrap_err();
            prop_assert!(refused.to_string().contains("begins with the state"), "{refused}");
            prop_assert!(!target.exists());
            return Ok(());
        }
        let (told, found, _parent) = restored(&stepwise, Some(at));
        prop_assert_eq!((told.lsn, found.log.last()), (at, at));
        if at > Lsn::ZERO {
            let then = &world.states[usize::try_from(at.0).unwrap()];
            prop_assert_eq!(found.state.digest(), then.digest());
        }
        let (.., chunks) = found.content();
        for (id, content) in &wanted.2 {
            prop_assert_eq!(chunks.get(id), Some(content));
        }
    }
}

#[test]
fn no_chunk_is_collected_while_it_is_sent() {
    struct Collecting<'a>(Vec<u8>, &'a Store);

    impl std::io::Write for Collecting<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mark = self.1.begin_collection();
            self.1.collect(mark, &|_| false, &|| false).unwrap();
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(&dir.path().join("data"));
    world.tell();
    for content in ["one", "two", "three"] {
        world.store.put_unnamed(content.as_bytes()).unwrap();
    }
    let mut out = Collecting(Vec::new(), &world.store);
    let request = Request::default();
    send(&*world.log.reader(), &world.store, &request, || world.state.clone(), &mut out).unwrap();
    let mut folder = Folder::open(&dir.path().join("folder")).unwrap();
    let taken = folder.take(&out.0[..], "now".to_owned(), &mut |_| true).unwrap();
    assert_eq!((taken.chunks, taken.lost), (3, 0));
    // Afterwards they are let go of.
    world.act(&Step::Collect(100), 0, dir.path());
    assert!(world.store.ids().len() <= 1);
}

#[test]
fn a_chunk_that_is_damaged_is_told_and_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(&dir.path().join("data"));
    world.tell();
    let good = world.store.put_unnamed(b"good").unwrap();
    let bad = world.store.put_unnamed(b"soon bad").unwrap();
    let mut stream = Vec::new();
    let now = || world.state.clone();
    send(&*world.log.reader(), &world.store, &Request::default(), now, &mut stream).unwrap();
    // As if the store had given other bytes: the checksums of the blocks are right.
    let mut reader = container::Reader::open(&stream[..], Path::new("stream")).unwrap();
    let mut forged = container::Writer::new(Vec::new()).unwrap();
    while let Some((kind, payload)) = reader.next().unwrap() {
        let mut payload = payload.to_vec();
        if payload.ends_with(b"soon bad") {
            *payload.last_mut().unwrap() ^= 1;
        }
        forged.block(kind, &payload).unwrap();
    }
    let (_, _, forged) = forged.finish().unwrap();
    let path = dir.path().join("folder");
    let taken =
        Folder::open(&path).unwrap().take(&forged[..], "now".into(), &mut |_| true).unwrap();
    assert_eq!((taken.chunks, taken.lost), (1, 1));
    let (_, found, _parent) = restored(&path, None);
    assert_eq!(found.store.ids(), [good]);
    drop(found);
    // Asked for again, and mended.
    let taken = world.backup(&path);
    assert_eq!((taken.chunks, taken.lost), (1, 0));
    let (_, found, _parent) = restored(&path, None);
    assert!(found.store.contains(&bad) && found.store.contains(&good));
}

#[test]
fn a_stream_that_breaks_off_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::open(&dir.path().join("data"));
    let path = dir.path().join("folder");
    world.tell();
    world.backup(&path);
    let before = std::fs::read(path.join("manifest")).unwrap();
    world.tell();
    world.store.put_unnamed(&vec![7; 5_000]).unwrap();
    let mut folder = Folder::open(&path).unwrap();
    let (after, known) = folder.request();
    let request = Request::new(after, &known).unwrap();
    let mut stream = Vec::new();
    let now = || world.state.clone();
    send(&*world.log.reader(), &world.store, &request, now, &mut stream).unwrap();
    for end in [0, 8, 40, stream.len() / 2, stream.len() - 1] {
        let cut = folder.take(&stream[..end], "now".to_owned(), &mut |_| true);
        assert!(matches!(cut, Err(Error::Damaged { .. })), "{end}: {cut:?}");
        assert_eq!(std::fs::read(path.join("manifest")).unwrap(), before);
    }
    drop(folder);
    assert!(verify(&path, &mut |_| true).unwrap().faults.is_empty());
    assert_eq!(world.backup(&path).records, 1);
}
