//! Sorted sets of numbers by what they belong to, where that is in the order of hashes.
//!
//! Hashes come at random, so each addition to a tree of many goes through memory that no cache holds.
//! But they are spread evenly, so the first bits of one tell where it is: one look at a bucket's
//! address and one at the bucket, whatever there is.

use std::hash::{Hash, Hasher};

use super::state::PairKey;

/// Entries of a bucket, on average, before one more is cut in two.
const BUCKET_LEN: usize = 16;

/// Entries in the order of their keys, and for each key in their own.
///
/// Buckets are cut one after another as entries are added, so that no addition waits for all of them.
/// Keys that somebody made alike fill one bucket, and make additions to it slow, no more.
#[derive(Clone, Debug)]
pub(super) struct Spread<T> {
    /// The first buckets, each cut in two: number `n` has the keys whose first `bits + 1` bits are
    /// `n`.
    halves: Vec<Bucket<T>>,
    /// All buckets by the first `bits` bits. Those that are cut are empty.
    whole: Vec<Bucket<T>>,
    bits: u32,
    len: usize,
}

type Bucket<T> = Vec<(PairKey, T)>;

impl<T> Default for Spread<T> {
    fn default() -> Self {
        Self::with_bits(0)
    }
}

/// As any set of the standard library.
impl<T: Copy + Hash> Hash for Spread<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len);
        for entry in self.iter() {
            entry.hash(state);
        }
    }
}

impl<T> Spread<T> {
    fn with_bits(bits: u32) -> Self {
        let whole = std::iter::repeat_with(Vec::new).take(1 << bits).collect();
        Self { halves: Vec::new(), whole, bits, len: 0 }
    }

    /// How many buckets are cut.
    const fn cut(&self) -> usize {
        self.halves.len() / 2
    }

    fn bucket(&self, key: PairKey) -> Option<&Bucket<T>> {
        let place = key.first_bits(self.bits);
        if place < self.cut() {
            self.halves.get(key.first_bits(self.bits + 1))
        } else {
            self.whole.get(place)
        }
    }

    fn bucket_mut(&mut self, key: PairKey) -> Option<&mut Bucket<T>> {
        let place = key.first_bits(self.bits);
        if place < self.cut() {
            self.halves.get_mut(key.first_bits(self.bits + 1))
        } else {
            self.whole.get_mut(place)
        }
    }

    /// Cuts the next bucket in two.
    fn cut_next(&mut self) {
        let place = self.cut();
        let Some(bucket) = self.whole.get_mut(place) else { return };
        let mut lower = std::mem::take(bucket);
        let bits = self.bits + 1;
        let upper =
            lower.split_off(lower.partition_point(|(key, _)| key.first_bits(bits) % 2 == 0));
        lower.shrink_to_fit();
        self.halves.extend([lower, upper]);
        if self.cut() == self.whole.len() {
            self.whole = std::mem::take(&mut self.halves);
            self.bits = bits;
        }
    }
}

impl<T: Copy + Ord> Spread<T> {
    /// Of entries in any order, all different.
    pub(super) fn of(entries: Vec<(PairKey, T)>) -> Self {
        let mut spread = Self::with_bits((entries.len() / BUCKET_LEN).max(1).ilog2());
        spread.len = entries.len();
        for entry in entries {
            if let Some(bucket) = spread.bucket_mut(entry.0) {
                bucket.push(entry);
            }
        }
        for bucket in &mut spread.whole {
            bucket.sort_unstable();
            bucket.shrink_to_fit();
        }
        spread
    }

    /// Looks where these keys are, so that the processor waits for all that memory at once and not
    /// for each when it is asked for or added.
    pub(super) fn approach(&self, keys: impl Iterator<Item = PairKey>) {
        let middle = |bucket: &Bucket<T>| bucket.get(bucket.len() / 2).map(|(key, _)| *key);
        let found = keys.filter_map(|key| self.bucket(key).and_then(middle));
        // Nobody needs to know; without this nobody would look.
        std::hint::black_box(found.max());
    }

    /// Adds an entry that isn't there.
    pub(super) fn insert(&mut self, key: PairKey, value: T) {
        let entry = (key, value);
        if let Some(bucket) = self.bucket_mut(key)
            && let Err(place) = bucket.binary_search(&entry)
        {
            bucket.insert(place, entry);
            self.len += 1;
            if self.len > (self.whole.len() + self.cut()) * BUCKET_LEN {
                self.cut_next();
            }
        }
    }

    pub(super) fn remove(&mut self, key: PairKey, value: T) {
        if let Some(bucket) = self.bucket_mut(key)
            && let Ok(place) = bucket.binary_search(&(key, value))
        {
            bucket.remove(place);
            if bucket.len() <= bucket.capacity() / 4 {
                bucket.shrink_to(bucket.len() * 2);
            }
            self.len -= 1;
        }
    }

    /// The entries of a key, ascending.
    pub(super) fn get(&self, key: PairKey) -> impl DoubleEndedIterator<Item = T> + '_ {
        let bucket = self.bucket(key).map(Vec::as_slice).unwrap_or_default();
        let from = bucket.partition_point(|(other, _)| *other < key);
        let rest = bucket.get(from..).unwrap_or_default();
        let own = rest.get(..rest.partition_point(|(other, _)| *other == key));
        own.unwrap_or_default().iter().map(|(_, value)| *value)
    }
}

impl<T: Copy> Spread<T> {
    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PairKey, T)> + '_ {
        let whole = self.whole.get(self.cut()..).unwrap_or_default();
        self.halves.iter().chain(whole).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ActionId;
    use crate::views::digest::Digest;

    /// A few keys of many, with those that differ in few bits among them.
    fn key() -> impl Strategy<Value = PairKey> {
        let spread =
            (0_u64..600).prop_map(|number| PairKey::of(0, ActionId::of(&number.to_le_bytes())));
        let alike =
            (0_u64..40).prop_map(|number| PairKey::from_bits((number % 4) | ((number / 4) << 59)));
        prop_oneof![3 => spread, 1 => alike]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// It is a set: the standard one agrees after any history, and so does one made at once.
        #[test]
        fn agrees_with_a_btree_set(
            steps in prop::collection::vec((key(), 0_u32..3, prop::bool::weighted(0.7)), 0..2_000),
        ) {
            let mut spread = Spread::default();
            let mut model = BTreeSet::new();
            for (key, value, adds) in steps {
                if adds {
                    spread.insert(key, value);
                    model.insert((key, value));
                } else {
                    spread.remove(key, value);
                    model.remove(&(key, value));
                }
                prop_assert_eq!(spread.len, model.len());
                let of_key = model.range((key, 0)..=(key, u32::MAX)).map(|(_, value)| *value);
                prop_assert!(spread.get(key).eq(of_key));
            }
            let entries: Vec<_> = model.iter().copied().collect();
            let made = Spread::of(entries.iter().rev().copied().collect());
            for spread in [&spread, &made] {
                prop_assert!(spread.iter().eq(entries.iter().copied()));
                prop_assert_eq!(Digest::of(spread), Digest::of(&model));
            }
        }
    }

    /// What is looked at for one entry stays small, and what is gone gives its memory back.
    #[test]
    fn buckets_stay_small() {
        let keys =
            (0..100_000_u64).map(|number| PairKey::of(3, ActionId::of(&number.to_le_bytes())));
        let mut spread = Spread::default();
        keys.clone().for_each(|key| spread.insert(key, ()));
        let buckets = |spread: &Spread<()>| -> Vec<(usize, usize)> {
            let all = spread.halves.iter().chain(&spread.whole);
            all.map(|bucket| (bucket.len(), bucket.capacity())).collect()
        };
        let all = buckets(&spread);
        assert!(all.iter().all(|(len, _)| *len < 6 * BUCKET_LEN), "{:?}", all.iter().max());
        let capacity: usize = all.iter().map(|(_, capacity)| capacity).sum();
        assert!(capacity < 180_000, "{capacity}");
        keys.for_each(|key| spread.remove(key, ()));
        assert!(buckets(&spread).iter().all(|bucket| *bucket == (0, 0)));
    }
}
