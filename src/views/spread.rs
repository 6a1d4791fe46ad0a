//! Sorted sets of numbers by what they belong to, where that is in the order of hashes.
//!
//! Hashes come at random, so each addition to a tree of many goes through memory that no cache holds.
//! But they are spread evenly, so the first bits of one tell where it is: one look at a bucket's
//! address and one at the bucket, whatever there is.

use std::hash::{Hash, Hasher};

use super::keys::Keys;
use super::state::PairKey;

/// Entries of a bucket, on average, before one more is cut in two.
const BUCKET_LEN: usize = 16;
/// More entries than chance puts into a bucket are mostly of one key.
const FEW_LEN_MAX: usize = 8 * BUCKET_LEN;

/// Entries in the order of their keys, and for each key in their own.
///
/// Buckets are cut one after another as entries are added, so that no addition waits for all of them.
#[derive(Clone)]
pub(super) struct Spread<T> {
    /// The first buckets, each cut in two: number `n` has the keys whose first `bits + 1` bits are
    /// `n`.
    halves: Vec<Bucket<T>>,
    /// All buckets by the first `bits` bits. Those that are cut are empty.
    whole: Vec<Bucket<T>>,
    bits: u32,
    len: usize,
}

type Entry<T> = (PairKey, T);

/// Neighbours, sorted.
#[derive(Clone)]
enum Bucket<T> {
    Few(Vec<Entry<T>>),
    /// One key, or keys that somebody made alike, may have any number.
    Many(Box<Keys<Entry<T>>>),
}

impl<T> Default for Bucket<T> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<T: Copy + Ord> Bucket<T> {
    /// Of sorted entries.
    fn of(mut entries: Vec<Entry<T>>) -> Self {
        if entries.len() > FEW_LEN_MAX {
            return Self::Many(Box::new(Keys::ascending(entries)));
        }
        entries.shrink_to_fit();
        Self::Few(entries)
    }

    /// False when it was there already.
    fn insert(&mut self, entry: Entry<T>) -> bool {
        match self {
            Self::Few(few) => {
                let Err(place) = few.binary_search(&entry) else { return false };
                few.insert(place, entry);
                if few.len() > FEW_LEN_MAX {
                    *self = Self::of(std::mem::take(few));
                }
                true
            }
            Self::Many(many) => many.insert(entry),
        }
    }

    /// False when it was not there.
    fn remove(&mut self, entry: Entry<T>) -> bool {
        match self {
            Self::Few(few) => {
                let Ok(place) = few.binary_search(&entry) else { return false };
                few.remove(place);
                if few.len() <= few.capacity() / 4 {
                    few.shrink_to(few.len() * 2);
                }
                true
            }
            Self::Many(many) => {
                let was_there = many.remove(entry);
                if many.len() <= FEW_LEN_MAX / 2 {
                    *self = Self::of(many.iter().collect());
                }
                was_there
            }
        }
    }

    /// The two halves: keys whose bit number `bits` is 0, and 1.
    fn cut(self, bits: u32) -> [Self; 2] {
        let is_upper = |entry: &Entry<T>| entry.0.first_bits(bits) % 2 == 1;
        match self {
            Self::Few(mut lower) => {
                let upper = lower.split_off(lower.partition_point(|entry| !is_upper(entry)));
                [lower, upper].map(Self::of)
            }
            Self::Many(many) => match (many.first(), many.last()) {
                // All of one key go to one side.
                (Some(first), _) if is_upper(&first) => [Self::default(), Self::Many(many)],
                (_, Some(last)) if !is_upper(&last) => [Self::Many(many), Self::default()],
                _ => {
                    let (upper, lower) = many.iter().partition(is_upper);
                    [lower, upper].map(Self::of)
                }
            },
        }
    }

    fn iter(&self) -> impl Iterator<Item = Entry<T>> + '_ {
        let (few, many) = self.parts();
        few.iter().copied().chain(many.into_iter().flat_map(Keys::iter))
    }

    /// All above an entry, ascending.
    fn after(&self, entry: Entry<T>) -> impl Iterator<Item = Entry<T>> + '_ {
        let (few, many) = self.parts();
        let few = few.get(few.partition_point(|other| *other <= entry)..).unwrap_or_default();
        few.iter().copied().chain(many.into_iter().flat_map(move |many| many.after(entry)))
    }

    /// All up to an entry, descending.
    fn down_from(&self, entry: Entry<T>) -> impl Iterator<Item = Entry<T>> + '_ {
        let (few, many) = self.parts();
        let few = few.get(..few.partition_point(|other| *other <= entry)).unwrap_or_default();
        let many = many.into_iter().flat_map(move |many| many.down_from(entry));
        few.iter().rev().copied().chain(many)
    }

    /// What there is of either kind.
    const fn parts(&self) -> (&[Entry<T>], Option<&Keys<Entry<T>>>) {
        match self {
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => (&[], Some(many)),
        }
    }
}

impl<T> Default for Spread<T> {
    fn default() -> Self {
        Self::with_bits(0)
    }
}

/// As any set of the standard library.
impl<T: Copy + Ord + Hash> Hash for Spread<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len);
        for entry in self.iter() {
            entry.hash(state);
        }
    }
}

impl<T> Spread<T> {
    fn with_bits(bits: u32) -> Self {
        let whole = std::iter::repeat_with(Bucket::default).take(1 << bits).collect();
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
}

impl<T: Copy + Ord> Spread<T> {
    /// Of entries in any order, all different.
    pub(super) fn of(entries: Vec<Entry<T>>) -> Self {
        let mut spread = Self::with_bits((entries.len() / BUCKET_LEN).max(1).ilog2());
        spread.len = entries.len();
        let mut buckets: Vec<Vec<Entry<T>>> = Vec::new();
        buckets.resize_with(spread.whole.len(), Vec::new);
        for entry in entries {
            if let Some(bucket) = buckets.get_mut(entry.0.first_bits(spread.bits)) {
                bucket.push(entry);
            }
        }
        let sorted = buckets.into_iter().map(|mut bucket| {
            bucket.sort_unstable();
            Bucket::of(bucket)
        });
        spread.whole = sorted.collect();
        spread
    }

    /// Cuts the next bucket in two.
    fn cut_next(&mut self) {
        let place = self.cut();
        let Some(bucket) = self.whole.get_mut(place) else { return };
        self.halves.extend(std::mem::take(bucket).cut(self.bits + 1));
        if self.cut() == self.whole.len() {
            self.whole = std::mem::take(&mut self.halves);
            self.bits += 1;
        }
    }

    /// Looks where these keys are, so that the processor waits for all that memory at once and not
    /// for each when it is asked for or added.
    pub(super) fn approach(&self, keys: impl Iterator<Item = PairKey>) {
        let middle = |bucket: &Bucket<T>| {
            let (few, _) = bucket.parts();
            few.get(few.len() / 2).map(|(key, _)| *key)
        };
        let found = keys.filter_map(|key| self.bucket(key).and_then(middle));
        // Nobody needs to know; without this nobody would look.
        std::hint::black_box(found.max());
    }

    /// Adds an entry, if it isn't there.
    pub(super) fn insert(&mut self, key: PairKey, value: T) {
        let is_new = self.bucket_mut(key).is_some_and(|bucket| bucket.insert((key, value)));
        self.len += usize::from(is_new);
        if self.len > (self.whole.len() + self.cut()) * BUCKET_LEN {
            self.cut_next();
        }
    }

    pub(super) fn remove(&mut self, key: PairKey, value: T) {
        let was_there = self.bucket_mut(key).is_some_and(|bucket| bucket.remove((key, value)));
        self.len -= usize::from(was_there);
    }

    /// The entries of a key above a value, ascending.
    pub(super) fn after(&self, key: PairKey, value: T) -> impl Iterator<Item = T> + '_ {
        let all = self.bucket(key).into_iter().flat_map(move |bucket| bucket.after((key, value)));
        all.take_while(move |(other, _)| *other == key).map(|(_, value)| value)
    }

    /// The entries of a key up to a value, descending.
    pub(super) fn down_from(&self, key: PairKey, value: T) -> impl Iterator<Item = T> + '_ {
        let bucket = self.bucket(key).into_iter();
        let all = bucket.flat_map(move |bucket| bucket.down_from((key, value)));
        all.take_while(move |(other, _)| *other == key).map(|(_, value)| value)
    }

    /// All entries, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<T>> + '_ {
        let whole = self.whole.get(self.cut()..).unwrap_or_default();
        self.halves.iter().chain(whole).flat_map(Bucket::iter)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ActionId;
    use crate::views::digest::Digest;

    fn spread_key(number: u64) -> PairKey {
        PairKey::of(3, ActionId::of(&number.to_le_bytes()))
    }

    /// A few keys of many, with those that differ in few bits among them, and one that has many
    /// entries.
    fn entry() -> impl Strategy<Value = Entry<u32>> {
        let alike =
            (0_u64..40).prop_map(|number| PairKey::from_bits((number % 4) | ((number / 4) << 59)));
        prop_oneof![
            3 => ((0_u64..600).prop_map(spread_key), 0_u32..3),
            1 => (alike, 0_u32..3),
            2 => (Just(spread_key(7)), 0_u32..1_000),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// It is a set: the standard one agrees after any history, and so does one made at once.
        #[test]
        fn agrees_with_a_btree_set(
            steps in prop::collection::vec((entry(), prop::bool::weighted(0.7)), 0..2_000),
        ) {
            let mut spread = Spread::default();
            let mut model = BTreeSet::new();
            for ((key, value), adds) in steps {
                if adds {
                    spread.insert(key, value);
                    model.insert((key, value));
                } else {
                    spread.remove(key, value);
                    model.remove(&(key, value));
                }
                prop_assert_eq!(spread.len, model.len());
                let above = model.range((key, value + 1)..=(key, u32::MAX));
                prop_assert!(spread.after(key, value).eq(above.map(|(_, value)| *value)));
                let below = model.range((key, 0)..=(key, value)).rev();
                prop_assert!(spread.down_from(key, value).eq(below.map(|(_, value)| *value)));
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
        let keys = (0..100_000).map(spread_key);
        let mut spread = Spread::default();
        keys.clone().for_each(|key| spread.insert(key, ()));
        let few = |spread: &Spread<()>| -> Vec<(usize, usize)> {
            let all = spread.halves.iter().chain(&spread.whole);
            all.map(|bucket| match bucket {
                Bucket::Few(few) => (few.len(), few.capacity()),
                Bucket::Many(_) => panic!("too many by chance"),
            })
            .collect()
        };
        let all = few(&spread);
        assert!(all.iter().all(|(len, _)| *len < 6 * BUCKET_LEN), "{:?}", all.iter().max());
        let capacity: usize = all.iter().map(|(_, capacity)| capacity).sum();
        assert!(capacity < 180_000, "{capacity}");
        keys.for_each(|key| spread.remove(key, ()));
        assert!(few(&spread).iter().all(|bucket| *bucket == (0, 0)));
    }

    /// The newest of very many comes first, and moves none of the others.
    #[test]
    fn one_key_may_have_any_number() {
        let mut spread = Spread::default();
        for number in 0..100_000_u32 {
            spread.insert(spread_key(1), std::cmp::Reverse(number));
            spread.insert(spread_key(number.into()), std::cmp::Reverse(number));
        }
        let all = spread.halves.iter().chain(&spread.whole);
        let many = all.filter(|bucket| matches!(bucket, Bucket::Many(_)));
        assert_eq!(many.count(), 1);
        let newest = spread.after(spread_key(1), std::cmp::Reverse(u32::MAX)).next();
        assert_eq!(newest, Some(std::cmp::Reverse(99_999)));
    }
}
