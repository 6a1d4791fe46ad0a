//! A sorted map for keys that mostly arrive in ascending order, as LSNs do.
//!
//! A B-tree that is filled in order keeps its leaves half empty. Here full segments stay full, so
//! that a million finished jobs cost little more than their own bytes, and appending moves nothing.
//!
//! A clone shares its segments with the original until one of the two changes them. What has not
//! changed since is held once, and cloning costs a pointer for each segment.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries of a full segment. A removal moves at most this many, and so does an addition; a change
/// of a shared one copies them.
pub(super) const SEGMENT_LEN: usize = 128;

/// A sorted map. Every segment holds at least one entry, and the segments are in order.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    segments: Vec<Segment<K, V>>,
    len: usize,
}

/// Neighbours in the order of keys.
#[derive(Clone, Debug)]
struct Segment<K, V> {
    /// No key in it is below this, and all in segments before it are. It is here so that a look-up
    /// touches one segment only.
    low: K,
    entries: Arc<Vec<(K, V)>>,
}

impl<K: Copy + Ord, V> Segment<K, V> {
    /// Where `key` is, or would be.
    fn place(&self, key: K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.cmp(&key))
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= SEGMENT_LEN
    }
}

impl<K: Copy + Ord, V: Clone> Segment<K, V> {
    /// The entries to change: a copy of its own from here on when they were shared.
    fn own(&mut self) -> &mut Vec<(K, V)> {
        if Arc::get_mut(&mut self.entries).is_none() {
            // With room for what it will hold when it is full: a plain clone would have none, and
            // double at the next entry.
            let mut own = Vec::with_capacity(SEGMENT_LEN);
            own.extend_from_slice(&self.entries);
            self.entries = Arc::new(own);
        }
        Arc::make_mut(&mut self.entries)
    }

    fn insert(&mut self, place: usize, entry: (K, V)) {
        self.low = self.low.min(entry.0);
        self.own().insert(place, entry);
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { segments: Vec::new(), len: 0 }
    }
}

/// Equal contents hash alike, however they are cut into segments.
impl<K: Hash, V: Hash> Hash for Table<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len);
        for entry in self.segments.iter().flat_map(|segment| segment.entries.iter()) {
            entry.hash(state);
        }
    }
}

/// The entries in order, however they are cut into segments.
impl<K: Serialize, V: Serialize> Serialize for Table<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.segments.iter().flat_map(|segment| segment.entries.iter());
        let mut sequence = serializer.serialize_seq(Some(self.len))?;
        for entry in entries {
            serde::ser::SerializeSeq::serialize_element(&mut sequence, entry)?;
        }
        serde::ser::SerializeSeq::end(sequence)
    }
}

/// Fails unless the keys ascend.
impl<'de, K, V> Deserialize<'de> for Table<K, V>
where
    K: Copy + Ord + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Entries<K, V>
where
    K: Copy + Ord + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    type Value = Table<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entries of a table")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut filling = Filling::default();
        while let Some((key, value)) = entries.next_element::<(K, V)>()? {
            if !filling.push(key, value) {
                return Err(A::Error::custom("the keys of a table don't ascend"));
            }
        }
        Ok(filling.done())
    }
}

/// A table in the making, of entries that come in order: nothing is looked for and nothing moves.
pub(super) struct Filling<K, V> {
    table: Table<K, V>,
    /// The segment that is being filled.
    open: Vec<(K, V)>,
}

impl<K, V> Default for Filling<K, V> {
    fn default() -> Self {
        Self { table: Table::default(), open: Vec::new() }
    }
}

impl<K: Copy + Ord, V> Filling<K, V> {
    /// Adds an entry. False, and nothing is added, when its key isn't above all before.
    pub(super) fn push(&mut self, key: K, value: V) -> bool {
        if self.open.last().is_some_and(|(last, _)| *last >= key) {
            return false;
        }
        if self.open.len() == SEGMENT_LEN {
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(SEGMENT_LEN));
            self.close(full);
        }
        self.open.push((key, value));
        true
    }

    fn close(&mut self, entries: Vec<(K, V)>) {
        if let Some((low, _)) = entries.first() {
            self.table.len += entries.len();
            self.table.segments.push(Segment { low: *low, entries: Arc::new(entries) });
        }
    }

    pub(super) fn done(mut self) -> Table<K, V> {
        let rest = std::mem::take(&mut self.open);
        self.close(rest);
        self.table
    }
}

impl<K, V> Table<K, V> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many pointers a clone copies.
    pub(super) const fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// How many segments somebody else has, too.
    #[cfg(test)]
    pub(super) fn segments_shared(&self) -> usize {
        self.segments.iter().filter(|segment| Arc::strong_count(&segment.entries) > 1).count()
    }
}

impl<K: Copy + Ord, V: Clone> Table<K, V> {
    /// The only segment that can hold `key`.
    fn segment_of(&self, key: K) -> usize {
        // Most look-ups are for what came last.
        if self.segments.last().is_some_and(|last| last.low <= key) {
            return self.segments.len() - 1;
        }
        self.segments.partition_point(|segment| segment.low <= key).saturating_sub(1)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let segment = self.segments.get(self.segment_of(key))?;
        let at = segment.place(key).ok()?;
        segment.entries.get(at).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.segment_of(key);
        let segment = self.segments.get_mut(at)?;
        let at = segment.place(key).ok()?;
        segment.own().get_mut(at).map(|(_, value)| value)
    }

    /// Adds or replaces an entry; false when it was replaced.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        let at = self.segment_of(key);
        let Some(segment) = self.segments.get_mut(at) else {
            let entries = Arc::new(vec![(key, value)]);
            self.segments.push(Segment { low: key, entries });
            self.len = 1;
            return true;
        };
        match segment.place(key) {
            Ok(found) => {
                if let Some(entry) = segment.own().get_mut(found) {
                    entry.1 = value;
                }
                return false;
            }
            Err(place) if segment.is_full() => self.overflow(at, place, (key, value)),
            Err(place) => segment.insert(place, (key, value)),
        }
        self.len += 1;
        true
    }

    /// Adds an entry to a full segment, which passes its last one on. So the segments that keys in
    /// order leave behind stay full, those of keys that come a little late as well.
    fn overflow(&mut self, at: usize, place: usize, entry: (K, V)) {
        let (key, next) = (entry.0, at + 1);
        if self.segments.get(next).is_some_and(Segment::is_full) {
            self.halve(at);
            let at = self.segment_of(key);
            if let Some(segment) = self.segments.get_mut(at)
                && let Err(place) = segment.place(key)
            {
                segment.insert(place, entry);
            }
            return;
        }
        let passed = match self.segments.get_mut(at) {
            Some(segment) if place < SEGMENT_LEN => {
                let last = segment.own().pop();
                segment.insert(place, entry);
                last
            }
            _ => Some(entry),
        };
        let Some(passed) = passed else { return };
        if let Some(segment) = self.segments.get_mut(next) {
            segment.insert(0, passed);
        } else {
            let mut entries = Vec::with_capacity(SEGMENT_LEN);
            let low = passed.0;
            entries.push(passed);
            self.segments.push(Segment { low, entries: Arc::new(entries) });
        }
    }

    /// Makes two of a segment.
    fn halve(&mut self, at: usize) {
        let Some(segment) = self.segments.get_mut(at) else { return };
        let mut upper = Vec::with_capacity(SEGMENT_LEN);
        upper.extend(segment.own().drain(SEGMENT_LEN / 2..));
        if let Some((low, _)) = upper.first() {
            self.segments.insert(at + 1, Segment { low: *low, entries: Arc::new(upper) });
        }
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.segment_of(key);
        let segment = self.segments.get_mut(at)?;
        let found = segment.place(key).ok()?;
        let own = segment.own();
        let (_, value) = own.remove(found);
        let left = own.len();
        self.len -= 1;
        if left < SEGMENT_LEN / 4 {
            self.thin_out(at, left);
        }
        Some(value)
    }

    /// Moves what is left of a segment into the one before when there is room, so that removals
    /// give memory back.
    fn thin_out(&mut self, at: usize, left: usize) {
        if left == 0 {
            self.segments.remove(at);
            return;
        }
        let Some(before) = at.checked_sub(1) else { return };
        let fits = |segment: &Segment<K, V>| segment.entries.len() + left <= SEGMENT_LEN;
        if self.segments.get(before).is_some_and(fits) {
            let rest = self.segments.remove(at);
            if let Some(segment) = self.segments.get_mut(before) {
                segment.own().extend_from_slice(&rest.entries);
            }
        }
    }

    pub(super) fn first(&self) -> Option<(K, &V)> {
        let (key, value) = self.segments.first()?.entries.first()?;
        Some((*key, value))
    }

    pub(super) fn last(&self) -> Option<(K, &V)> {
        let (key, value) = self.segments.last()?.entries.last()?;
        Some((*key, value))
    }

    /// All entries with keys up to `key`, descending.
    pub(super) fn down_from(&self, key: K) -> impl Iterator<Item = (K, &V)> + '_ {
        let segments = self.segments.get(..=self.segment_of(key)).unwrap_or_default();
        let entries = segments.iter().rev().enumerate().flat_map(move |(index, segment)| {
            let entries = &segment.entries;
            let end = match index {
                0 => entries.partition_point(|(other, _)| *other <= key),
                _ => entries.len(),
            };
            entries.get(..end).unwrap_or_default().iter().rev()
        });
        entries.map(|(key, value)| (*key, value))
    }

    /// All entries with keys above `key`, ascending.
    pub(super) fn after(&self, key: K) -> impl Iterator<Item = (K, &V)> + '_ {
        let from = self.segment_of(key);
        self.segments
            .get(from..)
            .unwrap_or_default()
            .iter()
            .enumerate()
            .flat_map(move |(index, segment)| {
                let entries = &segment.entries;
                let skip = if index == 0 { entries.partition_point(|(k, _)| *k <= key) } else { 0 };
                entries.get(skip..).unwrap_or_default()
            })
            .map(|(key, value)| (*key, value))
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> + '_ {
        let entries = self.segments.iter().flat_map(|segment| segment.entries.iter());
        entries.map(|(key, value)| (*key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(u64),
        Insert(u64),
        Remove(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (1_u64..4).prop_map(Step::Append),
            1 => (0_u64..3_000).prop_map(Step::Insert),
            3 => (0_u64..3_000).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// It is a map: the standard one agrees after any history.
        #[test]
        fn agrees_with_a_btree_map(steps in prop::collection::vec(step(), 0..1_500)) {
            let mut table = Table::default();
            let mut model = BTreeMap::new();
            let mut top = 0_u64;
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Append(by) => {
                        top += by;
                        table.insert(top, value);
                        model.insert(top, value);
                    }
                    Step::Insert(key) => {
                        table.insert(key, value);
                        model.insert(key, value);
                        top = top.max(key);
                    }
                    Step::Remove(key) => prop_assert_eq!(table.remove(key), model.remove(&key)),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert!(table.iter().eq(model.iter().map(|(key, value)| (*key, value))));
            for key in [0, 1, top / 2, top, top + 1] {
                prop_assert_eq!(table.get(key), model.get(&key));
                let after: Vec<_> = table.after(key).map(|(key, _)| key).collect();
                let expected: Vec<_> = model.range(key + 1..).map(|(key, _)| *key).collect();
                prop_assert_eq!(after, expected);
                let down: Vec<_> = table.down_from(key).map(|(key, _)| key).collect();
                let expected: Vec<_> = model.range(..=key).rev().map(|(key, _)| *key).collect();
                prop_assert_eq!(down, expected);
            }
            for segment in &table.segments {
                prop_assert!((1..=SEGMENT_LEN).contains(&segment.entries.len()));
                prop_assert!(segment.low <= segment.entries[0].0);
            }
            for pair in table.segments.windows(2) {
                prop_assert!(pair[0].entries.last().unwrap().0 < pair[1].low);
            }
        }
    }

    /// A change of one of two that share is copied to neither the other nor more than it must be.
    #[test]
    fn a_clone_shares_until_it_changes() {
        let mut table = Table::default();
        for key in 0..1_280_u64 {
            table.insert(key, 0);
        }
        let before: Vec<_> = table.iter().map(|(key, value)| (key, *value)).collect();
        let mut clone = table.clone();
        assert_eq!(clone.segments_shared(), 10);
        *clone.get_mut(5).unwrap() = 1;
        clone.remove(300);
        clone.insert(2_000, 2);
        assert_eq!((clone.segments_shared(), table.segments_shared()), (8, 8));
        assert!(table.iter().map(|(key, value)| (key, *value)).eq(before));
        assert_eq!((clone.get(5), clone.get(300), clone.get(2_000)), (Some(&1), None, Some(&2)));
        // Room for what a full one holds, and no more.
        assert!(clone.segments.iter().all(|segment| segment.entries.capacity() <= SEGMENT_LEN));
        drop(table);
        assert_eq!(clone.segments_shared(), 0);
    }

    #[test]
    fn keys_nearly_in_order_leave_no_gaps() {
        let mut table = Table::default();
        // Every tenth comes 30 late.
        for key in 0..10_000_u64 {
            if key % 10 != 3 {
                table.insert(key, ());
            }
            if let Some(late) = key.checked_sub(30).filter(|late| late % 10 == 3) {
                table.insert(late, ());
            }
        }
        assert_eq!(table.segments.len(), table.len().div_ceil(SEGMENT_LEN));
    }

    #[test]
    fn keys_in_no_order_fill_most_of_every_segment() {
        let mut table = Table::default();
        for number in 0..100_000_u64 {
            let hash = blake3::hash(&number.to_le_bytes());
            table.insert(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()), ());
        }
        let full = table.len() / SEGMENT_LEN;
        assert!(table.segments.len() < full * 3 / 2, "{} segments", table.segments.len());
    }
}
