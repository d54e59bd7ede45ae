//! [`StoreLabels`], the bound for the values of the label `store` and thus for the number of series.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// Maximum number of stores with a separate label; all further stores share [`OTHER`].
pub(crate) const STORES_MAX: usize = 200;
/// Label of the stores beyond [`STORES_MAX`].
const OTHER: &str = "other";

/// The stores with a separate label.
#[derive(Default)]
pub(crate) struct StoreLabels(Mutex<BTreeSet<String>>);

impl StoreLabels {
    /// Returns the label of a store: the name while fewer than [`STORES_MAX`] stores have a label, else `other`.
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

    /// Keeps the labels of `live`, and calls `dropped` for each removed label under the lock, because the series of a
    /// label must be removed before the label is assigned again.
    pub(crate) fn retain(&self, live: &BTreeSet<String>, dropped: impl Fn(&str)) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = stores.iter().filter(|s| !live.contains(*s)).cloned().collect();
        for store in gone {
            stores.remove(&store);
            dropped(&store);
        }
    }
}
