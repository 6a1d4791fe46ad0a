//! Large sets of small things, with what is known of each.

/// What is known of a thing, one bit each.
pub(super) type Flags = u8;

/// Things that are not yet sorted in.
const FRESH_LEN_MAX: usize = 4_096;

/// A set in little more memory than its things take, for millions of them.
#[derive(Debug)]
pub(super) struct Flagged<K> {
    things: Vec<(K, Flags)>,
    /// How many of them are in order, each once.
    sorted: usize,
}

impl<K> Default for Flagged<K> {
    fn default() -> Self {
        Self { things: Vec::new(), sorted: 0 }
    }
}

impl<K: Ord + Copy> Flagged<K> {
    /// Adds a thing, or to what is known of it.
    pub(super) fn add(&mut self, thing: K, flags: Flags) {
        // Most are added again and again.
        let known = self.things.get_mut(..self.sorted).unwrap_or_default();
        if let Some(known) = find(known, &thing) {
            *known |= flags;
            return;
        }
        let room = FRESH_LEN_MAX.max(self.sorted / 4);
        if self.things.len() == self.things.capacity() {
            self.things.reserve_exact(room);
        }
        self.things.push((thing, flags));
        if self.things.len() - self.sorted >= room {
            self.sort();
        }
    }

    /// Adds all of another set.
    pub(super) fn extend(&mut self, other: Self) {
        for (thing, flags) in other.things {
            self.add(thing, flags);
        }
    }

    /// All of them in order.
    pub(super) fn sort(&mut self) -> &[(K, Flags)] {
        if self.sorted < self.things.len() {
            self.things.sort_unstable_by_key(|(thing, _)| *thing);
            self.things.dedup_by(|again, first| {
                let same = again.0 == first.0;
                if same {
                    first.1 |= again.1;
                }
                same
            });
            self.sorted = self.things.len();
        }
        &self.things
    }

    /// How many there are at least; after [`Self::sort`], how many there are.
    pub(super) const fn len(&self) -> usize {
        self.sorted
    }

    /// What is known of a thing. Only after [`Self::sort`].
    pub(super) fn get_mut(&mut self, thing: &K) -> Option<&mut Flags> {
        find(&mut self.things, thing)
    }
}

fn find<'a, K: Ord + Copy>(things: &'a mut [(K, Flags)], thing: &K) -> Option<&'a mut Flags> {
    let at = things.binary_search_by_key(thing, |(thing, _)| *thing).ok()?;
    things.get_mut(at).map(|(_, flags)| flags)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(adds in proptest::collection::vec((0..20_000_u32, 0..8_u8), 0..30_000)) {
            let (mut set, mut other) = (Flagged::default(), Flagged::default());
            let mut model = BTreeMap::new();
            for (thing, flags) in adds {
                if flags < 6 { set.add(thing, flags) } else { other.add(thing, flags) }
                *model.entry(thing).or_insert(0) |= flags;
            }
            set.extend(other);
            let all: Vec<(u32, Flags)> = model.into_iter().collect();
            prop_assert_eq!(set.sort(), all.as_slice());
            prop_assert_eq!(set.len(), all.len());
        }
    }
}
