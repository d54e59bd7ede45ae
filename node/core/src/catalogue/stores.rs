//! [`Stores`]: the stores of a catalogue by id, with an index by name.

use super::{
    model::{Store, StoreState},
    sharded_map::{Iter, ShardKey, ShardedMap},
};
use crate::{ids::StoreId, names::StoreName};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

/// Number of shards of the index by name.
const NAME_SHARDS: u64 = 256;

/// A short name as a key of the index, ordered by shard. Names often begin alike, so a hash assigns the shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ShortName {
    shard: u64,
    name: Box<str>,
}

impl ShortName {
    /// Computes the shard with the hash function FNV-1a.
    fn new(name: &str) -> Self {
        let hash =
            name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self { shard: hash % NAME_SHARDS, name: name.into() }
    }
}

impl ShardKey for ShortName {
    fn shard(&self) -> u64 {
        self.shard
    }
}

/// Stores by id, with an index by name.
///
/// Reads go to the map of stores. Only [`insert`](Self::insert), [`remove`](Self::remove) and
/// `set_state` change the map, and each keeps the index equal to the map.
///
/// ```
/// use taffrail_core::{catalogue::{Store, StoreState, Stores}, ids::{GroupId, PartitionId, StoreId}, names::StoreName};
/// use uuid::Uuid;
///
/// let (id, name) = (StoreId::new(Uuid::from_u128(1)), StoreName::new("default", "orders")?);
/// let (partition, group) = (PartitionId::new(1), GroupId::new(1));
/// let mut stores = Stores::default();
/// let state = StoreState::Active;
/// stores.insert(id, Store { name: name.clone(), replicas: 3, state, partition, group, declared_by: String::new() });
/// assert_eq!(stores.named(&name).map(|(id, _)| id), Some(id));
/// # Ok::<(), taffrail_core::names::NameError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    by_id: ShardedMap<StoreId, Store>,
    /// Ids by short name and full name, retained stores and stores being removed included.
    by_name: ShardedMap<ShortName, BTreeMap<StoreName, BTreeSet<StoreId>>>,
}

impl Deref for Stores {
    type Target = ShardedMap<StoreId, Store>;
    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl<'a> IntoIterator for &'a Stores {
    type Item = (&'a StoreId, &'a Store);
    type IntoIter = Iter<'a, StoreId, Store>;
    fn into_iter(self) -> Self::IntoIter {
        self.by_id.iter()
    }
}

impl FromIterator<(StoreId, Store)> for Stores {
    fn from_iter<I: IntoIterator<Item = (StoreId, Store)>>(stores: I) -> Self {
        let mut all = Self::default();
        stores.into_iter().for_each(|(id, store)| all.insert(id, store));
        all
    }
}

impl Stores {
    /// Adds a store, or replaces the store with the same id.
    pub fn insert(&mut self, id: StoreId, store: Store) {
        self.remove(id);
        let short = ShortName::new(store.name.name());
        let mut of_short = self.by_name.remove(&short).unwrap_or_default();
        of_short.entry(store.name.clone()).or_default().insert(id);
        self.by_name.insert(short, of_short);
        self.by_id.insert(id, store);
    }

    /// Removes and returns a store.
    pub fn remove(&mut self, id: StoreId) -> Option<Store> {
        let store = self.by_id.remove(&id)?;
        let short = ShortName::new(store.name.name());
        let mut of_short = self.by_name.remove(&short).unwrap_or_default();
        of_short.entry(store.name.clone()).or_default().remove(&id);
        of_short.retain(|_, ids| !ids.is_empty());
        if !of_short.is_empty() {
            self.by_name.insert(short, of_short);
        }
        Some(store)
    }

    /// Changes the state of a store; returns false if the store does not exist.
    pub(super) fn set_state(&mut self, id: StoreId, state: StoreState) -> bool {
        self.by_id.get_mut(&id).map(|store| store.state = state).is_some()
    }

    /// Returns the store with a given name. An active store, or a store being removed, goes before a retained store.
    #[must_use]
    pub fn named(&self, name: &StoreName) -> Option<(StoreId, &Store)> {
        let ids = self.by_name.get(&ShortName::new(name.name()))?.get(name)?;
        let mut found = None;
        for (id, store) in ids.iter().filter_map(|id| Some((*id, self.by_id.get(id)?))) {
            if found.is_none() || !matches!(store.state, StoreState::Retained { .. }) {
                found = Some((id, store));
            }
        }
        found
    }

    /// Returns the stores with a given short name in any namespace, by full name.
    pub(super) fn with_short_name(&self, name: &str) -> impl Iterator<Item = &Store> {
        let ids = self.by_name.get(&ShortName::new(name)).into_iter().flat_map(BTreeMap::values).flatten();
        ids.filter_map(|id| self.by_id.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, PartitionId};
    use proptest::prelude::*;
    use uuid::Uuid;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u128, u8, u8, StoreState),
        Remove(u128),
        SetState(u128, StoreState),
    }

    fn state() -> impl Strategy<Value = StoreState> {
        prop_oneof![
            Just(StoreState::Active),
            (0u64..3).prop_map(|at_us| StoreState::Retained { at_us }),
            Just(StoreState::Removing)
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 0u128..8;
        prop_oneof![
            4 => (id.clone(), 0u8..2, 0u8..3, state()).prop_map(|(id, ns, n, s)| Step::Insert(id, ns, n, s)),
            2 => id.clone().prop_map(Step::Remove),
            2 => (id, state()).prop_map(|(id, s)| Step::SetState(id, s)),
        ]
    }

    fn name(namespace: u8, name: u8) -> StoreName {
        StoreName::new(&format!("team-{namespace}"), &format!("store-{name}")).unwrap()
    }

    /// Finds a store without the index.
    fn scanned(stores: &Stores, name: &StoreName) -> Option<StoreId> {
        let mut found = None;
        for (id, store) in stores.iter().filter(|(_, s)| s.name == *name) {
            if found.is_none() || !matches!(store.state, StoreState::Retained { .. }) {
                found = Some(*id);
            }
        }
        found
    }

    /// A change of the index copies a shard, so the shards of a large index are small.
    #[test]
    fn names_that_begin_alike_are_spread_over_256_shards() {
        let mut sizes = BTreeMap::new();
        for n in 0..16 * NAME_SHARDS {
            *sizes.entry(ShortName::new(&format!("store-{n}")).shard()).or_insert(0) += 1;
        }
        assert_eq!(sizes.len(), 256);
        assert!(sizes.values().all(|size| *size <= 64), "{sizes:?}");
    }

    proptest! {
        /// After any changes, a look-up by name finds the same stores as a scan, and the index has no further entries.
        #[test]
        fn the_index_never_differs_from_the_stores(steps in prop::collection::vec(step(), 0..60)) {
            let mut stores = Stores::default();
            let id = |n: u128| StoreId::new(Uuid::from_u128(n));
            for step in steps {
                match step {
                    Step::Insert(n, namespace, short, state) => {
                        let (partition, group) = (PartitionId::new(1), GroupId::new(1));
                        let (name, declared_by) = (name(namespace, short), String::new());
                        stores.insert(id(n), Store { name, replicas: 1, state, partition, group, declared_by });
                    }
                    Step::Remove(n) => drop(stores.remove(id(n))),
                    Step::SetState(n, state) => prop_assert_eq!(stores.set_state(id(n), state), stores.contains_key(&id(n))),
                }
                for (namespace, short) in (0..2).flat_map(|namespace| (0..3).map(move |short| (namespace, short))) {
                    let name = name(namespace, short);
                    prop_assert_eq!(stores.named(&name).map(|(id, _)| id), scanned(&stores, &name));
                    let found = stores.with_short_name(name.name()).count();
                    prop_assert_eq!(found, stores.values().filter(|s| s.name.name() == name.name()).count());
                }
                let rebuilt: Stores = stores.iter().map(|(id, store)| (*id, store.clone())).collect();
                prop_assert_eq!(&stores, &rebuilt, "the index keeps a removed entry");
            }
        }
    }
}
