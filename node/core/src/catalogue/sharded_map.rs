//! [`ShardedMap`]: an ordered map whose copies share all parts that are not changed.

use crate::ids::{GroupId, StoreId};
use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    iter::FlatMap,
    ops::Index,
    sync::Arc,
};

/// Assigns a key to a shard. A smaller key never belongs to a later shard, so shards in order hold keys in order.
pub trait ShardKey: Ord + Clone {
    /// Returns the number of the key's shard.
    fn shard(&self) -> u64;
}

impl ShardKey for GroupId {
    /// Groups are numbered from 1, so each shard has at most 64 groups.
    fn shard(&self) -> u64 {
        self.get() / 64
    }
}

impl ShardKey for StoreId {
    /// Ids of stores are random, so 256 shards grow evenly.
    fn shard(&self) -> u64 {
        self.to_bytes()[0].into()
    }
}

/// An ordered map for values that are copied as a whole for every change, such as the catalogue.
///
/// The map is divided into shards. A copy of the map shares all shards with the original, and a change copies a single
/// shard first if another map shares the shard.
///
/// ```
/// use taffrail_core::{catalogue::ShardedMap, ids::GroupId};
///
/// let mut map: ShardedMap<GroupId, &str> = [(GroupId::new(1), "one")].into_iter().collect();
/// let before = map.clone();
/// map.insert(GroupId::new(2), "two");
/// assert_eq!((map.len(), before.len()), (2, 1));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ShardedMap<K: Ord, V> {
    /// Shards by number, without empty shards.
    shards: BTreeMap<u64, Arc<BTreeMap<K, V>>>,
}

type Shard<K, V> = Arc<BTreeMap<K, V>>;
type Entries<'a, K, V> = fn(&'a Shard<K, V>) -> btree_map::Iter<'a, K, V>;

/// Iterator over the entries of a [`ShardedMap`] in the order of the keys.
pub(super) type Iter<'a, K, V> =
    FlatMap<btree_map::Values<'a, u64, Shard<K, V>>, btree_map::Iter<'a, K, V>, Entries<'a, K, V>>;

impl<K: Ord, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self { shards: BTreeMap::new() }
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for ShardedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shards.values().flat_map(|shard| shard.iter())).finish()
    }
}

impl<K: ShardKey, V> ShardedMap<K, V> {
    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(&key.shard())?.get(key)
    }

    /// True if the map has the key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Returns the number of entries. Counts the shards, so the cost is that of a small part of the entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.values().map(|shard| shard.len()).sum()
    }

    /// True if the map has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Returns the entries in the order of the keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let entries: Entries<'_, K, V> = |shard| shard.iter();
        self.shards.values().flat_map(entries)
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + '_ {
        self.iter().map(|(key, _)| key)
    }

    /// Returns the values in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + '_ {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: ShardKey, V: Clone> ShardedMap<K, V> {
    /// Returns the value of a key for a change. Copies the shard of the key if another map shares the shard.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let shard = self.shards.get_mut(&key.shard()).filter(|shard| shard.contains_key(key))?;
        Arc::make_mut(shard).get_mut(key)
    }

    /// Adds an entry, and returns the value that the key had before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(self.shards.entry(key.shard()).or_default()).insert(key, value)
    }

    /// Removes an entry, and returns the value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let number = key.shard();
        let shard = self.shards.get_mut(&number).filter(|shard| shard.contains_key(key))?;
        let removed = Arc::make_mut(shard).remove(key);
        if shard.is_empty() {
            self.shards.remove(&number);
        }
        removed
    }
}

impl<K: ShardKey, V> Index<&K> for ShardedMap<K, V> {
    type Output = V;
    /// # Panics
    /// Panics if the map does not have the key.
    fn index(&self, key: &K) -> &V {
        &self.shards[&key.shard()][key]
    }
}

impl<'a, K: ShardKey, V> IntoIterator for &'a ShardedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: ShardKey, V: Clone> FromIterator<(K, V)> for ShardedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = GroupId> {
        (0u64..300).prop_map(GroupId::new)
    }

    proptest! {
        /// Any changes leave the entries of an ordinary map, and no change reaches an earlier copy.
        #[test]
        fn it_is_a_map_and_copies_are_independent(
            steps in prop::collection::vec((key(), prop::option::of(0u32..9), any::<bool>()), 0..200)
        ) {
            let (mut map, mut plain) = (ShardedMap::default(), BTreeMap::new());
            for (key, value, in_place) in steps {
                let (copy, before) = (map.clone(), plain.clone());
                match value {
                    Some(value) if in_place => {
                        let found = map.get_mut(&key).map(|v| *v = value).is_some();
                        prop_assert_eq!(found, plain.get_mut(&key).map(|v| *v = value).is_some());
                    }
                    Some(value) => prop_assert_eq!(map.insert(key, value), plain.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), plain.remove(&key)),
                }
                prop_assert!(map.iter().eq(&plain) && copy.iter().eq(&before));
                prop_assert_eq!((map.get(&key), map.len()), (plain.get(&key), plain.len()));
                prop_assert_eq!(map.is_empty(), plain.is_empty());
                let rebuilt: ShardedMap<_, _> = plain.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(&map, &rebuilt, "an empty shard is left");
            }
        }
    }

    #[test]
    fn a_change_copies_a_single_shard() {
        let map: ShardedMap<GroupId, u64> = (0..1_000).map(|n| (GroupId::new(n), n)).collect();
        let mut changed = map.clone();
        *changed.get_mut(&GroupId::new(500)).unwrap() = 0;
        let shared = map.shards.values().zip(changed.shards.values()).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count() + 1, map.shards.len());
        assert!(map.shards.values().all(|shard| shard.len() <= 64));
        assert_eq!(map.shards.len(), 16, "the shards are not much smaller than 64 groups");
    }

    #[test]
    fn stores_are_spread_over_256_shards() {
        let stores = (0..=u8::MAX).map(|first| {
            let mut id = [7; 16];
            id[0] = first;
            (StoreId::new(uuid::Uuid::from_bytes(id)), first)
        });
        let map: ShardedMap<StoreId, u8> = stores.collect();
        assert!(map.shards.len() == 256 && map.values().copied().eq(0..=u8::MAX), "shards hold the keys in order");
    }
}
