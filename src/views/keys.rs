//! A sorted set of keys that mostly arrive in ascending order: a [`Table`] that holds nothing else.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table::{Filling, Table};

/// A sorted set. As with tables, clones share what neither has changed since.
#[derive(Clone)]
pub(super) struct Keys<K>(Table<K, ()>);

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<K: Copy + Ord + fmt::Debug> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As any set of the standard library.
impl<K: Hash> Hash for Keys<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The keys in order.
impl<K: Copy + Ord + Serialize> Serialize for Keys<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.len()))?;
        for key in self.iter() {
            serde::ser::SerializeSeq::serialize_element(&mut sequence, &key)?;
        }
        serde::ser::SerializeSeq::end(sequence)
    }
}

/// Fails unless the keys ascend.
impl<'de, K: Copy + Ord + Deserialize<'de>> Deserialize<'de> for Keys<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::deserialize(deserializer)?;
        if keys.is_sorted_by(|one, next| one < next) {
            Ok(Self::ascending(keys))
        } else {
            Err(D::Error::custom("the keys of a set don't ascend"))
        }
    }
}

/// The keys in any order.
impl<K: Copy + Ord> FromIterator<K> for Keys<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut keys: Vec<K> = keys.into_iter().collect();
        keys.sort_unstable();
        Self::ascending(keys)
    }
}

impl<K: Copy + Ord> Keys<K> {
    /// Of keys in order; a second one of two that are equal is left out.
    pub(super) fn ascending(keys: impl IntoIterator<Item = K>) -> Self {
        let mut filling = Filling::default();
        for key in keys {
            filling.push(key, ());
        }
        filling.done().into()
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.0.get(key).is_some()
    }

    pub(super) fn first(&self) -> Option<K> {
        self.0.first().map(|(key, ())| key)
    }

    pub(super) fn last(&self) -> Option<K> {
        self.0.last().map(|(key, ())| key)
    }

    /// False when it was there already.
    pub(super) fn insert(&mut self, key: K) -> bool {
        self.0.insert(key, ())
    }

    /// False when it was not there.
    pub(super) fn remove(&mut self, key: K) -> bool {
        self.0.remove(key).is_some()
    }

    /// All above `key`, ascending.
    pub(super) fn after(&self, key: K) -> impl Iterator<Item = K> + '_ {
        self.0.after(key).map(|(key, ())| key)
    }

    /// All up to `key`, descending.
    pub(super) fn down_from(&self, key: K) -> impl Iterator<Item = K> + '_ {
        self.0.down_from(key).map(|(key, ())| key)
    }

    /// All, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.0.iter().map(|(key, ())| key)
    }
}

impl<K> From<Table<K, ()>> for Keys<K> {
    fn from(table: Table<K, ()>) -> Self {
        Self(table)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::views::digest::Digest;

    proptest! {
        /// Digests and what is written down are those of the standard library's set, which was here
        /// before.
        #[test]
        fn is_written_and_hashed_as_a_btree_set(keys: BTreeSet<u64>) {
            let own: Keys<u64> = keys.iter().rev().copied().collect();
            let bytes = rmp_serde::to_vec(&own).unwrap();
            prop_assert_eq!(&bytes, &rmp_serde::to_vec(&keys).unwrap());
            prop_assert_eq!(Digest::of(&own), Digest::of(&keys));
            let read: Keys<u64> = rmp_serde::from_slice(&bytes).unwrap();
            prop_assert!(read.iter().eq(keys.iter().copied()));
            prop_assert_eq!(read.first(), keys.first().copied());
        }
    }

    #[test]
    fn keys_that_do_not_ascend_are_refused() {
        for keys in [[1, 1], [2, 1]] {
            let bytes = rmp_serde::to_vec(&keys).unwrap();
            assert!(rmp_serde::from_slice::<Keys<u64>>(&bytes).is_err(), "{keys:?}");
        }
    }

    #[test]
    fn says_what_changed() {
        let mut keys = Keys::default();
        assert!(keys.insert(7) && !keys.insert(7));
        assert!(keys.remove(7) && !keys.remove(7) && keys.is_empty());
    }
}
