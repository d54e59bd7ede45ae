//! Whether a bare store name can mean one store only. Stores of several namespaces can have one name; an address that gives
//! the name alone is refused then, never guessed.

use super::status::{Problem, Reason};
use crate::engine::Node;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use taffrail_core::names::StoreName;
use taffrail_proto::v1::{Store, StoreState};
use tokio::{sync::Mutex, time::Instant};

/// How long a look at the catalogue holds. A store that is declared meanwhile makes a name ambiguous this much later; until
/// then the name means what it meant before.
const HOLDS_MIN: Duration = Duration::from_millis(500);
/// A look at many stores takes long: it holds so many times longer than it took, so that looking stays a small part of all
/// work.
const HOLDS_TIMES: u32 = 50;

/// The names that several stores have, as last looked at. Cheap to clone.
#[derive(Clone, Default)]
pub struct Names {
    seen: Arc<Mutex<Option<Seen>>>,
}

struct Seen {
    holds_until: Instant,
    /// Only names of more than one namespace: with one there is nothing to remember.
    shared: BTreeMap<String, BTreeSet<StoreName>>,
}

impl Names {
    /// The store, if no store of another namespace has its name.
    ///
    /// # Errors
    /// `STORE_AMBIGUOUS` with all that have it; `DEADLINE` when nobody could look in time.
    pub async fn only(&self, node: &dyn Node, bare: StoreName, deadline: Instant) -> Result<StoreName, Problem> {
        let late = |_| Problem::new(Reason::Deadline, "the deadline passed before the store was found");
        // Whoever finds an old look looks again, and the others wait for it: nobody answers from before.
        let named = tokio::time::timeout_at(deadline, self.all(node, bare.name())).await.map_err(late)?;
        if named.is_empty() {
            return Ok(bare);
        }
        let candidates: Vec<String> = named.iter().map(ToString::to_string).collect();
        let candidates = candidates.join(",");
        let message = format!("{} names no namespace, and could be any of {candidates}", bare.name());
        Err(Problem::new(Reason::StoreAmbiguous, message).with("store", bare.name()).with("candidates", candidates))
    }

    /// All stores of this name if there are several, else none.
    async fn all(&self, node: &dyn Node, name: &str) -> BTreeSet<StoreName> {
        let mut seen = self.seen.lock().await;
        let now = Instant::now();
        if seen.as_ref().is_none_or(|seen| seen.holds_until <= now) {
            let shared = shared(node.stores().await);
            let holds = (now.elapsed() * HOLDS_TIMES).max(HOLDS_MIN);
            *seen = Some(Seen { holds_until: Instant::now() + holds, shared });
        }
        seen.as_ref().and_then(|seen| seen.shared.get(name)).cloned().unwrap_or_default()
    }
}

/// The names that more than one namespace has among the stores that serve or are about to.
fn shared(stores: Vec<Store>) -> BTreeMap<String, BTreeSet<StoreName>> {
    let mut named: BTreeMap<String, BTreeSet<StoreName>> = BTreeMap::new();
    for store in stores {
        // Retained data is called by no one; a name must not stay ambiguous because of a store that was deleted long ago.
        if matches!(store.state(), StoreState::Retained | StoreState::Removing) {
            continue;
        }
        if let Ok(name) = StoreName::new(&store.namespace, &store.name) {
            named.entry(store.name).or_default().insert(name);
        }
    }
    named.retain(|_, stores| stores.len() > 1);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_several_serving_stores_are_shared() {
        let store = |namespace: &str, name: &str, state: StoreState| Store {
            namespace: namespace.into(),
            name: name.into(),
            state: state.into(),
            ..Store::default()
        };
        let stores = vec![
            store("default", "orders", StoreState::Active),
            store("team-b", "orders", StoreState::Creating),
            store("team-c", "orders", StoreState::Removing),
            store("default", "payments", StoreState::Active),
            store("team-b", "payments", StoreState::Retained),
            store("default", "alone", StoreState::Active),
        ];
        let shared = shared(stores);
        assert_eq!(shared.keys().collect::<Vec<_>>(), ["orders"]);
        let names: Vec<String> = shared["orders"].iter().map(ToString::to_string).collect();
        assert_eq!(names, ["default/orders", "team-b/orders"]);
    }
}
