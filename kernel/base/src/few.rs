//! A map that mostly holds one entry: the threads of a process, its children.

use alloc::collections::BTreeMap;
use core::ops::RangeBounds;

/// An ordered map whose only entry takes no memory of its own. With a second, it becomes a tree, and stays one until it is empty.
#[derive(Debug)]
pub struct Few<K, V> {
    /// The only entry; `None` where `many` has some.
    one: Option<(K, V)>,
    many: BTreeMap<K, V>,
}

impl<K: Ord, V> Few<K, V> {
    /// Without entries.
    pub const fn new() -> Few<K, V> {
        Few { one: None, many: BTreeMap::new() }
    }

    /// Adds an entry, in the place of one with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.many.is_empty() {
            match self.one.take() {
                Some((old, before)) if old != key => {
                    self.many.insert(old, before);
                }
                _ => {
                    self.one = Some((key, value));
                    return;
                }
            }
        }
        self.many.insert(key, value);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        match self.one.take() {
            Some((found, value)) if found == *key => Some(value),
            None if !self.many.is_empty() => self.many.remove(key),
            other => {
                self.one = other;
                None
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.one {
            Some((found, value)) => (found == key).then_some(value),
            None => self.many.get(key),
        }
    }

    /// Whether there is an entry with this key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.many.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.one.iter().map(|(key, value)| (key, value)).chain(&self.many)
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The first entry whose key is in `range`.
    pub fn first_in<R: RangeBounds<K>>(&self, range: R) -> Option<(&K, &V)> {
        match &self.one {
            Some((key, value)) => range.contains(key).then_some((key, value)),
            None => self.many.range(range).next(),
        }
    }
}

impl<K: Ord, V> Default for Few<K, V> {
    fn default() -> Few<K, V> {
        Few::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0u8..4), 0..40)) {
            let (mut few, mut map) = (Few::new(), BTreeMap::new());
            for (i, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    few.insert(key, i);
                    map.insert(key, i);
                } else {
                    prop_assert_eq!(few.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(few.len(), map.len());
                prop_assert_eq!(few.is_empty(), map.is_empty());
                prop_assert_eq!(few.iter().collect::<Vec<_>>(), map.iter().collect::<Vec<_>>());
                for key in 0..4 {
                    prop_assert_eq!(few.get(&key), map.get(&key));
                    prop_assert_eq!(few.first_in(key..), map.range(key..).next());
                }
            }
        }
    }
}
