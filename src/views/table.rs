//! A sorted map for keys that mostly arrive in ascending order, as LSNs do.
//!
//! A B-tree that is filled in order keeps its leaves half empty. Here full segments stay full, so
//! that a million finished jobs cost little more than their own bytes, and appending moves nothing.

use std::hash::{Hash, Hasher};

/// Entries of a full segment. A removal moves at most this many.
const SEGMENT_LEN: usize = 128;

/// A sorted map. Every segment holds at least one entry, and the segments are in order.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    segments: Vec<Vec<(K, V)>>,
    len: usize,
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
        for entry in self.segments.iter().flatten() {
            entry.hash(state);
        }
    }
}

impl<K: Copy + Ord, V> Table<K, V> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The only segment that can hold `key`.
    fn segment_of(&self, key: K) -> usize {
        let starts_before = |segment: &Vec<(K, V)>| segment.first().is_some_and(|(k, _)| *k <= key);
        // Most look-ups are for what came last.
        if self.segments.last().is_some_and(starts_before) {
            return self.segments.len() - 1;
        }
        self.segments.partition_point(starts_before).saturating_sub(1)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        let segment = self.segments.get(self.segment_of(key))?;
        let at = segment.binary_search_by(|(k, _)| k.cmp(&key)).ok()?;
        segment.get(at).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.segment_of(key);
        let segment = self.segments.get_mut(at)?;
        let at = segment.binary_search_by(|(k, _)| k.cmp(&key)).ok()?;
        segment.get_mut(at).map(|(_, value)| value)
    }

    /// Adds or replaces an entry.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let at = self.segment_of(key);
        let Some(segment) = self.segments.get_mut(at) else {
            self.segments.push(vec![(key, value)]);
            self.len = 1;
            return;
        };
        match segment.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(found) => {
                if let Some(entry) = segment.get_mut(found) {
                    entry.1 = value;
                }
                return;
            }
            Err(place) if segment.len() < SEGMENT_LEN => segment.insert(place, (key, value)),
            Err(place) => {
                // A full one is cut where the entry belongs, which for an ascending key is its end.
                let mut next = Vec::with_capacity(SEGMENT_LEN);
                next.push((key, value));
                // Only the first segment can be asked for a key below its own.
                let at = if place == 0 { at } else { at + 1 };
                if place > 0 {
                    next.extend(segment.drain(place..));
                }
                self.segments.insert(at, next);
            }
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.segment_of(key);
        let segment = self.segments.get_mut(at)?;
        let found = segment.binary_search_by(|(k, _)| k.cmp(&key)).ok()?;
        let (_, value) = segment.remove(found);
        self.len -= 1;
        if segment.len() < SEGMENT_LEN / 4 {
            self.thin_out(at);
        }
        Some(value)
    }

    /// Moves what is left of a segment into the one before when there is room, so that removals
    /// give memory back.
    fn thin_out(&mut self, at: usize) {
        let left = self.segments.get(at).map_or(0, Vec::len);
        if left == 0 {
            self.segments.remove(at);
            return;
        }
        let Some(before) = at.checked_sub(1) else { return };
        if self.segments.get(before).is_some_and(|segment| segment.len() + left <= SEGMENT_LEN) {
            let mut rest = self.segments.remove(at);
            if let Some(segment) = self.segments.get_mut(before) {
                segment.append(&mut rest);
            }
        }
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
                let skip = if index == 0 { segment.partition_point(|(k, _)| *k <= key) } else { 0 };
                segment.get(skip..).unwrap_or_default()
            })
            .map(|(key, value)| (*key, value))
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> + '_ {
        self.segments.iter().flatten().map(|(key, value)| (*key, value))
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
            }
            prop_assert!(table.segments.iter().all(|s| !s.is_empty() && s.len() <= SEGMENT_LEN));
        }
    }

    #[test]
    fn keys_in_order_leave_no_gaps() {
        let mut table = Table::default();
        (0..10_000_u64).for_each(|key| table.insert(key, ()));
        assert_eq!(table.segments.len(), 10_000_usize.div_ceil(SEGMENT_LEN));
    }
}
