//! [`StoreLabels`]: bounds the values of the label `store`, so that the number of series is bounded too.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Stores with a label of their own; all further stores share [`OTHER`].
pub(crate) const STORES_MAX: usize = 200;
/// Label of the stores beyond [`STORES_MAX`].
const OTHER: &str = "other";

/// The stores that have a label of their own.
#[derive(Default)]
pub(crate) struct StoreLabels(Mutex<BTreeSet<String>>);

impl StoreLabels {
    /// The label of a store: its name while fewer than [`STORES_MAX`] stores have one, else `other`.
    pub(crate) fn label(&self, store: &str) -> String {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stores.contains(store) {
            return store.to_owned();
        }
        if stores.len() < STORES_MAX {
            stores.insert(store.to_owned());
            return store.to_owned();
        }
        OTHER.to_owned()
    }

    /// Keeps the labels of `live`, and passes each label that is dropped to `dropped` under the lock, so that no label is
    /// given again before its series are removed.
    pub(crate) fn retain(&self, live: &BTreeSet<String>, dropped: impl Fn(&str)) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = stores.iter().filter(|s| !live.contains(*s)).cloned().collect();
        for store in gone {
            stores.remove(&store);
            dropped(&store);
        }
    }
}
