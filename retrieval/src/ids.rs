//! A map with identifiers as keys that takes little more memory than its entries.

use std::collections::{BTreeMap, BTreeSet};

/// The changes behind which the entries are put in order again, if they are also an eighth of the entries.
const CHANGES_MIN: usize = 64;
/// The entries for which there is room at first.
const ROOM_MIN: usize = 16;

/// A map from identifiers to small values, for identifiers that mostly come in ascending order, as those of rows of a table do. An entry takes
/// its own bytes and up to an eighth more, while one of a [`BTreeMap`] that is filled in this order takes about twice its bytes.
///
/// An entry is found by a binary search. Entries that come out of order, and removals, are kept apart until they are an eighth of all.
#[derive(Clone, Debug)]
pub struct IdMap<V> {
    /// The identifiers in ascending order, those that were removed lately included.
    ids: Vec<u64>,
    /// Their values, in the same order.
    values: Vec<V>,
    /// Entries whose identifiers came out of order; none of them is in `ids`.
    late: BTreeMap<u64, V>,
    /// The identifiers in `ids` that were removed.
    removed: BTreeSet<u64>,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            values: Vec::new(),
            late: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }
}

impl<V: Copy> IdMap<V> {
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.ids.len() - self.removed.len() + self.late.len()
    }

    /// Returns `true` if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes that the map takes, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        let changes =
            self.late.len() * size_of::<(u64, V)>() + self.removed.len() * size_of::<u64>();
        self.ids.capacity() * size_of::<u64>()
            + self.values.capacity() * size_of::<V>()
            + 2 * changes
    }

    /// Returns the value of an identifier.
    pub fn get(&self, id: u64) -> Option<V> {
        match self.ids.binary_search(&id) {
            Ok(place) => (!self.removed.contains(&id)).then(|| self.values[place]),
            Err(_) => self.late.get(&id).copied(),
        }
    }

    /// Returns `true` if there is an entry with this identifier.
    pub fn contains(&self, id: u64) -> bool {
        self.get(id).is_some()
    }

    /// Inserts an entry, in place of the one with the same identifier if there is one.
    pub fn insert(&mut self, id: u64, value: V) {
        if self.ids.last().is_none_or(|last| *last < id) {
            self.push(id, value);
            return;
        }
        if let Ok(place) = self.ids.binary_search(&id) {
            self.values[place] = value;
            self.removed.remove(&id);
        } else {
            self.late.insert(id, value);
            self.tidy();
        }
    }

    /// Removes an entry; returns its value.
    pub fn remove(&mut self, id: u64) -> Option<V> {
        let value = self.get(id)?;
        if self.late.remove(&id).is_none() {
            self.removed.insert(id);
            self.tidy();
        }
        Some(value)
    }

    /// Returns the entries in the order of their identifiers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, V)> {
        let in_order = self.ids.iter().zip(&self.values);
        let mut in_order = in_order
            .filter(|(id, _)| !self.removed.contains(id))
            .map(|(id, value)| (*id, *value))
            .peekable();
        let mut late = self.late.iter().map(|(id, value)| (*id, *value)).peekable();
        std::iter::from_fn(move || match (in_order.peek(), late.peek()) {
            (Some((left, _)), Some((right, _))) if right < left => late.next(),
            (Some(_), _) => in_order.next(),
            (None, _) => late.next(),
        })
    }

    /// Adds an entry behind all others. The room grows by an eighth, since doubling it would leave up to half of it unused.
    fn push(&mut self, id: u64, value: V) {
        if self.ids.len() == self.ids.capacity() {
            let room = (self.ids.len() / 8).max(ROOM_MIN);
            self.ids.reserve_exact(room);
            self.values.reserve_exact(room);
        }
        self.ids.push(id);
        self.values.push(value);
    }

    /// Puts all entries in order once there are many changes.
    fn tidy(&mut self) {
        let changes = self.late.len() + self.removed.len();
        if changes >= CHANGES_MIN && changes > self.ids.len() / 8 {
            *self = self.iter().collect();
        }
    }
}

impl<V: Copy> FromIterator<(u64, V)> for IdMap<V> {
    fn from_iter<I: IntoIterator<Item = (u64, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (id, value) in entries {
            map.insert(id, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_in_order_take_their_bytes_and_an_eighth() {
        let map: IdMap<u32> = (1..=100_000).map(|id| (id, 7)).collect();
        assert!(map.bytes() <= 100_000 * 12 * 9 / 8, "{}", map.bytes());
        assert_eq!(
            (map.len(), map.get(100_000), map.get(0)),
            (100_000, Some(7), None)
        );
    }

    #[test]
    fn many_removals_give_the_room_back() {
        let mut map: IdMap<u32> = (1..=100_000).map(|id| (id, 7)).collect();
        for id in 1..=99_000 {
            map.remove(id);
        }
        assert!(map.bytes() < 100_000, "{}", map.bytes());
        assert_eq!(map.iter().next(), Some((99_001, 7)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert(u64, u32),
        Remove(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let insert = (0_u64..300, any::<u32>()).prop_map(|(id, value)| Change::Insert(id, value));
        let remove = (0_u64..300).prop_map(Change::Remove);
        prop::collection::vec(prop_oneof![2 => insert, 1 => remove], 0..600)
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_of_the_standard_library_holds(changes in changes()) {
            let (mut map, mut expected) = (IdMap::default(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(id, value) => {
                        map.insert(id, value);
                        expected.insert(id, value);
                    }
                    Change::Remove(id) => prop_assert_eq!(map.remove(id), expected.remove(&id)),
                }
                prop_assert_eq!(map.len(), expected.len());
            }
            for id in 0..300 {
                prop_assert_eq!(map.get(id), expected.get(&id).copied());
                prop_assert_eq!(map.contains(id), expected.contains_key(&id));
            }
            prop_assert!(map.iter().eq(expected.into_iter()));
        }
    }
}
